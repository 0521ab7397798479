"""Inspect a data set and find problems before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from experiments.cores import cores
from experiments.datasets import cache, pixels
from experiments.datasets.copies import copies_in, place
from experiments.datasets.layout import layout
from experiments.datasets.near_copies import near_copies
from experiments.datasets.pixels import single_coloured
from experiments.datasets.places import Copies, ImagePlace
from experiments.datasets.registry import SPLITS, Dataset, load
from experiments.datasets.source import DEFAULTS, Options, parse
from experiments.datasets.suspects import Suspect, suspects

IMBALANCE = 3.0  # ratio of the largest class to the smallest, from which on it is reported
SIDE = 96  # pixels: images of different sizes are inspected at this size, unless a size is given


@dataclass(frozen=True)
class Files:
    """The kinds of files in a data set, with counts of images."""

    sizes: Mapping[str, int]  # HEIGHTxWIDTH, upright
    formats: Mapping[str, int]
    modes: Mapping[str, int]  # Pillow's
    profiles: Mapping[str, int]  # colour profiles other than sRGB
    turned: int  # by their EXIF orientation
    unread: Mapping[str, int]  # files of other kinds
    skipped: int  # hidden and system files and folders


@dataclass(frozen=True)
class Inspection:
    """What was found; `--strict` refuses its `problems`."""

    dataset: Dataset
    counts: Mapping[str, tuple[int, ...]]  # images of each class, by split
    files: Files | None  # None if the images have none
    constant: tuple[ImagePlace, ...]
    copies: Copies
    near: tuple[tuple[ImagePlace, ImagePlace], ...]
    suspects: tuple[Suspect, ...]  # images with likely wrong labels, the most likely first; not a reason to refuse
    looked_at: tuple[int, int] | None  # the size at which images of different sizes were inspected

    @property
    def imbalance(self) -> float:
        """The ratio of the largest class to the smallest."""
        totals = np.sum(list(self.counts.values()), axis=0)
        return float(totals.max() / totals.min())

    @property
    def near_across_splits(self) -> tuple[tuple[ImagePlace, ImagePlace], ...]:
        return tuple(pair for pair in self.near if pair[0].split != pair[1].split)

    @property
    def problems(self) -> list[str]:
        """Return what should be fixed before training, one sentence each."""
        told = []
        unread = sum(self.files.unread.values()) if self.files else 0
        told += [
            f"{what}: {count:,}"
            for what, count in (
                ("files that were not read", unread),
                ("images of a single colour", len(self.constant)),
                ("images with copies in other splits", len(self.copies.across_splits)),
                ("images with copies in other classes", len(self.copies.across_classes)),
                ("pairs of near copies in different splits", len(self.near_across_splits)),
            )
            if count
        ]
        if self.imbalance > IMBALANCE:
            told.append(f"the largest class has {self.imbalance:.1f} times the images of the smallest")
        return told

    def as_json(self) -> dict[str, object]:
        names = self.dataset.class_names
        return {
            "dataset": self.dataset.name,
            "digest": self.dataset.digest,
            "input_shape": list(self.dataset.input_shape),
            "looked_at": self.looked_at,
            "classes": list(self.dataset.class_names),
            "counts": {split: list(counts) for split, counts in self.counts.items()},
            "imbalance": self.imbalance,
            "files": vars(self.files) if self.files else None,
            "notes": list(self.dataset.notes),
            "constant": [one.as_json(names) for one in self.constant],
            "copies": [[one.as_json(names) for one in group] for group in self.copies.groups],
            "copies_across_splits": len(self.copies.across_splits),
            "copies_across_classes": len(self.copies.across_classes),
            "near_copies": [[one.as_json(names) for one in pair] for pair in self.near],
            "suspects": [one.as_json(names) for one in self.suspects],
            "problems": self.problems,
        }


def inspect(name: str) -> Inspection:
    """Inspect a data set.

    Args:
        name: as `datasets.load` takes it. Images of different sizes in a folder are inspected at SIDE x SIDE pixels,
            unless a size is given.

    Raises:
        ProjectError: as `datasets.load`.
    """
    files, sizes = _files(name)
    looked_at = None
    source = parse(name)
    if source and files and not source.options.image_size and len(sizes) > 1:
        looked_at = (SIDE, SIDE)
        options = Options(image_size=looked_at).over(source.options).over(DEFAULTS)
        name = str(replace(source, options=options))
    return _inspected(load(name), files, looked_at)


def inspect_loaded(dataset: Dataset, name: str) -> Inspection:
    """Inspect a data set that was loaded by this name."""
    return _inspected(dataset, _files(name)[0], None)


def _inspected(dataset: Dataset, files: Files | None, looked_at: tuple[int, int] | None) -> Inspection:
    counts = {
        split: tuple(np.bincount(getattr(dataset, split).labels, minlength=dataset.num_classes).tolist())
        for split in SPLITS
    }
    copies = dataset.copies or copies_in(dataset)
    return Inspection(
        dataset=dataset,
        counts=counts,
        files=files,
        constant=_constant(dataset),
        copies=copies,
        near=_near(dataset, copies),
        suspects=suspects(dataset),
        looked_at=looked_at,
    )


def _files(name: str) -> tuple[Files | None, set[tuple[int, int]]]:
    source = parse(name)
    if source is None or source.scheme != "folder" or not source.path.is_dir():
        return None, set()
    found = layout(source.path)
    images = [file for classes in found.files.values() for each in classes.values() for file in each]
    with ThreadPoolExecutor(cores()) as pool:
        headers = pixels.of_each(pixels.header, images, pool)

    def counted(values: list[str]) -> dict[str, int]:
        return dict(Counter(values).most_common())

    files = Files(
        sizes=counted(["{}x{}".format(*header.size) for header in headers]),
        formats=counted([header.format for header in headers]),
        modes=counted([header.mode for header in headers]),
        profiles=counted([header.profile for header in headers if header.profile]),
        turned=sum(header.turned for header in headers),
        unread=dict(found.unread),
        skipped=found.skipped,
    )
    return files, {header.size for header in headers}


def _constant(dataset: Dataset) -> tuple[ImagePlace, ...]:
    found = []
    for split in SPLITS:
        first = 0
        for block in cache.in_blocks(getattr(dataset, split).images):
            found += [place(dataset, split, first + int(row)) for row in np.flatnonzero(single_coloured(block))]
            first += len(block)
    return tuple(found)


def _near(dataset: Dataset, copies: Copies) -> tuple[tuple[ImagePlace, ImagePlace], ...]:
    """Return pairs of near copies; of exact copies only the first is compared."""
    again = {(place.split, place.row) for group in copies.groups for place in group[1:]}
    rows = [
        (split, row) for split in SPLITS for row in range(len(getattr(dataset, split))) if (split, row) not in again
    ]
    images = [getattr(dataset, split).images[row] for split, row in rows]  # views, not copies
    return tuple(
        (place(dataset, *rows[one]), place(dataset, *rows[other])) for one, other in near_copies(images, cores())
    )
