"""Operations that compute each output value from the input values at the same position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conversion.runtime import functions
from conversion.runtime.arrays import broadcast, select
from conversion.runtime.functions import ZERO
from conversion.runtime.fusion import Pointwise
from conversion.runtime.interface import Array
from conversion.runtime.limits import Unsupported
from conversion.runtime.mil_ops.op import Constant, Op, OpBuilder
from conversion.runtime.network import Operation


def _function(compute: Callable[..., Array], *, takes_out: bool = False) -> OpBuilder:
    """Build an operation with one input and no parameters."""

    def build(op: Op) -> Operation:
        op.read("x")
        return Pointwise(compute, takes_out)

    return build


def _with_numbers(compute: Callable[..., Array], *names: str, takes_out: bool = False) -> OpBuilder:
    """Build an operation with one input and constant numbers."""

    def build(op: Op) -> Operation:
        op.read("x")
        numbers = [op.number(name) for name in names]
        return Pointwise(lambda x, **out: compute(x, *numbers, **out), takes_out)

    return build


def _with_epsilon(compute: Callable[[Array, np.float32], Array], default: float) -> OpBuilder:
    def build(op: Op) -> Operation:
        op.read("x")
        epsilon = op.number("epsilon", default)
        return Pointwise(lambda x: compute(x, epsilon))

    return build


def _per_channel(compute: Callable[..., Array], *names: str) -> OpBuilder:
    """Build an operation with one constant per channel."""

    def build(op: Op) -> Operation:
        op.read("x")
        if op.rank() < 3:
            raise ValueError(f"it reads a blob of rank {op.rank()}, not at least 3")
        parameters = []
        for name in names:
            values = op.weight(name)
            if values.shape != (op.operand("x").type.shape[1],):
                raise ValueError(f"its {name} has the shape {values.shape}, which is not one for each channel")
            parameters.append(values.reshape(-1, *[1] * (op.rank() - 2)))
        return Pointwise(lambda x: compute(x, *parameters))

    return build


def _binary(compute: Callable[..., Any]) -> OpBuilder:
    """Build an operation with two inputs that broadcast; a comparison returns 1 or 0."""

    def build(op: Op) -> Operation:
        op.read("x", "y")
        return Pointwise(lambda x, y, **out: compute(*broadcast(x, y), **out), isinstance(compute, np.ufunc))

    return build


def _logical(compute: Callable[[Any, Any], Any]) -> OpBuilder:
    return _binary(lambda x, y: compute(x != 0, y != 0))


def _select(op: Op) -> Operation:
    op.read("cond", "a", "b")
    return Pointwise(select)


def _gelu(op: Op) -> Operation:
    op.read("x")
    mode = op.text("mode", ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"), "EXACT")
    return Pointwise(lambda x: functions.gelu(x, mode))


def _cast(op: Op) -> Operation:
    """Build a cast. Everything is computed in float32, so casts to floats do nothing; casts to integers truncate."""
    op.read("x")
    small = ("int8", "uint8", "int16", "uint16")
    kind = op.text("dtype", ("fp16", "fp32", "fp64", "int32", "int64", "bool", *small))
    if kind.startswith("fp"):
        return lambda x: x
    if kind == "bool":
        return lambda x: x != 0
    if kind in small and not isinstance(op.operand("x"), Constant):
        raise Unsupported(f"it casts values that depend on the image to {kind}")
    return np.trunc


OPS: dict[str, OpBuilder] = {
    # activations
    "clamped_relu": _with_numbers(functions.clamped_relu, "alpha", "beta"),
    "elu": _with_numbers(functions.elu, "alpha"),
    "gelu": _gelu,
    "leaky_relu": _with_numbers(functions.leaky_relu, "alpha"),
    "linear_activation": _with_numbers(functions.linear, "alpha", "beta"),
    "prelu": _per_channel(functions.leaky_relu, "alpha"),
    "relu": _function(functions.relu, takes_out=True),
    "relu6": _function(lambda x, out=None: functions.clip(x, ZERO, np.float32(6), out), takes_out=True),
    "scaled_tanh": _with_numbers(functions.scaled_tanh, "alpha", "beta"),
    "sigmoid": _function(functions.sigmoid, takes_out=True),
    "sigmoid_hard": _with_numbers(functions.hard_sigmoid, "alpha", "beta"),
    "silu": _function(functions.silu, takes_out=True),
    "softplus": _function(functions.softplus),
    "softplus_parametric": _per_channel(functions.parametric_softplus, "alpha", "beta"),
    "softsign": _function(functions.softsign),
    "thresholded_relu": _with_numbers(functions.thresholded_relu, "alpha"),
    # one input
    **{name: _function(compute) for name, compute in functions.PLAIN.items() if name not in ("acosh", "asinh")},
    **{name: _function(getattr(np, name), takes_out=True) for name in ("abs", "sqrt", "square")},
    "cast": _cast,
    "clip": _with_numbers(functions.clip, "alpha", "beta", takes_out=True),
    "exp": _function(functions.exp),
    "identity": _function(lambda x: x),
    "inverse": _with_epsilon(functions.inverse, 1e-4),
    "log": _with_epsilon(functions.logarithm, 1e-45),
    "logical_not": _function(lambda x: x == 0),
    "round": _function(np.rint),
    "rsqrt": _with_epsilon(functions.inverse_root, 1e-12),
    "threshold": _with_numbers(np.maximum, "alpha"),
    # two inputs
    "add": _binary(np.add),
    "equal": _binary(np.equal),
    "floor_div": _binary(functions.floor_divide),
    "greater": _binary(np.greater),
    "greater_equal": _binary(np.greater_equal),
    "less": _binary(np.less),
    "less_equal": _binary(np.less_equal),
    "logical_and": _logical(np.logical_and),
    "logical_or": _logical(np.logical_or),
    "logical_xor": _logical(np.logical_xor),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "mod": _binary(np.mod),
    "mul": _binary(np.multiply),
    "not_equal": _binary(np.not_equal),
    "pow": _binary(np.power),
    "real_div": _binary(np.divide),
    "sub": _binary(np.subtract),
    "select": _select,
}
