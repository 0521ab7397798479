"""Operations that reduce a blob along some of its axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from conversion.runtime.arrays import axes_of, axis_of
from conversion.runtime.functions import REDUCTIONS, Reduction
from conversion.runtime.interface import Array
from conversion.runtime.mil_ops.op import Op, OpBuilder
from conversion.runtime.network import Operation


def _reduce(compute: Reduction) -> OpBuilder:
    def build(op: Op) -> Operation:
        op.read("x")
        axes = axes_of(op.integers("axes", range(op.rank())), op.rank())
        keep = op.flag("keep_dims", False)
        return lambda x: _kept(compute(x, axes), axes, keep=keep)

    return build


def _argument(find: Callable[[Array, int], Array]) -> OpBuilder:
    def build(op: Op) -> Operation:
        op.read("x")
        axis, keep = axis_of(op.integer("axis", -1), op.rank()), op.flag("keep_dims", False)
        op.text("output_dtype", ("int32", "uint16"), "int32")
        return lambda x: _kept(np.expand_dims(find(x, axis), axis), (axis,), keep=keep)

    return build


def _kept(x: Array, axes: tuple[int, ...], *, keep: bool) -> Array:
    return x if keep else x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])


OPS: dict[str, OpBuilder] = {
    "reduce_argmax": _argument(lambda x, axis: x.argmax(axis=axis)),
    "reduce_argmin": _argument(lambda x, axis: x.argmin(axis=axis)),
    "reduce_l1_norm": _reduce(REDUCTIONS["L1"]),
    "reduce_l2_norm": _reduce(REDUCTIONS["L2"]),
    "reduce_log_sum": _reduce(REDUCTIONS["LOGSUM"]),
    "reduce_log_sum_exp": _reduce(REDUCTIONS["LOGSUMEXP"]),
    "reduce_max": _reduce(REDUCTIONS["MAX"]),
    "reduce_mean": _reduce(REDUCTIONS["AVG"]),
    "reduce_min": _reduce(REDUCTIONS["MIN"]),
    "reduce_prod": _reduce(REDUCTIONS["PROD"]),
    "reduce_sum": _reduce(REDUCTIONS["SUM"]),
    "reduce_sum_square": _reduce(REDUCTIONS["SUMSQUARE"]),
}
