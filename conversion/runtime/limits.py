"""Bounds that keep a damaged file from asking for all memory or for hours: exceeding one is refused, not tried."""

from __future__ import annotations

import math
from collections.abc import Iterable

MAX_FILE_BYTES = 2**31 - 1  # what protobuf can parse
MAX_BLOB_ELEMENTS = 2**25  # 128 MiB of float32 in one blob; an ImageNet network's largest is a tenth of that
MAX_TOTAL_ELEMENTS = 2**28  # activations of a whole network for one image; VGG-16 has a twentieth of that
MAX_MULTIPLICATIONS = 10**11  # of one layer for one image: about a second
MAX_WINDOW = 2**14  # positions of one pooling or depthwise window: each costs a pass over the blob


class Unsupported(Exception):
    """Raised below the executor for something it does not know; the executor adds the layer's name."""


def bounded(shape: Iterable[int]) -> tuple[int, ...]:
    """The same shape, if an array of it may be made.

    Raises:
        Unsupported: if it has more than MAX_BLOB_ELEMENTS elements.
        ValueError: if a dimension is not positive.
    """
    shape = tuple(int(size) for size in shape)
    if any(size < 1 for size in shape):
        raise ValueError(f"its output would have the shape {shape}")
    if math.prod(shape) > MAX_BLOB_ELEMENTS:
        raise Unsupported(f"it needs a blob of shape {shape}; the limit is {MAX_BLOB_ELEMENTS:,} elements")
    return shape


def bounded_work(multiplications: int) -> None:
    """Refuse a layer that would take more than MAX_MULTIPLICATIONS for one image.

    Raises:
        Unsupported: if it would.
    """
    if multiplications > MAX_MULTIPLICATIONS:
        raise Unsupported(f"it needs {multiplications:.1e} multiplications; the limit is {MAX_MULTIPLICATIONS:.0e}")


def bounded_window(positions: int) -> None:
    """Refuse a window whose positions would each cost a pass over the blob.

    Raises:
        Unsupported: if there are more than MAX_WINDOW.
    """
    if positions > MAX_WINDOW:
        raise Unsupported(f"its window has {positions:,} positions; the limit is {MAX_WINDOW:,}")
