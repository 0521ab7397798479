"""MixUp and CutMix: combine a training image with a part of another one in its batch, and their labels likewise.

Keras' own layers mix all images of a batch in the same proportion, with stateful randomness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def mixed(
    images: tf.Tensor, labels: tf.Tensor, *, mixup: float, cutmix: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each image with the previous one; with both methods, each image is mixed by one of them.

    Args:
        images: float images (N, height, width, channels).
        labels: one-hot labels (N, classes).
        mixup: alpha of the Beta distribution of the shares of two blended images; 0: no MixUp.
        cutmix: the same for the area of the rectangle from the other image; 0: no CutMix.
        seed: two int64 numbers (2,).

    Returns:
        Mixed images, and their labels, in which an image's own class has at least half, so that accuracy still counts
        by it.
    """
    import tensorflow as tf

    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    places, shares = tf.unstack(tf.random.split(seed, 2))  # independent of the numbers for augmentation
    way, x, y = tf.unstack(tf.random.stateless_uniform((3, count), places), axis=0)
    by_cutmix = way < (cutmix > 0) / ((mixup > 0) + (cutmix > 0))
    alpha = tf.where(by_cutmix, float(cutmix), float(mixup))
    pair = tf.random.stateless_gamma((2, count), shares, alpha)
    whole = tf.reduce_sum(pair, axis=0)
    uneven = whole < 1e-30  # underflow with a very small alpha
    other = tf.where(uneven, 0.0, tf.reduce_min(pair, axis=0) / whole)  # the smaller share of the two
    side = tf.sqrt(other)
    from_x, from_y = x * (1 - side) * width, y * (1 - side) * height  # the rectangle is completely inside
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
