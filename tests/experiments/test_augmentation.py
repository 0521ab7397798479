"""Augmentation stays within its bounds; read off images that hold their own coordinates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from experiments.training.augmentation import MAX_ROTATION, MAX_SCALE, MAX_SHIFT, SHIFT_SIDE, augmented

HEIGHT, WIDTH = 28, 56
IMAGES = 300


def seed(number: int) -> tf.Tensor:
    return tf.constant([number, 1], tf.int64)


@pytest.fixture(scope="module")
def maps() -> np.ndarray:
    """The affine maps (N, 2, 3) from a pixel's place, seen from the centre, to the place that it came from."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    images = np.repeat(np.stack([columns, rows], axis=-1)[None], IMAGES, axis=0)
    came_from = augmented(tf.constant(images), seed=seed(0)).numpy()
    assert came_from.shape == images.shape
    inner = (slice(None), slice(10, 18), slice(20, 36))  # what no transform takes from outside
    places = np.stack([columns - (WIDTH - 1) / 2, rows - (HEIGHT - 1) / 2, np.ones_like(rows)], axis=-1)[inner[1:]]
    sources = came_from[inner] - np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
    found = [np.linalg.lstsq(places.reshape(-1, 3), one.reshape(-1, 2), rcond=None) for one in sources]
    assert max(residuals.max() for _, residuals, _, _ in found) < 1e-3  # affine indeed
    return np.stack([solution.T for solution, *_ in found])


def test_scale_and_rotation_use_their_range(maps: np.ndarray) -> None:
    scales = 1 / np.sqrt(np.linalg.det(maps[:, :, :2]))
    angles = np.arctan2(maps[:, 0, 1], maps[:, 0, 0])
    assert np.allclose(maps[:, 0, 0], maps[:, 1, 1], atol=1e-4)
    assert np.allclose(maps[:, 0, 1], -maps[:, 1, 0], atol=1e-4)
    for values, middle, largest in ((scales, 1, MAX_SCALE), (angles, 0, MAX_ROTATION)):
        assert np.abs(values - middle).max() <= largest + 1e-3
        assert values.max() > middle + 0.9 * largest
        assert values.min() < middle - 0.9 * largest
    assert math.degrees(MAX_ROTATION) == pytest.approx(11)


def test_shift_uses_its_range(maps: np.ndarray) -> None:
    shifts = -np.linalg.solve(maps[:, :, :2], maps[:, :, 2:])[..., 0] / MAX_SHIFT  # of the result, in (x, y)
    shifts *= np.array([SHIFT_SIDE / WIDTH, SHIFT_SIDE / HEIGHT])
    assert np.abs(shifts).max() <= 1 + 1e-3
    assert (shifts.max(axis=0) > 0.9).all()
    assert (shifts.min(axis=0) < -0.9).all()


def test_the_seed_decides() -> None:
    images = tf.random.stateless_uniform((4, 8, 8, 1), (0, 0), 0, 255)
    first, again, other = (augmented(images, seed=seed(number)).numpy() for number in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()
