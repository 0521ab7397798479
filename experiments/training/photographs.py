"""Augmentation for photographs: random flips, crops, light and colour, and two operations of RandAugment.

Keras' own layers draw from a state, and its RandAugment alone takes more than ten times the time (experiments/LOG.md).
Here all that moves an image's pixels is one projective transform, and all that changes its colours one matrix; the seed
that is given decides the randomness.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

LEAST_AREA = 0.6  # of the image that a crop keeps
MAX_STRETCH = 4 / 3  # of a crop, which is resized to the image's size
JITTER = 0.15  # of brightness, contrast and saturation, up or down
MAX_HUE = math.radians(6)  # of a turn about the gray axis
ROUNDS = 2  # operations of RandAugment on an image
STRENGTH = 1 / 3  # of RandAugment: this share of the greatest values below
MAX_ROTATION, MAX_SHEAR, MAX_TRANSLATION, MAX_COLOUR = math.radians(30), 0.3, 0.3, 0.9
OPERATIONS = (
    *("identity", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
    *("brightness", "contrast", "saturation"),
)  # RandAugment's that a camera could have made: not solarised, posterised or equalised (experiments/LOG.md)
LUMINANCE = (0.299, 0.587, 0.114)
DRAWS = 9 + 2 * ROUNDS  # random numbers for an image


def photographed(images: tf.Tensor, *, seed: tf.Tensor) -> tf.Tensor:
    """Flip, crop, recolour each image of a batch, and two random operations of RandAugment's, each at its own strength.

    Args:
        images: float images (N, height, width, channels) of 0 to 255, gray or RGB.
        seed: two int64 numbers (2,) that decide the randomness: the same ones give the same images.

    Returns:
        Images of the same shape and range; what comes in from outside mirrors the image.
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
        """How strongly each image is to undergo an operation, negative the other way; 0: not at all, as most are."""
        import tensorflow as tf

        place = OPERATIONS.index(operation)
        chosen = tf.logical_and(self._place >= place, self._place < place + 1)
        return tf.where(chosen, self._strength, tf.zeros_like(self._strength))


def _moved(images: tf.Tensor, draws: list[tf.Tensor], signed: list[tf.Tensor], rounds: list[_Round]) -> tf.Tensor:
    """Crop, flip, rotate, shear and translate: one transform from a pixel's place to where it comes from."""
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
    """Brightness, contrast, saturation and hue: one matrix for the channels of each image, and what is added."""
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
    """Matrices (N, 3, 3) that turn colours about the gray axis."""
    import tensorflow as tf

    cosine, sine = tf.cos(angle)[:, None, None], tf.sin(angle)[:, None, None]
    about = tf.constant([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], tf.float32) / math.sqrt(3)
    return cosine * tf.eye(3) + (1 - cosine) / 3 + sine * about


def _matrices(rows: list[list[tf.Tensor]]) -> tf.Tensor:
    """Matrices (N, 3, 3) from their elements (N)."""
    import tensorflow as tf

    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=1)


def _broad(values: tf.Tensor) -> tf.Tensor:
    """One value for each image, as (N, 1, 1, 1)."""
    return values[:, None, None, None]
