"""The stored part of a split, before missing splits are held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pixels:
    """Images that are decoded on demand, because they may exceed memory."""

    shape: tuple[int, ...]  # N, height, width[, channels]
    blocks: Callable[[], Iterator[np.ndarray]]  # all images in order, uint8, block by block


@dataclass(frozen=True)
class StoredSplit:
    """The images and labels of a split, as stored in the data."""

    images: np.ndarray | Pixels  # uint8 (N, height, width[, channels])
    labels: np.ndarray  # whole numbers (N,)
    files: Sequence[str] | None = None
