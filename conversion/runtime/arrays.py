"""Axes, shapes and rearrangements of blobs, shared by both formats.

A blob with shape S in the file is an array (N, *S) here. The batch is an axis of our own in front of the file's axes,
so that a network may transpose, squeeze or reshape its own batch axis of 1. A blob that does not depend on the image
has N = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from conversion.runtime.interface import Array
from conversion.runtime.limits import bounded, bounded_work
from conversion.runtime.precision import matmul


def rank(x: Array) -> int:
    """Return the rank of the blob as the file counts it."""
    return x.ndim - 1


def axis_of(axis: int, count: int) -> int:
    """Return our index of the file's axis, for a blob of rank `count`."""
    if not -count <= axis < count:
        raise ValueError(f"its axis {axis} is not one of {count}")
    return axis % count + 1


def axes_of(axes: Sequence[int], count: int) -> tuple[int, ...]:
    """Return our indices of several different axes of the file."""
    found = tuple(axis_of(axis, count) for axis in axes)
    if len(set(found)) != len(found):
        raise ValueError(f"its axes {tuple(axes)} are not different")
    return found


def broadcast(*blobs: Array) -> list[Array]:
    """Bring blobs to the same rank, as NumPy would without the batch axis; check that they can be broadcast."""
    longest = max(x.ndim for x in blobs)
    aligned = [x.reshape(x.shape[0], *[1] * (longest - x.ndim), *x.shape[1:]) for x in blobs]
    bounded(np.broadcast_shapes(*(x.shape for x in aligned)))
    return aligned


def planes(x: Array, *, least: int = 3) -> tuple[Array, tuple[int, ...]]:
    """Merge all axes in front of (channels, height, width); also return their sizes, to undo it."""
    if rank(x) < least:
        raise ValueError(f"it reads a blob of rank {rank(x)}, not at least {least}")
    return x.reshape(-1, *x.shape[-3:]), x.shape[:-3]


def by_planes(compute: Callable[..., Array], *, least: int = 3) -> Callable[..., Array]:
    """Extend a function of blobs (N, channels, height, width) to blobs with more axes in front of the channels."""

    def run(x: Array, *others: Any) -> Array:
        image, lead = planes(x, least=least)
        out = compute(image, *others)
        return out.reshape(*lead, *out.shape[1:])

    return run


def select(condition: Array, a: Array, b: Array) -> Array:
    """Return values of `a` where the condition is not 0, else of `b`."""
    condition, a, b = broadcast(condition, a, b)
    return np.where(condition != 0, a, b)


def without_axes(x: Array, axes: tuple[int, ...]) -> Array:
    """Remove axes of size 1, but keep at least one axis."""
    shape = [size for axis, size in enumerate(x.shape) if axis not in axes]
    return x.reshape(shape if len(shape) > 1 else [*shape, 1])


def product(a: Array, b: Array, *, transpose_a: bool, transpose_b: bool) -> Array:
    """Multiply matrices in the last two axes; the axes in front of them broadcast."""
    a = a[:, None, :] if rank(a) == 1 else a
    b = b[:, :, None] if rank(b) == 1 else b
    a = a.swapaxes(-1, -2) if transpose_a else a
    b = b.swapaxes(-1, -2) if transpose_b else b
    longest = max(a.ndim, b.ndim)
    a, b = (x.reshape(x.shape[0], *[1] * (longest - x.ndim), *x.shape[1:]) for x in (a, b))
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    bounded((*lead, a.shape[-2], b.shape[-1]))
    bounded_work(math.prod(lead[1:]) * math.prod(a.shape[-2:]) * b.shape[-1])
    return matmul(a, b)


def completed(target: Sequence[int], x: Array) -> tuple[int, ...]:
    """Return the target shape with its -1 replaced."""
    if target.count(-1) > 1 or any(size < -1 for size in target):
        raise ValueError(f"its target shape {tuple(target)} is not a shape")
    known = math.prod(size for size in target if size > 0)
    left = math.prod(x.shape[1:]) // max(known, 1)
    return tuple(left if size == -1 else size for size in target)


def join(blobs: Sequence[Array], axis: int) -> Array:
    """Concatenate along one of our axes; constants are repeated for each image."""
    if len({x.ndim for x in blobs}) > 1:
        raise ValueError("it joins blobs of different ranks")
    count = max(x.shape[0] for x in blobs)  # 1 for a constant, else the batch size
    shape = list(blobs[0].shape)
    shape[0], shape[axis] = count, sum(x.shape[axis] for x in blobs)
    bounded(shape)
    return np.concatenate([np.broadcast_to(x, (count, *x.shape[1:])) for x in blobs], axis=axis)


def padded(x: Array, widths: Sequence[tuple[int, int]], **how: Any) -> Array:
    """Like `np.pad`, but the result has the memory order of the blob."""
    order = np.argsort([-stride for stride in x.strides], kind="stable")
    out = np.pad(x.transpose(order), [widths[axis] for axis in order], **how)
    return out.transpose(np.argsort(order))


def cut(x: Array, axis: int, sizes: list[int]) -> list[Array]:
    """Split along one of our axes into pieces of these sizes."""
    if sum(sizes) != x.shape[axis] or min(sizes, default=0) < 1:
        raise ValueError(f"it cuts an axis of {x.shape[axis]} into {sizes}")
    return np.split(x, np.cumsum(sizes[:-1]), axis=axis)


def sliced(x: Array, cuts: dict[int, slice]) -> Array:
    """Slice along our axes."""
    out = x[tuple(cuts.get(axis, slice(None)) for axis in range(x.ndim))]
    if not out.size:
        raise ValueError(f"its slice of a blob of shape {x.shape[1:]} is empty")
    return out


def index_slices(
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int],
    begin_mask: Sequence[bool],
    end_mask: Sequence[bool],
    squeezed: Sequence[bool],
) -> dict[int, slice]:
    """Convert the file's begin, end, stride and masks of each axis to slices by our axes.

    >>> index_slices([1, -1], [3, 0], [2, 1], [False, False], [True, False], [False, True])
    {1: slice(1, None, 2), 2: slice(-1, None, 1)}
    """
    cuts = {}
    for axis, single in enumerate(squeezed):
        first, last, step = begin[axis], end[axis], stride[axis]
        from_start, to_end = bool(begin_mask[axis]), bool(end_mask[axis])
        if single:  # a single index; `end` does not matter
            from_start, to_end, last, step = False, first == -1, first + 1, 1
        cuts[axis + 1] = slice(None if from_start else first, None if to_end else last, step)
    return cuts


def tiled(x: Array, reps: Sequence[int]) -> Array:
    """Repeat a blob along each of the file's axes."""
    if len(reps) != rank(x) or min(reps, default=1) < 1:
        raise ValueError(f"it repeats a blob of rank {rank(x)} {tuple(reps)} times")
    bounded(size * times for size, times in zip(x.shape, (1, *reps), strict=True))
    return np.tile(x, (1, *reps))
