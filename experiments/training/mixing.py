"""MixUp and CutMix: a training image takes a part of another one in its batch, and the same share of its label.

Keras' own layers mix all images of a batch in one proportion, from stateful randomness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def mixed(
    images: tf.Tensor, labels: tf.Tensor, *, mixup: float, cutmix: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each image with the one before it; with both methods, each image is mixed by one of them.

    Args:
        images: float images (N, height, width, channels).
        labels: one-hot labels (N, classes).
        mixup: alpha of the Beta distribution of the shares in which two images are blended; 0: not by MixUp.
        cutmix: the same for the area of the rectangle that comes from the other image; 0: not by CutMix.
        seed: two int64 numbers (2,) that decide the randomness.

    Returns:
        Mixed images, and their labels, in which an image's own has at least half: accuracy goes on counting by it.
    """
    import tensorflow as tf

    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    places, shares = tf.unstack(tf.random.split(seed, 2))  # other numbers than those that augment the images
    way, x, y = tf.unstack(tf.random.stateless_uniform((3, count), places), axis=0)
    by_cutmix = way < (cutmix > 0) / ((mixup > 0) + (cutmix > 0))
    alpha = tf.where(by_cutmix, float(cutmix), float(mixup))
    pair = tf.random.stateless_gamma((2, count), shares, alpha)
    whole = tf.reduce_sum(pair, axis=0)
    uneven = whole < 1e-30  # of a very small alpha, which float32 does not hold
    other = tf.where(uneven, 0.0, tf.reduce_min(pair, axis=0) / whole)  # the smaller share of the two
    side = tf.sqrt(other)
    from_x, from_y = x * (1 - side) * width, y * (1 - side) * height  # the whole rectangle lies inside
    columns, rows = tf.range(width, dtype=tf.float32) + 0.5, tf.range(height, dtype=tf.float32) + 0.5
    inside_x = (columns > from_x[:, None]) & (columns < (from_x + side * width)[:, None])
    inside_y = (rows > from_y[:, None]) & (rows < (from_y + side * height)[:, None])
    cut = tf.cast(inside_y[:, :, None] & inside_x[:, None, :], tf.float32)
    weight = tf.where(by_cutmix[:, None, None], cut, other[:, None, None])[..., None]  # of the other image
    share = tf.minimum(tf.reduce_mean(weight, axis=(1, 2)), 0.5)
    return (
        images + weight * (tf.roll(images, 1, axis=0) - images),
        labels + share * (tf.roll(labels, 1, axis=0) - labels),
    )
