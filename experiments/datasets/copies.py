"""Copies: images of equal pixels, whatever their files are named and however these are encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.datasets.registry import SPLITS

if TYPE_CHECKING:
    from experiments.datasets.registry import Dataset

SHOWN = 3  # names of copies in a note


@dataclass(frozen=True)
class Place:
    """Where an image of a data set is."""

    split: str
    row: int
    label: int
    file: str  # empty where it has none

    def __str__(self) -> str:
        return self.file or f"{self.split} {self.row}"


@dataclass(frozen=True)
class Copies:
    """The images of a data set that exist more than once, each with all its places."""

    groups: tuple[tuple[Place, ...], ...]

    @property
    def across_splits(self) -> tuple[tuple[Place, ...], ...]:
        """Those that lie in more than one split: leaks."""
        return tuple(group for group in self.groups if len({place.split for place in group}) > 1)

    @property
    def across_classes(self) -> tuple[tuple[Place, ...], ...]:
        """Those that have more than one label."""
        return tuple(group for group in self.groups if len({place.label for place in group}) > 1)

    @property
    def notes(self) -> list[str]:
        """What a person should know, a sentence each."""
        kinds = (
            ("of several classes", self.across_classes),
            ("in several splits", self.across_splits),
        )
        told = []
        if self.groups:
            more = sum(len(group) - 1 for group in self.groups)
            told.append(f"{_images(more)} a copy of another: {_named(self.groups)}")
        told += [f"{_images(len(groups))} {kind}: {_named(groups)}" for kind, groups in kinds if groups]
        return told


def first_of_equals(images: np.ndarray) -> np.ndarray:
    """For each image (N, ...) the row of the first one with the same pixels, as int64 (N,)."""
    seen: dict[bytes, int] = {}
    return np.fromiter((seen.setdefault(digest, row) for row, digest in enumerate(_digests(images))), np.int64)


def copies_in(dataset: Dataset) -> Copies:
    """Find the copies in a data set, within and across its splits."""
    groups: dict[bytes, list[tuple[str, int]]] = {}
    for split in SPLITS:
        for row, digest in enumerate(_digests(getattr(dataset, split).images)):
            groups.setdefault(digest, []).append((split, row))
    several = (group for group in groups.values() if len(group) > 1)
    return Copies(tuple(tuple(_place(dataset, *each) for each in group) for group in several))


def _place(dataset: Dataset, name: str, row: int) -> Place:
    split = getattr(dataset, name)
    return Place(name, row, int(split.labels[row]), split.files[row] if split.files else "")


def _digests(images: np.ndarray) -> Iterator[bytes]:
    for image in images:
        yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _images(count: int) -> str:
    return f"{count:,} image{'s are' if count != 1 else ' is'}"


def _named(groups: Sequence[Sequence[Place]]) -> str:
    named = [" = ".join(map(str, group)) for group in groups[:SHOWN]]
    return ", ".join(named) + (", ..." if len(groups) > SHOWN else "")
