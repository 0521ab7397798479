"""What the data have of a split, before it is known which images go where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pixels:
    """Images that are decoded when they are wanted, as they may be more than memory holds."""

    shape: tuple[int, ...]  # N, height, width[, channels]
    blocks: Callable[[], Iterator[np.ndarray]]  # all of them in their order, uint8, some at a time


@dataclass(frozen=True)
class StoredSplit:
    """What the data have of a split."""

    images: np.ndarray | Pixels  # uint8 (N, height, width[, channels])
    labels: np.ndarray  # whole numbers (N,)
    files: Sequence[str] | None = None
