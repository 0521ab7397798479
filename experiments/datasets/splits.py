"""Assemble a data set from images: canonical form, fixed splits, and checks of the user's own data."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from sklearn.model_selection import train_test_split

from architectures.errors import ProjectError
from experiments.datasets import cache, progress
from experiments.datasets.copies import first_of_equals
from experiments.datasets.parts import Pixels, StoredSplit
from experiments.datasets.registry import SPLITS, Dataset, Split

SPLIT_SEED = 20180601  # never changed: a run's validation images must not depend on an option
BOTH_SHARE = 1 / 10  # of a class's images, for val and for test, if the data have neither
ONE_SHARE = 1 / 12  # if they lack one of them: 5,000 of MNIST's 60,000


def frozen_split(images: np.ndarray, labels: np.ndarray, files: Sequence[str] | None = None) -> Split:
    """Return images and labels in their canonical form, read-only."""
    images = np.ascontiguousarray(images.reshape(*images.shape[:3], -1), dtype=np.uint8)
    labels = np.ascontiguousarray(labels.reshape(-1), dtype=np.int64)
    images.setflags(write=False)
    labels.setflags(write=False)
    return Split(images, labels, None if files is None else tuple(files))


def stratified(images: np.ndarray, labels: np.ndarray, *, held_out: int) -> tuple[Split, Split]:
    """Split off `held_out` images with each class in proportion; the same images every time."""
    kept_x, held_x, kept_y, held_y = train_test_split(
        images, labels, test_size=held_out, stratify=labels, random_state=SPLIT_SEED
    )
    return frozen_split(kept_x, kept_y), frozen_split(held_x, held_y)


def numbered(name: str, parts: Mapping[str, StoredSplit], place: Path | None = None) -> Dataset:
    """Return a data set whose labels are numbers from 0; the training labels determine the classes.

    Raises:
        ProjectError: as `assemble`, and if the labels skip a number or do not start at 0.
    """
    found = np.unique(parts["train"].labels)
    if not len(found):
        raise ProjectError(f"Data set {name!r}: train holds no images.")
    if found[0] < 0:
        raise ProjectError(f"Data set {name!r}: train holds label {found[0]}. Labels are counted from 0.")
    if len(found) <= found[-1]:
        missing = int(np.flatnonzero(found != np.arange(len(found)))[0])
        raise ProjectError(
            f"Data set {name!r}: class {missing} is empty: no training image has that label. "
            f"Labels are all the numbers from 0 to the largest, here {found[-1]}."
        )
    return assemble(name, tuple(map(str, found)), parts, place)


def assemble(
    name: str, class_names: Sequence[str], parts: Mapping[str, StoredSplit], place: Path | None = None
) -> Dataset:
    """Check the data and return a data set. Missing splits are held out of the training images, class by class.

    Args:
        name: the data set's name, without a path.
        class_names: by label.
        parts: `train`, and `val` and `test` if the data have them.
        place: of the cache that is written if the images exceed memory; None: they do not.

    Raises:
        ProjectError: for a single class, an empty split, a class that is missing in a split, labels out of range,
            images of different sizes, or too few images of a class to hold some out.
    """
    if len(class_names) < 2:
        raise ProjectError(f"Data set {name!r} holds one class, {class_names[0]!r}: a classifier needs two or more.")
    shape = parts["train"].images.shape[1:]
    for split, part in parts.items():
        _check_labels(name, split, class_names, part.labels)
        if part.images.shape[1:] != shape:
            sizes = " and ".join("x".join(map(str, one)) for one in (shape, part.images.shape[1:]))
            raise ProjectError(f"Data set {name!r}: the images of train and {split} have different sizes, {sizes}.")
    form = (*shape, 1)[:3]
    if sum(len(part.labels) for part in parts.values()) * math.prod(form) <= cache.IN_MEMORY_BYTES:
        place = None
    missing = [split for split in ("test", "val") if split not in parts]
    with contextlib.ExitStack() as stack:
        sources: dict[str, np.ndarray | Pixels] = {}
        rows = {split: (split, np.arange(len(part.labels))) for split, part in parts.items()}  # with their source
        for split, part in parts.items():
            again = split == "train" and bool(missing)
            sources[split] = images = _read(name, part.images, place, stack, again=again)
            if again:
                rows |= _hold_out(name, class_names, cast("np.ndarray", images), part.labels, missing)
        chosen = {
            split: StoredSplit(sources[source], parts[source].labels[taken], _taken(parts[source].files, taken))
            for split, (source, taken) in rows.items()
        }
        blocks = _by_split(sources, rows)
        if place:
            return cache.write(place, name, class_names, chosen, form, blocks)
        filled = {split: np.empty((len(part.labels), *form), np.uint8) for split, part in chosen.items()}
        done = dict.fromkeys(SPLITS, 0)
        for split, block in blocks:
            filled[split][done[split] : done[split] + len(block)] = block
            done[split] += len(block)
    train, val, test = (frozen_split(filled[split], chosen[split].labels, chosen[split].files) for split in SPLITS)
    return Dataset(name, tuple(class_names), train, val, test)


def _taken(files: Sequence[str] | None, rows: np.ndarray) -> list[str] | None:
    return None if files is None else [files[row] for row in rows]


def _check_labels(name: str, part: str, class_names: Sequence[str], labels: np.ndarray) -> None:
    if not len(labels):
        raise ProjectError(f"Data set {name!r}: {part} holds no images.")
    if labels.min() < 0 or labels.max() >= len(class_names):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ProjectError(
            f"Data set {name!r}: {part} holds label {wrong}, out of range: those of train are 0 to "
            f"{len(class_names) - 1}."
        )
    counts = np.bincount(labels, minlength=len(class_names))
    if not counts.all():
        empty = class_names[int(counts.argmin())]
        raise ProjectError(
            f"Data set {name!r}: class {empty!r} is empty in {part}. Every split must hold images of every class."
        )


def _read(
    name: str, images: np.ndarray | Pixels, place: Path | None, stack: contextlib.ExitStack, *, again: bool
) -> np.ndarray | Pixels:
    """Return images in memory, or from disk if they exceed memory (then staged at `place` if they are read `again`)."""
    if not isinstance(images, Pixels):
        return images
    told = Pixels(images.shape, lambda: progress.told(name, images.shape[0], images.blocks()))
    if place:
        return stack.enter_context(cache.staged_images(place, name, told.shape, told.blocks())) if again else told
    return np.concatenate(list(told.blocks()))


def _hold_out(
    name: str, class_names: Sequence[str], images: np.ndarray, labels: np.ndarray, missing: Sequence[str]
) -> dict[str, tuple[str, np.ndarray]]:
    """Return the rows of train for each split. Copies of an image are put into the split of the first of them."""
    first = first_of_equals(images)
    originals = np.flatnonzero(first == np.arange(len(labels)))
    counts = np.bincount(labels[originals], minlength=len(class_names))
    if counts.min() <= len(missing):
        all_of_them = np.bincount(labels)[int(counts.argmin())]
        told = "" if all_of_them == counts.min() else f" that are no copies of others ({all_of_them} with these)"
        raise ProjectError(
            f"Data set {name!r}: class {class_names[int(counts.argmin())]!r} has {counts.min()} training images{told}, "
            f"too few to hold out {' and '.join(missing)}: at least {len(missing) + 1}."
        )
    share = BOTH_SHARE if len(missing) == 2 else ONE_SHARE
    kept, chosen = originals, {}
    for part in missing:
        held = _held_out(labels[kept], np.maximum(1, np.round(counts * share)).astype(int))
        chosen[part] = "train", np.flatnonzero(np.isin(first, kept[held]))
        kept = kept[~held]
    return chosen | {"train": ("train", np.flatnonzero(np.isin(first, kept)))}


def _by_split(
    sources: Mapping[str, np.ndarray | Pixels], chosen: Mapping[str, tuple[str, np.ndarray]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield all images (n, height, width, channels) of all sources, block by block, with their split."""
    for source, images in sources.items():
        first = 0
        for block in images.blocks() if isinstance(images, Pixels) else cache.in_blocks(images):
            block = block.reshape(*block.shape[:3], -1)
            for part, (of, rows) in chosen.items():
                low, high = np.searchsorted(rows, [first, first + len(block)])
                if of == source and high > low:
                    yield part, block[rows[low:high] - first]
            first += len(block)


def _held_out(labels: np.ndarray, each: np.ndarray) -> np.ndarray:
    """Return which images to hold out, `each[c]` of class c, the same every time.

    scikit-learn's split may omit a rare class.
    """
    random = np.random.RandomState(SPLIT_SEED)  # its stream never changes, unlike a Generator's
    held = np.zeros(len(labels), bool)
    for label, count in enumerate(each):
        held[random.permutation(np.flatnonzero(labels == label))[:count]] = True
    return held
