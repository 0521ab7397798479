"""Augmentation for drawings: small random shifts, scalings and rotations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from experiments.training.photographs import photographed

if TYPE_CHECKING:
    import tensorflow as tf

MAX_SHIFT = 2.0  # pixels of a 28x28 image, in each direction; larger images shift by the same share
MAX_SCALE = 0.15  # of the size, larger or smaller
MAX_ROTATION = math.radians(11)
SHIFT_SIDE = 28


def augmented(images: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Transform each image of a batch by its own random shift, scale and rotation about its centre.

    Args:
        images: float images (N, height, width, channels).
        seed: two int64 numbers (2,); the same seed gives the same images.

    Returns:
        Images of the same shape, interpolated bilinearly; pixels from outside repeat the edge.
    """
    import tensorflow as tf

    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    draws = tf.random.stateless_uniform((4, count), seed, -1, 1)
    angle, scale = MAX_ROTATION * draws[0], 1 + MAX_SCALE * draws[1]
    # The operation maps pixels of the result to the image: the inverse of the drawn transform.
    cosine, sine = tf.cos(angle) / scale, tf.sin(angle) / scale
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    to_x = middle_x + MAX_SHIFT * width / SHIFT_SIDE * draws[2]
    to_y = middle_y + MAX_SHIFT * height / SHIFT_SIDE * draws[3]
    zero = tf.zeros_like(angle)
    transforms = tf.stack(
        [
            *(cosine, sine, middle_x - cosine * to_x - sine * to_y),
            *(-sine, cosine, middle_y + sine * to_x - cosine * to_y),
            *(zero, zero),
        ],
        axis=1,
    )
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.ensure_shape(moved, images.shape)


# Functions for a batch of training images, by a run's `augment`; None: no augmentation.
AUGMENTATION_FUNCTIONS: Mapping[str, Callable[..., tf.Tensor] | None] = {
    "off": None,
    "digits": augmented,
    "photo": photographed,
}
