"""Bounds that keep a damaged file from asking for all memory or for hours: exceeding one is refused, not tried.

Those on memory follow from the machine's: VGG-16, with half a gigabyte of weights, needs eight gigabytes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from contextvars import ContextVar

from conversion.runtime.machine import memory_bytes

MEMORY_BYTES = memory_bytes()
MAX_FILE_BYTES = min(2**30, max(2**26, MEMORY_BYTES // 8))  # of a model file or a file of weights
MAX_OPERATIONS = 2**15  # layers, or operations and constants, at a fraction of a millisecond each; malireddi has 65
MAX_BLOB_ELEMENTS = min(2**27, MEMORY_BYTES // 64)  # of one blob: a sixteenth of the memory; VGG-16 has 103 million
# Read and written by all operations for one image, and constants: a quarter of the memory, were all kept.
MAX_TOTAL_ELEMENTS = min(2**29, MEMORY_BYTES // 16)  # VGG-16 needs 458 million
MAX_MULTIPLICATIONS = 10**11  # of a whole network for one image: seconds; VGG-16 has a sixth of that
PASS_COST = 32  # multiplications of a matrix product in the time in which a pass over a blob comes to one more value
MAX_WINDOW = 2**14  # positions of a window, groups of channels: each costs a pass of its own over the blob


class Unsupported(Exception):
    """Raised below the executor for something it does not know; the executor adds the layer's name."""


_spent: ContextVar[list[int]] = ContextVar("spent")  # elements and multiplications, while a file is being loaded


@contextlib.contextmanager
def one_network() -> Iterator[None]:
    """Within this, all that a network needs for one image is added up; limits of single operations hold anywhere."""
    token = _spent.set([0, 0])
    try:
        yield
    finally:
        _spent.reset(token)


def bounded_total(elements: int) -> None:
    """Add to the elements of the network that is being loaded.

    Raises:
        Unsupported: if these are more than MAX_TOTAL_ELEMENTS.
    """
    spent = _spent.get([0, 0])
    spent[0] += elements
    if spent[0] > MAX_TOTAL_ELEMENTS:
        raise Unsupported(
            f"with it the network takes more than {MAX_TOTAL_ELEMENTS:,} values for one image, "
            f"the limit on a machine with {MEMORY_BYTES / 2**30:.1f} GiB"
        )


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
    """Add to the multiplications, for one image, of the network that is being loaded.

    Raises:
        Unsupported: if these are more than MAX_MULTIPLICATIONS.
    """
    spent = _spent.get([0, 0])
    spent[1] += multiplications
    if spent[1] > MAX_MULTIPLICATIONS:
        raise Unsupported(
            f"with it the network needs {spent[1]:.1e} multiplications; the limit is {MAX_MULTIPLICATIONS:.0e}"
        )


def bounded_window(positions: int) -> None:
    """Refuse a window whose positions, or groups that, would each cost a pass over the blob.

    Raises:
        Unsupported: if there are more than MAX_WINDOW.
    """
    if positions > MAX_WINDOW:
        raise Unsupported(f"it takes {positions:,} passes over its blob; the limit is {MAX_WINDOW:,}")
