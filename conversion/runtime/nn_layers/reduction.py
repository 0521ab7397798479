"""Layers that reduce a blob along some of its axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from conversion.runtime.arrays import axes_of, axis_of, rank, without_axes
from conversion.runtime.functions import REDUCTIONS, Reduction, in_double
from conversion.runtime.interface import Array
from conversion.runtime.limits import Unsupported
from conversion.runtime.network import Operation
from conversion.runtime.nn_layers.layer import Layer, LayerBuilder

PLANE_AXES = {"CHW": (-3, -2, -1), "HW": (-2, -1), "C": (-3,), "H": (-2,), "W": (-1,)}


def _reduce(layer: Layer) -> Operation:
    """The original layer: named axes, which are kept."""
    layer.expect()
    mode, axes = layer.choice("mode"), PLANE_AXES[layer.choice("axis")]
    epsilon = np.float32(layer.params.epsilon or 1e-6)
    if mode == "ARGMAX":
        if len(axes) > 1:
            raise ValueError("it looks for a maximum along several axes")
        return lambda x: x.argmax(axis=axes_of(axes, rank(x))[0], keepdims=True).astype(np.float32)
    if mode == "LOGSUM":
        logarithms = in_double(lambda x, axes: np.log(x + epsilon).sum(axis=axes, keepdims=True))
        return lambda x: logarithms(x, axes_of(axes, rank(x)))
    compute = REDUCTIONS[mode]
    return lambda x: compute(x, axes_of(axes, rank(x)))


def _reduce_nd(compute: Reduction) -> LayerBuilder:
    """The newer layers: numbered axes, which may be dropped."""

    def build(layer: Layer) -> Operation:
        layer.expect()
        p = layer.params
        if not p.reduceAll and not len(p.axes):
            raise Unsupported("it states no axes")

        def run(x: Array) -> Array:
            axes = tuple(range(1, x.ndim)) if p.reduceAll else axes_of(p.axes, rank(x))
            out = compute(x, axes)
            return out if p.keepDims else without_axes(out, axes)

        return run

    return build


def _argument(find: Callable[[Array, int], Array]) -> LayerBuilder:
    def build(layer: Layer) -> Operation:
        layer.expect()

        def run(x: Array) -> Array:
            axis = axis_of(layer.params.axis, rank(x))
            out = np.expand_dims(find(x, axis), axis).astype(np.float32)
            return without_axes(out, (axis,)) if layer.params.removeDim else out

        return run

    return build


LAYERS: dict[str, LayerBuilder] = {
    "argMax": _argument(lambda x, axis: x.argmax(axis=axis)),
    "argMin": _argument(lambda x, axis: x.argmin(axis=axis)),
    "reduce": _reduce,
    "reduceL1": _reduce_nd(REDUCTIONS["L1"]),
    "reduceL2": _reduce_nd(REDUCTIONS["L2"]),
    "reduceLogSumExp": _reduce_nd(REDUCTIONS["LOGSUMEXP"]),
    "reduceMax": _reduce_nd(REDUCTIONS["MAX"]),
    "reduceMean": _reduce_nd(REDUCTIONS["AVG"]),
    "reduceMin": _reduce_nd(REDUCTIONS["MIN"]),
    "reduceProd": _reduce_nd(REDUCTIONS["PROD"]),
    "reduceSum": _reduce_nd(REDUCTIONS["SUM"]),
    "reduceSumSquare": _reduce_nd(REDUCTIONS["SUMSQUARE"]),
}
