"""Split work into blocks that fit into the processor's cache, on one processor or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from conversion.runtime.interface import Array
from conversion.runtime.processors import helpers

POINTWISE_ELEMENTS = 2**16  # per block: a fraction of an L2 cache, but much more work than the cost of a call


class Block(NamedTuple):
    """Some rows of some images of blobs (N, ..., height, width)."""

    images: slice
    rows: slice

    def of(self, x: Array, height: int) -> Array:
        """Return this block of a blob; a blob with one row, or independent of the image, is used for all blocks."""
        images = self.images if x.shape[0] > 1 else slice(None)
        if x.ndim < 3 or x.shape[-2] == 1 != height:
            return x[images]
        return x[images, ..., self.rows, :]


def blocks(count: int, height: int, *, rows: int) -> list[Block]:
    """Split `count` images of `height` rows into blocks of about `rows` rows, and at least one.

    >>> blocks(1, 5, rows=2)[-1]
    Block(images=slice(0, 1, None), rows=slice(4, 6, None))
    >>> len(blocks(5, 4, rows=8))
    3
    """
    images, rows = max(1, rows // height), min(max(1, rows), height)
    return [
        Block(slice(first, first + images), slice(top, top + rows))
        for first in range(0, count, images)
        for top in range(0, height, rows)
    ]


def each(work: Callable[[Block], None], parts: list[Block]) -> None:
    """Compute all parts, on several processors inside `helped`."""
    pool = helpers()
    if pool is None or len(parts) < 2:
        for part in parts:
            work(part)
        return

    def quietly(part: Block) -> None:
        with np.errstate(all="ignore"):  # as in the waiting thread
            work(part)

    list(pool.map(quietly, parts))
