"""Augmentation for photographs: random flips, crops, light and colour, and two operations of RandAugment.

Keras' own layers use stateful randomness, and its RandAugment alone takes more than ten times as long
(experiments/LOG.md). Here all geometric changes of an image are one projective transform, and all changes of its
colours one matrix; the randomness depends only on the given seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

LEAST_AREA = 0.6  # share of the image that a crop keeps
MAX_STRETCH = 4 / 3  # of a crop, which is resized to the image's size
JITTER = 0.15  # of brightness, contrast and saturation, up or down
MAX_HUE = math.radians(6)  # of a turn about the gray axis
ROUNDS = 2  # operations of RandAugment on an image
STRENGTH = 1 / 3  # of RandAugment: share of the maximum values below
MAX_ROTATION, MAX_SHEAR, MAX_TRANSLATION, MAX_COLOUR = math.radians(30), 0.3, 0.3, 0.9
OPERATIONS = (
    *("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
    *("brightness", "contrast", "saturation"),
)  # operations of RandAugment that look like photographs: no solarise, posterise or equalise (experiments/LOG.md)
LUMINANCE = (0.299, 0.587, 0.114)
DRAWS = 9 + 2 * ROUNDS  # random numbers for an image


def photographed(images: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Flip, crop and recolour each image of a batch, and apply two operations of RandAugment, all at random.

    Args:
        images: float images (N, height, width, channels) of 0 to 255, gray or RGB.
        seed: two int64 numbers (2,); the same seed gives the same images.

    Returns:
        Images of the same shape and range; pixels from outside mirror the image.
    """
    import tensorflow as tf

    draws = tf.unstack(tf.random.stateless_uniform((DRAWS, tf.shape(images)[0]), seed), axis=0)
    signed = [2 * draw - 1 for draw in draws]
    rounds = [_Round(draws[9 + 2 * each], STRENGTH * signed[10 + 2 * each]) for each in range(ROUNDS)]
    moved = _moved(images, draws, signed, rounds)
    return tf.clip_by_value(_recoloured(moved, signed[5:9], rounds), 0.0, 255.0)


class _Round:
    """One operation of RandAugment for each image."""

    def __init__(self, draw: tf.Tensor, strength: tf.Tensor) -> None:
        self._place, self._strength = draw * len(OPERATIONS), strength

    def of(self, operation: str) -> tf.Tensor:
        """Return the strength of an operation for each image, negative in the other direction; 0 for most images."""
        import tensorflow as tf

        place = OPERATIONS.index(operation)
        chosen = tf.logical_and(self._place >= place, self._place < place + 1)
        return tf.where(chosen, self._strength, tf.zeros_like(self._strength))


def _moved(images: tf.Tensor, draws: list[tf.Tensor], signed: list[tf.Tensor], rounds: list[_Round]) -> tf.Tensor:
    """Crop, flip, rotate, shear and translate, as one transform from a pixel of the result to its source."""
    import tensorflow as tf

    height, width = images.shape[1:3]
    area = LEAST_AREA + (1 - LEAST_AREA) * draws[0]
    stretch = tf.exp(math.log(MAX_STRETCH) * signed[1] / 2)
    across = tf.minimum(tf.sqrt(area) * stretch, 1.0)
    down = tf.minimum(tf.sqrt(area) / stretch, 1.0)
    flip = tf.where(draws[2] < 0.5, -1.0, 1.0)
    zero, one = tf.zeros_like(area), tf.ones_like(area)
    right, below = (1 - across) * width / 2 * signed[3], (1 - down) * height / 2 * signed[4]
    whole = _matrices([[across * flip, zero, right], [zero, down, below], [zero, zero, one]])
    for each in rounds:
        angle = MAX_ROTATION * each.of("rotate")
        aside, up = MAX_SHEAR * each.of("shear_x"), MAX_SHEAR * each.of("shear_y")
        right, below = (MAX_TRANSLATION * each.of(f"translate_{axis}") for axis in "xy")
        cosine, sine = tf.cos(angle), tf.sin(angle)
        whole @= _matrices(
            [[cosine, aside - sine, right * width], [up + sine, cosine, below * height], [zero, zero, one]]
        )
    middle = tf.constant([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]], tf.float32)
    back = tf.constant([[1, 0, (1 - width) / 2], [0, 1, (1 - height) / 2], [0, 0, 1]], tf.float32)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.reshape(middle @ whole @ back, (-1, 9))[:, :8],
        output_shape=(height, width),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    return tf.ensure_shape(moved, images.shape)


def _recoloured(images: tf.Tensor, signed: list[tf.Tensor], rounds: list[_Round]) -> tf.Tensor:
    """Change brightness, contrast, saturation and hue, as one matrix for the channels of each image and an offset."""
    import tensorflow as tf

    channels = images.shape[3]
    gain, pivot = tf.ones_like(signed[0]), tf.zeros_like(signed[0])
    colours = None
    jitter: list[tuple[float, Callable[[str], tf.Tensor]]] = [
        (JITTER, dict(zip(("brightness", "contrast", "saturation"), signed[:3], strict=True)).__getitem__)
    ]
    for most, of in [*jitter, *((MAX_COLOUR, each.of) for each in rounds)]:
        brighter, contrast, saturation = (1 + most * of(name) for name in ("brightness", "contrast", "saturation"))
        gain, pivot = gain * brighter * contrast, pivot * brighter * contrast + 127.5 * (1 - contrast)
        if channels == 3:
            gray = tf.constant([LUMINANCE] * 3)
            turned = saturation[:, None, None] * tf.eye(3) + (1 - saturation)[:, None, None] * gray
            colours = turned if colours is None else turned @ colours
    if colours is None:
        return images * _broad(gain) + _broad(pivot)
    colours = _hue(MAX_HUE * signed[3]) @ colours * gain[:, None, None]
    flat = tf.reshape(images, (-1, images.shape[1] * images.shape[2], channels))
    return tf.reshape(tf.matmul(flat, colours, transpose_b=True), tf.shape(images)) + _broad(pivot)


def _hue(angle: tf.Tensor) -> tf.Tensor:
    """Return matrices (N, 3, 3) that rotate colours about the gray axis."""
    import tensorflow as tf

    cosine, sine = tf.cos(angle)[:, None, None], tf.sin(angle)[:, None, None]
    about = tf.constant([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], tf.float32) / math.sqrt(3)
    return cosine * tf.eye(3) + (1 - cosine) / 3 + sine * about


def _matrices(rows: list[list[tf.Tensor]]) -> tf.Tensor:
    """Return matrices (N, 3, 3) from their elements (N)."""
    import tensorflow as tf

    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=1)


def _broad(values: tf.Tensor) -> tf.Tensor:
    """Reshape one value for each image to (N, 1, 1, 1)."""
    return values[:, None, None, None]
