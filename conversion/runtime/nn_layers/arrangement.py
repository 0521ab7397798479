"""Layers that rearrange, split, join or repeat values, and those that add constants to the network."""

from __future__ import annotations

import math

import numpy as np

from conversion.runtime.arrays import (
    axes_of,
    axis_of,
    broadcast,
    completed,
    cut,
    index_slices,
    join,
    padded,
    planes,
    rank,
    sliced,
    tiled,
    without_axes,
)
from conversion.runtime.interface import Array
from conversion.runtime.limits import Unsupported, bounded
from conversion.runtime.network import Operation
from conversion.runtime.nn_layers.layer import Layer, LayerBuilder, channel_axis


def _copy(layer: Layer) -> Operation:
    layer.expect()
    return lambda x: x


def _transpose(layer: Layer) -> Operation:
    layer.expect()

    def run(x: Array) -> Array:
        axes = axes_of(layer.params.axes, rank(x))
        if len(axes) != rank(x):
            raise ValueError(f"it transposes {len(axes)} axes of a blob of rank {rank(x)}")
        return x.transpose(0, *axes)

    return run


def _permute(layer: Layer) -> Operation:
    """The original transposition of (sequence, channels, height, width) around the batch axis."""
    layer.expect()
    order = tuple(layer.params.axis) or (0, 1, 2, 3)
    if sorted(order) != [0, 1, 2, 3]:
        raise ValueError(f"its axes {order} are no permutation of 0 to 3")
    place = (1, 3, 4, 5)  # positions in our array (N, sequence, batch, channels, height, width)

    def run(x: Array) -> Array:
        _expect_rank_5(x)
        moved = [place[axis] for axis in order]
        return x.transpose(0, moved[0], 2, *moved[1:])

    return run


def _reshape(layer: Layer) -> Operation:
    """The original reshape of (sequence, batch, channels, height, width)."""
    layer.expect()
    target, order = tuple(layer.params.targetShape), layer.choice("mode")
    if len(target) not in (3, 4):
        raise ValueError(f"its target shape {target} has neither 3 nor 4 axes")

    def run(x: Array) -> Array:
        _expect_rank_5(x)
        count, length = x.shape[:2]
        lead = (length, x.shape[2]) if len(target) == 3 else (target[0], 1)
        channels, height, width = target[-3:]
        if order == "CHANNEL_FIRST":
            return x.reshape(count, *lead, channels, height, width)
        last = x.transpose(0, 1, 2, 4, 5, 3).reshape(count, *lead, height, width, channels)
        return last.transpose(0, 1, 2, 5, 3, 4)

    return run


def _expect_rank_5(x: Array) -> None:
    if rank(x) != 5:
        raise Unsupported(f"it reads a blob of rank {rank(x)}; its kind is described for rank 5")


def _reshape_static(layer: Layer) -> Operation:
    layer.expect()
    target = tuple(layer.params.targetShape)
    if not target or 0 in target:
        raise Unsupported(f"its target shape is {target}")
    return lambda x: x.reshape(x.shape[0], *completed(target, x))


def _rank_preserving_reshape(layer: Layer) -> Operation:
    layer.expect()
    target = tuple(layer.params.targetShape)

    def run(x: Array) -> Array:
        if len(target) != rank(x):
            raise ValueError(f"its target shape {target} has not the {rank(x)} axes of its input")
        kept = tuple(size or x.shape[axis + 1] for axis, size in enumerate(target))
        return x.reshape(x.shape[0], *completed(kept, x))

    return run


def _flatten(layer: Layer) -> Operation:
    layer.expect()
    order = layer.choice("mode")

    def run(x: Array) -> Array:
        image, lead = planes(x)
        image = image if order == "CHANNEL_FIRST" else image.transpose(0, 2, 3, 1)
        return image.reshape(*lead, -1, 1, 1)

    return run


def _flatten_to_2d(layer: Layer) -> Operation:
    layer.expect()

    def run(x: Array) -> Array:
        axis = layer.params.axis
        if not -rank(x) <= axis <= rank(x):
            raise ValueError(f"its axis {axis} is not one of {rank(x)}")
        cut = axis + 1 if axis >= 0 else axis + x.ndim
        return x.reshape(x.shape[0], math.prod(x.shape[1:cut]), math.prod(x.shape[cut:]))

    return run


def _expand_dims(layer: Layer) -> Operation:
    layer.expect()
    return lambda x: np.expand_dims(x, axes_of(layer.params.axes, rank(x) + len(layer.params.axes)))


def _squeeze(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params

    def run(x: Array) -> Array:
        axes = axes_of(p.axes, rank(x))
        if p.squeezeAll:
            axes = tuple(axis for axis in range(1, x.ndim) if x.shape[axis] == 1)
        if any(x.shape[axis] != 1 for axis in axes):
            raise ValueError(f"it squeezes axes {tuple(p.axes)} of a blob of shape {x.shape[1:]}")
        return without_axes(x, axes)

    return run


def _concat(layer: Layer) -> Operation:
    layer.expect(inputs=range(1, 2**16))
    sequence = layer.params.sequenceConcat
    return lambda *blobs: join(blobs, axis_of(-5 if sequence else -3, rank(blobs[0])))


def _concat_nd(layer: Layer) -> Operation:
    layer.expect(inputs=range(1, 2**16))
    layer.refuse("interleave")
    return lambda *blobs: join(blobs, axis_of(layer.params.axis, rank(blobs[0])))


def _stack(layer: Layer) -> Operation:
    layer.expect(inputs=range(1, 2**16))

    def run(*blobs: Array) -> Array:
        axis = axis_of(layer.params.axis, rank(blobs[0]) + 1)
        return join([np.expand_dims(x, axis) for x in blobs], axis)

    return run


def _split(layer: Layer) -> Operation:
    layer.expect(outputs=layer.params.nOutputs)

    def run(x: Array) -> list[Array]:
        axis = channel_axis(x)
        return cut(x, axis, [x.shape[axis] // len(layer.outputs)] * len(layer.outputs))

    return run


def _split_nd(layer: Layer) -> Operation:
    p = layer.params
    layer.expect(outputs=len(p.splitSizes) or p.numSplits)

    def run(x: Array) -> list[Array]:
        axis = axis_of(p.axis, rank(x))
        return cut(x, axis, list(p.splitSizes) or [x.shape[axis] // len(layer.outputs)] * len(layer.outputs))

    return run


def _slice(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params
    axis = {"CHANNEL_AXIS": -3, "HEIGHT_AXIS": -2, "WIDTH_AXIS": -1}[layer.choice("axis")]
    if not p.stride:
        raise ValueError("its stride is 0")
    return lambda x: sliced(x, {axis_of(axis, rank(x)): slice(p.startIndex, p.endIndex, p.stride)})


def _slice_static(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params
    fields = (p.beginIds, p.beginMasks, p.endIds, p.endMasks, p.strides)

    def run(x: Array) -> Array:
        if any(len(values) != rank(x) for values in fields) or len(p.squeezeMasks) not in (0, rank(x)):
            raise ValueError(f"it does not state {rank(x)} slices for a blob of rank {rank(x)}")
        squeeze = list(p.squeezeMasks) or [False] * rank(x)
        out = sliced(x, index_slices(p.beginIds, p.endIds, p.strides, p.beginMasks, p.endMasks, squeeze))
        shape = [size for axis, size in enumerate(out.shape) if axis == 0 or not squeeze[axis - 1]]
        return out.reshape(shape if len(shape) > 1 else [*shape, 1])

    return run


def _tile(layer: Layer) -> Operation:
    layer.expect()
    return lambda x: tiled(x, tuple(layer.params.reps))


def _reverse(layer: Layer) -> Operation:
    layer.expect()

    def run(x: Array) -> Array:
        if len(layer.params.reverseDim) != rank(x):
            raise ValueError(f"it does not state {rank(x)} directions for a blob of rank {rank(x)}")
        return np.flip(x, tuple(axis + 1 for axis, mask in enumerate(layer.params.reverseDim) if mask))

    return run


def _constant_pad(layer: Layer) -> Operation:
    layer.expect()
    layer.refuse("padToGivenOutputSizeMode")
    amounts, value = tuple(layer.params.padAmounts), np.float32(layer.params.value)

    def run(x: Array) -> Array:
        if len(amounts) != 2 * rank(x):
            raise ValueError(f"it states {len(amounts)} amounts for a blob of rank {rank(x)}")
        widths = [(0, 0), *zip(amounts[::2], amounts[1::2], strict=True)]
        bounded(size + sum(width) for size, width in zip(x.shape, widths, strict=True))
        return padded(x, widths, constant_values=value)

    return run


def _broadcast_to(layer: Layer) -> Operation:
    layer.expect()
    target = bounded(layer.params.targetShape)

    def run(x: Array) -> Array:
        (aligned, _) = broadcast(x, np.empty((1, *target), np.float32))
        return np.broadcast_to(aligned, (x.shape[0], *target))

    return run


def _load_constant(layer: Layer) -> Operation:
    layer.expect(inputs=0)
    shape = tuple(layer.params.shape)
    if len(shape) != 3:
        raise ValueError(f"its shape is {shape}, not [C, H, W]")
    constant = layer.weight("data", shape)[None, None, None]
    return lambda: constant


def _load_constant_nd(layer: Layer) -> Operation:
    layer.expect(inputs=0)
    constant = layer.weight("data", tuple(layer.params.shape) or (1,))[None]
    return lambda: constant


def _fill(layer: Layer) -> Operation:
    layer.expect(inputs=0)
    constant = np.full((1, *bounded(layer.params.targetShape)), layer.params.value, np.float32)
    return lambda: constant


LAYERS: dict[str, LayerBuilder] = {
    "broadcastToStatic": _broadcast_to,
    "concat": _concat,
    "concatND": _concat_nd,
    "constantPad": _constant_pad,
    "copy": _copy,
    "expandDims": _expand_dims,
    "fillStatic": _fill,
    "flatten": _flatten,
    "flattenTo2D": _flatten_to_2d,
    "loadConstant": _load_constant,
    "loadConstantND": _load_constant_nd,
    "permute": _permute,
    "rankPreservingReshape": _rank_preserving_reshape,
    "reshape": _reshape,
    "reshapeStatic": _reshape_static,
    "reverse": _reverse,
    "slice": _slice,
    "sliceStatic": _slice_static,
    "split": _split,
    "splitND": _split_nd,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
