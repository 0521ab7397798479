"""Limits that keep a damaged file from using all memory or running for hours; what exceeds them is rejected.

Limits on memory depend on the machine's: VGG-16, with half a gigabyte of weights, needs eight gigabytes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from contextvars import ContextVar

from conversion.runtime.machine import memory_bytes

MEMORY_BYTES = memory_bytes()
MAX_FILE_BYTES = min(2**30, max(2**26, MEMORY_BYTES // 8))  # of a model or weight file
MAX_OPERATIONS = 2**15  # layers, or operations and constants, each taking a fraction of a millisecond; malireddi has 65
MAX_BLOB_ELEMENTS = min(2**27, MEMORY_BYTES // 64)  # of one blob: a sixteenth of memory; VGG-16 has 103 million
# Constants, and values read and written by all operations for one image: a quarter of memory, if all were kept.
MAX_TOTAL_ELEMENTS = min(2**29, MEMORY_BYTES // 16)  # VGG-16 needs 458 million
MAX_MULTIPLICATIONS = 10**11  # of a whole network for one image: seconds; VGG-16 has a sixth of it
PASS_COST = 32  # multiplications that take as long as one more value in a pass over a blob
MAX_WINDOW = 2**14  # positions of a window, or groups of channels: each costs a pass over the blob


class Unsupported(Exception):
    """Raised below the executor for anything unsupported; the executor adds the layer's name."""


_spent: ContextVar[list[int]] = ContextVar("spent")  # elements and multiplications while a file is loaded


@contextlib.contextmanager
def one_network() -> Iterator[None]:
    """Add up the needs of a network for one image inside this context; limits of single operations always apply."""
    token = _spent.set([0, 0])
    try:
        yield
    finally:
        _spent.reset(token)


def bounded_total(elements: int) -> None:
    """Add to the elements of the network being loaded.

    Raises:
        Unsupported: if they exceed MAX_TOTAL_ELEMENTS.
    """
    spent = _spent.get([0, 0])
    spent[0] += elements
    if spent[0] > MAX_TOTAL_ELEMENTS:
        raise Unsupported(
            f"with it the network takes more than {MAX_TOTAL_ELEMENTS:,} values for one image, "
            f"the limit on a machine with {MEMORY_BYTES / 2**30:.1f} GiB"
        )


def bounded(shape: Iterable[int]) -> tuple[int, ...]:
    """Return the shape if an array of it is allowed.

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
    """Add to the multiplications for one image of the network being loaded.

    Raises:
        Unsupported: if they exceed MAX_MULTIPLICATIONS.
    """
    spent = _spent.get([0, 0])
    spent[1] += multiplications
    if spent[1] > MAX_MULTIPLICATIONS:
        raise Unsupported(
            f"with it the network needs {spent[1]:.1e} multiplications; the limit is {MAX_MULTIPLICATIONS:.0e}"
        )


def bounded_window(positions: int) -> None:
    """Reject a window with too many positions or groups, each of which would cost a pass over the blob.

    Raises:
        Unsupported: if there are more than MAX_WINDOW.
    """
    if positions > MAX_WINDOW:
        raise Unsupported(f"it takes {positions:,} passes over its blob; the limit is {MAX_WINDOW:,}")
