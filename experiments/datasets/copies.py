"""Copies: images with equal pixels, whatever their file names and encoding."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from experiments.datasets.places import Copies, ImagePlace
from experiments.datasets.registry import SPLITS, Dataset


def first_of_equals(images: np.ndarray) -> np.ndarray:
    """Return for each image (N, ...) the row of the first one with the same pixels, as int64 (N,)."""
    seen: dict[bytes, int] = {}
    return np.fromiter((seen.setdefault(digest, row) for row, digest in enumerate(_digests(images))), np.int64)


def copies_in(dataset: Dataset) -> Copies:
    """Find the copies in a data set, within and across its splits."""
    groups: dict[bytes, list[tuple[str, int]]] = {}
    for split in SPLITS:
        for row, digest in enumerate(_digests(getattr(dataset, split).images)):
            groups.setdefault(digest, []).append((split, row))
    several = (group for group in groups.values() if len(group) > 1)
    return Copies(tuple(tuple(place(dataset, *each) for each in group) for group in several))


def place(dataset: Dataset, name: str, row: int) -> ImagePlace:
    """Return the place of an image, by its row in a split."""
    split = getattr(dataset, name)
    return ImagePlace(name, row, int(split.labels[row]), split.files[row] if split.files else "")


def _digests(images: np.ndarray) -> Iterator[bytes]:
    for image in images:
        yield hashlib.blake2b(image.tobytes(), digest_size=16).digest()
