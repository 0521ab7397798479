"""The registry of data sets, and of readers of data in files.

Loaders are found in this package, in installed packages through the entry-point group `datasets`, and in modules given
to `--plugin`. Only a loader that is requested by name may use the network.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from architectures.errors import PluginError, UsageError
from architectures.plugins import PluginRegistry
from experiments.datasets.places import Copies
from experiments.datasets.source import RESIZABLE, Source, did_you_mean, parse

if TYPE_CHECKING:
    import numpy as np

SPLITS = ("train", "val", "test")
NON_TEST_SPLITS = ("train", "val")  # only promotions use the test images, and count each use
DIGITS = tuple("0123456789")  # the class names of digits
OWN = ("builtin", "folder", "idx", "npz")  # modules that register; imported on demand, because they import NumPy
DIGEST_BYTES = 2**24  # of pixels that are hashed at a time, because mapped images may exceed memory


def _blocks(images: np.ndarray) -> Iterator[np.ndarray]:
    some = max(1, DIGEST_BYTES // max(1, math.prod(images.shape[1:])))
    for first in range(0, len(images), some):
        yield images[first : first + some]


@dataclass(frozen=True)
class Split:
    """Images as uint8 (N, height, width, channels) and labels as int64 (N,) indices into the class names."""

    images: np.ndarray
    labels: np.ndarray
    files: tuple[str, ...] | None = None  # of the images, relative to the data set's folder, if they have files

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def images_digest(self) -> str:
        """SHA-256 of the images and their shape."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        for block in _blocks(self.images):
            digest.update(block.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A labelled image data set. The search selects on `val`; only promotion uses `test`."""

    name: str  # without a path: experiments and models are named after it
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    notes: tuple[str, ...] = ()  # remarks for the user: files that were left out, copies
    copies: Copies | None = field(default=None, compare=False, repr=False)  # None: not searched for

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
        """SHA-256 of names, shapes, images and labels: runs are comparable if it is equal."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for split in (self.train, self.val, self.test):
            digest.update(repr(split.images.shape).encode())
            for block in _blocks(split.images):
                digest.update(block.tobytes())
            digest.update(split.labels.astype("<i8").tobytes())
        return digest.hexdigest()


Loader = Callable[[], Dataset]
SourceReader = Callable[[Source], Dataset]
_readers: dict[str, tuple[SourceReader, str]] = {}  # by scheme, with a word for the path after its colon


def _load_own() -> None:
    for module in OWN:
        importlib.import_module(f"experiments.datasets.{module}")


_registry: PluginRegistry[Loader] = PluginRegistry("data set", "datasets", _load_own)


def register_dataset(name: str) -> Callable[[Loader], Loader]:
    """Register a loader `() -> Dataset`; raise PluginError if the name is taken.

    >>> @register_dataset("mnist5k")
    ... def mine() -> Dataset:
    ...     return Dataset("mine", ("cat", "dog"), train, val, test)  # splits of uint8 images and int64 labels
    Traceback (most recent call last):
    architectures.errors.PluginError: Data set 'mnist5k' of ... is already registered by experiments.datasets.builtin...
    """

    def decorate(loader: Loader) -> Loader:
        _load_own()
        taken = _registry.entries.get(name)
        if taken and (taken.__module__, taken.__qualname__) != (loader.__module__, loader.__qualname__):
            raise PluginError(
                f"Data set {name!r} of {loader.__module__} is already registered by {taken.__module__}. "
                f"Give one of them another name."
            )
        _registry.entries[name] = loader
        return loader

    return decorate


def register_source(scheme: str, *, takes: str) -> Callable[[SourceReader], SourceReader]:
    """Register a reader `(Source) -> Dataset` of `scheme:PATH`; `takes` names PATH. Raises as `register_dataset`."""

    def decorate(reader: SourceReader) -> SourceReader:
        _load_own()
        taken = _readers[scheme][0] if scheme in _readers else None
        if taken and (taken.__module__, taken.__qualname__) != (reader.__module__, reader.__qualname__):
            raise PluginError(f"Data sets {scheme}: of {reader.__module__} are already read by {taken.__module__}.")
        _readers[scheme] = reader, takes
        return reader

    return decorate


def is_known(name: str) -> bool:
    """Return whether `load` has a loader or reader for this name."""
    registered, source = names(), parse(name)  # names() first: it loads plugins, which may register readers
    return source.scheme in _readers if source else name in registered


def names() -> list[str]:
    """Return the names of all registered data sets, sorted."""
    return _registry.names()


def load(name: str) -> Dataset:
    """Load a data set by its name, or from files: `folder:DIR`, `idx:DIR`, `npz:FILE`.

    Raises:
        UsageError: for an unknown name, missing files, or options that their format does not take.
        PluginError: for the name of an installed plugin that failed on import.
        ProjectError: if it cannot be loaded, for example without a network, or because files are damaged.

    >>> from experiments import datasets
    >>> digits = datasets.load("mnist5k")
    >>> digits.train.images.shape, digits.val.labels.shape, digits.input_shape, digits.num_classes
    ((4000, 28, 28, 1), (500,), (28, 28, 1), 10)
    >>> datasets.load("folder:missing")
    Traceback (most recent call last):
    architectures.errors.UsageError: ...
    """
    if not is_known(name):
        _registry.check_not_broken(name)
        sources = ", ".join(f"{scheme}:{takes}" for scheme, (_, takes) in sorted(_readers.items()))
        raise UsageError(
            f"Unknown data set {name!r}.{did_you_mean(name)} Registered: {', '.join(names())}. From files: {sources}."
        )
    source = parse(name)
    if source and source.scheme != RESIZABLE and source.options.any:
        given = ", ".join(key for key, value in vars(source.options).items() if value is not None)
        raise UsageError(f"{given}: for {RESIZABLE}:DIR alone, not for {name}.")
    dataset = _readers[source.scheme][0](source) if source else _registry.get(name)()
    _check(dataset)
    return dataset


def _check(dataset: Dataset) -> None:
    for part in SPLITS:
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
