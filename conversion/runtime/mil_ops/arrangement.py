"""Operations that rearrange, split, join or repeat values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from conversion.runtime.arrays import (
    axes_of,
    axis_of,
    completed,
    cut,
    index_slices,
    join,
    padded,
    rank,
    sliced,
    tiled,
)
from conversion.runtime.interface import Array
from conversion.runtime.limits import Unsupported, bounded
from conversion.runtime.mil_ops.op import Op, OpBuilder
from conversion.runtime.network import Operation


def _transpose(op: Op) -> Operation:
    op.read("x")
    perm = op.integers("perm")
    axes = axes_of(perm, op.rank())
    if len(axes) != op.rank():
        raise ValueError(f"it transposes {len(axes)} axes of a blob of rank {op.rank()}")
    return lambda x: x.transpose(0, *axes)


def _reshape(op: Op) -> Operation:
    op.read("x")
    target, own = op.integers("shape"), op.operand("x").type.shape
    # A 0 keeps the size; from iOS 17 on, it counts from the right. For equal ranks, both mean the same.
    if 0 in target and len(target) != len(own):
        raise Unsupported(f"its target shape {target} keeps sizes of {own}, which has another rank")
    kept = [size or own[axis] for axis, size in enumerate(target)]
    return lambda x: x.reshape(x.shape[0], *completed(kept, x))


def _expand_dims(op: Op) -> Operation:
    op.read("x")
    axes = op.integers("axes")
    places = axes_of(axes, op.rank() + len(axes))
    return lambda x: np.expand_dims(x, places)


def _squeeze(op: Op) -> Operation:
    op.read("x")
    own = op.operand("x").type.shape
    axes = axes_of(op.integers("axes", range(op.rank())), op.rank())  # axes with other sizes are ignored
    kept = [size for i, size in enumerate(own) if i + 1 not in axes or size != 1]
    return lambda x: x.reshape(x.shape[0], *kept)


def _flatten2d(op: Op) -> Operation:
    op.read("x")
    axis, own = op.integer("axis", 1), op.operand("x").type.shape
    if not -len(own) <= axis <= len(own):
        raise ValueError(f"its axis {axis} is not one of {len(own)}")
    return lambda x: x.reshape(x.shape[0], math.prod(own[:axis]), math.prod(own[axis:]))


def _tile(op: Op) -> Operation:
    op.read("x")
    reps = op.integers("reps")
    return lambda x: tiled(x, reps)


def _concat(op: Op) -> Operation:
    op.read_several("values")
    axis = op.integer("axis")
    if op.flag("interleave", False):
        raise Unsupported("it interleaves its inputs")
    return lambda *blobs: join(blobs, axis_of(axis, rank(blobs[0])))


def _stack(op: Op) -> Operation:
    op.read_several("values")
    axis = op.integer("axis")

    def run(*blobs: Array) -> Array:
        place = axis_of(axis, rank(blobs[0]) + 1)
        return join([np.expand_dims(x, place) for x in blobs], place)

    return run


def _split(op: Op) -> Operation:
    op.read("x")
    axis = axis_of(op.integer("axis"), op.rank())
    own = op.operand("x").type.shape[axis - 1]
    count = op.integer("num_splits", len(op.outputs))
    sizes = op.integers("split_sizes", (own // max(count, 1),) * len(op.outputs))
    if count != len(op.outputs) or len(sizes) != count:
        raise ValueError(f"it cuts {count} pieces of {sizes} and has {len(op.outputs)} outputs")
    return lambda x: cut(x, axis, list(sizes))


def _slice_by_index(op: Op) -> Operation:
    op.read("x")
    count = op.rank()
    begin, end, stride = op.integers("begin"), op.integers("end"), op.integers("stride", (1,) * count)
    begin_mask, end_mask, squeezed = (
        op.flags(name, (False,) * count) for name in ("begin_mask", "end_mask", "squeeze_mask")
    )
    if {len(begin), len(end), len(stride), len(begin_mask), len(end_mask), len(squeezed)} != {count}:
        raise ValueError(f"it does not state {count} slices for a blob of rank {count}")
    cuts = index_slices(begin, end, stride, begin_mask, end_mask, squeezed)

    def run(x: Array) -> Array:
        out = sliced(x, cuts)
        return out.reshape([size for axis, size in enumerate(out.shape) if axis == 0 or not squeezed[axis - 1]])

    return run


def _slice_by_size(op: Op) -> Operation:
    op.read("x")
    begin, size, own = op.integers("begin"), op.integers("size"), op.operand("x").type.shape
    if {len(begin), len(size)} != {len(own)}:
        raise ValueError(f"it does not state {len(own)} slices for a blob of rank {len(own)}")
    first = [start + length if start < 0 else start for start, length in zip(begin, own, strict=True)]
    last = [length if extent == -1 else start + extent for start, extent, length in zip(first, size, own, strict=True)]
    if any(not 0 <= a < b <= length for a, b, length in zip(first, last, own, strict=True)):
        raise ValueError(f"it cuts {size} from {begin} of a blob of shape {own}")
    return lambda x: sliced(x, {axis + 1: slice(a, b) for axis, (a, b) in enumerate(zip(first, last, strict=True))})


def _pad(op: Op) -> Operation:
    op.read("x")
    amounts, mode = op.integers("pad"), op.text("mode", ("constant", "reflect", "replicate"), "constant")
    value = op.number("constant_val", 0)
    if len(amounts) % 2 or len(amounts) > 2 * op.rank() or min(amounts, default=0) < 0:
        raise ValueError(f"it pads a blob of rank {op.rank()} by {amounts}")
    widths = [(0, 0)] * (op.rank() + 1 - len(amounts) // 2) + list(zip(amounts[::2], amounts[1::2], strict=True))

    def run(x: Array) -> Array:
        bounded(size + sum(width) for size, width in zip(x.shape, widths, strict=True))
        if mode == "constant":
            return padded(x, widths, constant_values=value)
        if mode == "reflect" and any(max(width) >= size for width, size in zip(widths[1:], x.shape[1:], strict=True)):
            raise ValueError(f"a border of {amounts} cannot be reflected from a blob of shape {x.shape[1:]}")
        return padded(x, widths, mode="reflect" if mode == "reflect" else "edge")

    return run


def _reverse(op: Op) -> Operation:
    op.read("x")
    axes = axes_of(op.integers("axes", range(op.rank())), op.rank())
    return lambda x: np.flip(x, axes)


def _cumsum(op: Op) -> Operation:
    op.read("x")
    axis = axis_of(op.integer("axis", 0), op.rank())
    if op.flag("exclusive", False) or op.flag("reverse", False):
        raise Unsupported("it is exclusive or runs in reverse")
    return lambda x: np.cumsum(x, axis=axis)


def _gather(op: Op) -> Operation:
    op.read("x")
    indices, axis = op.constant("indices"), axis_of(op.integer("axis", 0), op.rank())
    op.flag("validate_indices", False)
    if op.integer("batch_dims", 0):
        raise Unsupported("its indices differ along a batch")
    if indices.dtype.kind not in "iu":
        raise ValueError("its indices are not whole numbers")
    places = indices.astype(np.int64)

    def run(x: Array) -> Array:
        bounded((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))
        return np.take(x, places, axis=axis)

    return run


def _shape(op: Op) -> Operation:
    """Return the declared shape, which is compared with the real one when the network is prepared."""
    shape: Any = np.array(op.operand("x").type.shape, np.int64)[None]
    return lambda: shape


def _fill(shape: Callable[[Op], tuple[int, ...]]) -> OpBuilder:
    def build(op: Op) -> Operation:
        value = op.number("value", 0)
        filled = np.full((1, *bounded(shape(op))), value, np.float32)
        return lambda: filled

    return build


OPS: dict[str, OpBuilder] = {
    "concat": _concat,
    "cumsum": _cumsum,
    "expand_dims": _expand_dims,
    "fill": _fill(lambda op: op.integers("shape")),
    "fill_like": _fill(lambda op: op.operand("ref_tensor").type.shape),
    "flatten2d": _flatten2d,
    "gather": _gather,
    "pad": _pad,
    "reshape": _reshape,
    "reverse": _reverse,
    "shape": _shape,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
