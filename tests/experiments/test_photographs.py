"""Augmentation of photographs, and images that are mixed: what may change, by how much, and what the seed decides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from experiments.training import photographs
from experiments.training.mixing import mixed
from experiments.training.photographs import photographed

SIDE, IMAGES = 24, 400


def seed(number: int) -> tf.Tensor:
    return tf.constant([number, 1], tf.int64)


def noise(channels: int, count: int = IMAGES) -> tf.Tensor:
    return tf.random.stateless_uniform((count, SIDE, SIDE, channels), (0, 0), 0, 255)


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Switches off all but one kind of change."""

    def keep(**values: float) -> None:
        off = {"LEAST_AREA": 1.0, "MAX_STRETCH": 1.0, "JITTER": 0.0, "MAX_HUE": 0.0, "STRENGTH": 0.0}
        for name, value in (off | values).items():
            monkeypatch.setattr(photographs, name, value)

    return keep


@pytest.mark.parametrize("channels", [1, 3])
def test_the_seed_decides_and_pixels_stay_pixels(channels: int) -> None:
    images = noise(channels)
    first, again, other = (photographed(images, seed=seed(number)).numpy() for number in (3, 3, 4))
    assert first.shape == images.shape
    assert (first == again).all()
    assert (first != other).mean() > 0.5
    assert 0 <= first.min() <= first.max() <= 255
    assert np.isfinite(first).all()


def test_half_of_the_images_are_flipped(only: Callable[..., None]) -> None:
    only()
    images = noise(3).numpy()
    found = photographed(tf.constant(images), seed=seed(0)).numpy()
    same = np.array([np.allclose(a, b, atol=0.1) for a, b in zip(found, images, strict=True)])
    flipped = np.array([np.allclose(a, b[:, ::-1], atol=0.1) for a, b in zip(found, images, strict=True)])
    assert (same ^ flipped).all()
    assert 0.4 < flipped.mean() < 0.6


def test_a_crop_keeps_its_share_and_lies_inside_the_image(only: Callable[..., None]) -> None:
    only(LEAST_AREA=0.5, MAX_STRETCH=4 / 3)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32) * 4
    places = np.repeat(np.stack([rows, columns, rows], axis=-1)[None], IMAGES, axis=0)
    found = photographed(tf.constant(places), seed=seed(0)).numpy()[..., :2] / 4
    down = found[:, -1, 0, 0] - found[:, 0, 0, 0]
    across = np.abs(found[:, 0, -1, 1] - found[:, 0, 0, 1])
    area = down * across / (SIDE - 1) ** 2
    assert 0.45 <= area.min() < 0.55
    assert area.max() > 0.9
    assert (np.maximum(down / across, across / down) <= 4 / 3 + 0.01).all()
    assert found.min() >= -0.01
    assert found.max() <= SIDE - 1 + 0.01


def test_colours_change_and_gray_stays_gray(only: Callable[..., None]) -> None:
    only(JITTER=0.2, MAX_HUE=0.5)
    gray = tf.repeat(noise(1), 3, axis=3) / 2 + 60
    found = photographed(gray, seed=seed(0)).numpy()
    assert np.abs(found - found.mean(axis=3, keepdims=True)).max() < 0.1  # neither hue nor saturation tints it
    red = tf.constant(np.broadcast_to(np.float32([200, 60, 60]), (IMAGES, 4, 4, 3)))
    turned = photographed(red, seed=seed(0)).numpy()
    assert (np.abs(turned[..., 1] - turned[..., 2]) > 5).mean() > 0.5  # hue does


@pytest.mark.parametrize("operation", photographs.OPERATIONS)
def test_each_operation_of_randaugment_changes_images(
    operation: str, only: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    only(STRENGTH=1.0)
    monkeypatch.setattr(photographs, "OPERATIONS", (operation,))
    monkeypatch.setattr(photographs._Round, "of", _lenient)
    images = noise(3, 30).numpy()
    found = photographed(tf.constant(images), seed=seed(0)).numpy()
    near = [min(np.abs(a - b).mean(), np.abs(a - b[:, ::-1]).mean()) for a, b in zip(found, images, strict=True)]
    assert (max(near) < 0.1) == (operation == "identity")


_of = photographs._Round.of


def _lenient(self: photographs._Round, operation: str) -> tf.Tensor:
    """What an operation that is not among those of the test would be drawn: not at all."""
    if operation in photographs.OPERATIONS:
        return _of(self, operation)
    return tf.zeros_like(self._strength)


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0), (1e-6, 0.0)])
def test_labels_are_mixed_as_the_images_are(mixup: float, cutmix: float) -> None:
    # Image i is i everywhere: what it holds of the one before tells the share.
    values = np.arange(IMAGES, dtype=np.float32)
    images = np.broadcast_to(values[:, None, None, None], (IMAGES, SIDE, SIDE, 1))
    found, labels = mixed(
        tf.constant(images), tf.one_hot(np.arange(IMAGES), IMAGES), mixup=mixup, cutmix=cutmix, seed=seed(0)
    )
    assert np.allclose(labels.numpy().sum(axis=1), 1, atol=1e-5)
    assert np.allclose(labels.numpy() @ values, found.numpy().mean(axis=(1, 2, 3)), atol=0.2)
    own = labels.numpy()[np.arange(IMAGES), np.arange(IMAGES)]
    assert own.min() >= 0.5  # by which accuracy counts
    assert (own.min() < 0.6) == (mixup + cutmix > 0.1)
    blended = np.array([len(np.unique(image)) == 1 for image in found.numpy()])
    if not cutmix:
        assert blended.all()
    elif mixup:
        assert 0.3 < blended.mean() < 0.7  # each image by one of the two
    again, _ = mixed(
        tf.constant(images), tf.one_hot(np.arange(IMAGES), IMAGES), mixup=mixup, cutmix=cutmix, seed=seed(0)
    )
    assert (found.numpy() == again.numpy()).all()
