"""Near copies: the same picture, saved again, resized or slightly changed.

The perceptual hashes (ImageHash's pHash, 64 bits) of candidates differ in few bits; the correlation of their pixels
decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from imagehash import phash

from experiments.datasets.viewed import viewed

MAX_DIFFERING_BITS = 4  # of 64 that may differ
CORRELATION = 0.985  # of pixels; pure noise as a JPEG of quality 90 reaches 0.995, no two digits of mnist5k do
ROWS = 512  # hashes that are compared with a bucket's at a time


def near_copies(images: Sequence[np.ndarray], cores: int) -> list[tuple[int, int]]:
    """Return pairs of rows of images (height, width, channels) that are nearly, but not exactly, equal."""
    with ThreadPoolExecutor(cores) as pool:
        hashes = np.array(list(pool.map(_hash, images)), np.uint64).reshape(-1)
    pairs = {pair for bucket in _buckets(hashes) for pair in _close(np.array(bucket), hashes)}
    return sorted(pair for pair in pairs if _alike(images[pair[0]], images[pair[1]]))


def _close(rows: np.ndarray, hashes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield pairs of a bucket whose hashes differ in few bits; the rows ascend."""
    for first in range(0, len(rows), ROWS):
        some = rows[first : first + ROWS]
        differing = np.bitwise_count(hashes[some, np.newaxis] ^ hashes[rows])
        for one, other in np.argwhere(differing <= MAX_DIFFERING_BITS).tolist():
            if first + one < other:
                yield int(some[one]), int(rows[other])


def _hash(image: np.ndarray) -> int:
    return int(str(phash(viewed(image))), 16)


def _buckets(hashes: np.ndarray) -> list[Sequence[int]]:
    """Return rows whose hashes agree in one of MAX_DIFFERING_BITS + 1 parts: two that are alike do in at least one."""
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    parts = np.array_split(np.arange(64, dtype=np.uint64), MAX_DIFFERING_BITS + 1)
    for place, bits in enumerate(parts):
        mask = np.bitwise_or.reduce(np.uint64(1) << bits)
        for row, key in enumerate((hashes & mask).tolist()):
            found[place, key].append(row)
    return [rows for rows in found.values() if len(rows) > 1]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if np.array_equal(one, other):
        return False
    ours, theirs = ((image - image.mean(axis=(0, 1))).ravel() for image in (one, other))
    scale = np.linalg.norm(ours) * np.linalg.norm(theirs)
    return bool(scale and ours @ theirs >= CORRELATION * scale)  # all flat images are alike
