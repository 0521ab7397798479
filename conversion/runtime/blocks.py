"""Work cut into blocks that stay in the processor's cache, computed one after the other or on several processors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from conversion.runtime.interface import Array
from conversion.runtime.processors import helpers

POINTWISE_ELEMENTS = 2**16  # of a block: with its operands a fraction of an L2 cache, far more than a call's own cost


class Block(NamedTuple):
    """Some rows of some images of blobs (N, ..., height, width)."""

    images: slice
    rows: slice

    def of(self, x: Array, height: int) -> Array:
        """The block of a blob; what has one row or does not depend on the image is there for all of them."""
        images = self.images if x.shape[0] > 1 else slice(None)
        if x.ndim < 3 or x.shape[-2] == 1 != height:
            return x[images]
        return x[images, ..., self.rows, :]


def blocks(count: int, height: int, *, rows: int) -> list[Block]:
    """All of `count` images of `height` rows, in blocks of at least one and at most about `rows` rows.

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
    """Compute all parts, on several processors within `helped`."""
    pool = helpers()
    if pool is None or len(parts) < 2:
        for part in parts:
            work(part)
        return

    def quietly(part: Block) -> None:
        with np.errstate(all="ignore"):  # as in the thread that waits
            work(part)

    list(pool.map(quietly, parts))
