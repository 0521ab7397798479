"""From images to a data set: canonical form, fixed splits, and what is wrong with a person's own data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.errors import ProjectError
from experiments.datasets import cache
from experiments.datasets.registry import SPLITS, Dataset, Split

if TYPE_CHECKING:
    import numpy as np

SPLIT_SEED = 20180601  # fixed for ever: a run's validation images never depend on a flag
BOTH_SHARE = 1 / 10  # of a class's images, for val and for test, where the data have neither
ONE_SHARE = 1 / 12  # where they lack one: 5,000 of MNIST's 60,000


@dataclass(frozen=True)
class Pixels:
    """Images that are decoded when they are wanted, as they may be more than memory holds."""

    shape: tuple[int, ...]  # N, height, width[, channels]
    blocks: Callable[[], Iterator[np.ndarray]]  # all of them in their order, uint8, some at a time


if TYPE_CHECKING:
    Part = tuple[np.ndarray | Pixels, np.ndarray]  # uint8 images (N, height, width[, channels]), whole labels (N,)


def freeze(images: np.ndarray, labels: np.ndarray) -> Split:
    """Hold images and labels in their canonical form, read-only."""
    import numpy as np

    images = np.ascontiguousarray(images.reshape(*images.shape[:3], -1), dtype=np.uint8)
    labels = np.ascontiguousarray(labels.reshape(-1), dtype=np.int64)
    images.setflags(write=False)
    labels.setflags(write=False)
    return Split(images, labels)


def stratified(images: np.ndarray, labels: np.ndarray, *, held_out: int) -> tuple[Split, Split]:
    """Split off `held_out` images with every class in its share; the same images every time."""
    from sklearn.model_selection import train_test_split

    kept_x, held_x, kept_y, held_y = train_test_split(
        images, labels, test_size=held_out, stratify=labels, random_state=SPLIT_SEED
    )
    return freeze(kept_x, kept_y), freeze(held_x, held_y)


def numbered(name: str, parts: Mapping[str, Part], place: Path | None = None) -> Dataset:
    """A data set whose labels are numbers from 0; the training labels say which classes there are.

    Raises:
        ProjectError: as `assemble`, and for labels that leave a number out or are not counted from 0.
    """
    import numpy as np

    found = np.unique(parts["train"][1])
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


def assemble(name: str, class_names: Sequence[str], parts: Mapping[str, Part], place: Path | None = None) -> Dataset:
    """A checked data set. Splits that `parts` lacks are held out of the training images, class by class.

    Args:
        name: the data set's name, without a path.
        class_names: what the labels are indices into.
        parts: `train`, and `val` and `test` where the data have them.
        place: of the cache that is made where the images are too many for memory; None: they fit.

    Raises:
        ProjectError: for one class alone, an empty split, a class that a split lacks, labels out of range, images
            of different sizes, or too few images of a class to hold some out.
    """
    import numpy as np

    if len(class_names) < 2:
        raise ProjectError(f"Data set {name!r} holds one class, {class_names[0]!r}: a classifier needs two or more.")
    shape = parts["train"][0].shape[1:]
    for part, (images, labels) in parts.items():
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
        if images.shape[1:] != shape:
            sizes = " and ".join("x".join(map(str, one)) for one in (shape, images.shape[1:]))
            raise ProjectError(f"Data set {name!r}: the images of train and {part} have different sizes, {sizes}.")
    missing = [part for part in ("test", "val") if part not in parts]
    counts = np.bincount(parts["train"][1])
    if counts.min() <= len(missing):
        raise ProjectError(
            f"Data set {name!r}: class {class_names[int(counts.argmin())]!r} has {counts.min()} training images, too "
            f"few to hold out {' and '.join(missing)}: at least {len(missing) + 1}."
        )
    chosen = {part: (part, np.arange(len(labels))) for part, (_, labels) in parts.items()}  # source and rows of a split
    for part in missing:
        share = BOTH_SHARE if len(missing) == 2 else ONE_SHARE
        rows = chosen["train"][1]
        held = _held_out(parts["train"][1][rows], np.maximum(1, np.round(counts * share)).astype(int))
        chosen["train"], chosen[part] = ("train", rows[~held]), ("train", rows[held])
    answers = {part: parts[source][1][rows] for part, (source, rows) in chosen.items()}
    form = (*shape, 1)[:3]
    if place and sum(len(one) for one in answers.values()) * int(np.prod(form)) > cache.IN_MEMORY_BYTES:
        return cache.write(place, name, class_names, answers, form, _by_split(parts, chosen))
    filled = {part: np.empty((len(answers[part]), *form), np.uint8) for part in SPLITS}
    done = dict.fromkeys(SPLITS, 0)
    for part, block in _by_split(parts, chosen):
        filled[part][done[part] : done[part] + len(block)] = block
        done[part] += len(block)
    return Dataset(name, tuple(class_names), *(freeze(filled[part], answers[part]) for part in SPLITS))


def _by_split(
    parts: Mapping[str, Part], chosen: Mapping[str, tuple[str, np.ndarray]]
) -> Iterator[tuple[str, np.ndarray]]:
    """All images (n, height, width, channels) of all sources, block by block, with the split they belong to."""
    import numpy as np

    for source, (images, _) in parts.items():
        first = 0
        for block in images.blocks() if isinstance(images, Pixels) else [images]:
            block = block.reshape(*block.shape[:3], -1)
            for part, (of, rows) in chosen.items():
                low, high = np.searchsorted(rows, [first, first + len(block)])
                if of == source and high > low:
                    yield part, block[rows[low:high] - first]
            first += len(block)


def _held_out(labels: np.ndarray, each: np.ndarray) -> np.ndarray:
    """Which images to hold out, `each[c]` of class c, the same every time.

    scikit-learn's split may leave a rare class out.
    """
    import numpy as np

    random = np.random.RandomState(SPLIT_SEED)  # its stream never changes, a Generator's may
    held = np.zeros(len(labels), bool)
    for label, count in enumerate(each):
        held[random.permutation(np.flatnonzero(labels == label))[:count]] = True
    return held
