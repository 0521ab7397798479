"""Operations that normalise values by neighbouring values or stored statistics."""

from __future__ import annotations

import numpy as np

from conversion.runtime.arrays import axes_of, axis_of, rank
from conversion.runtime.functions import batch_normalization, l2_normalize, local_response, normalize, softmax
from conversion.runtime.fusion import Pointwise
from conversion.runtime.interface import Array
from conversion.runtime.mil_ops.op import Op, OpBuilder
from conversion.runtime.network import Operation


def _softmax(op: Op) -> Operation:
    op.read("x")
    axis = op.integer("axis", -1)
    return lambda x: softmax(x, axis_of(axis, rank(x)))


def _channel_weight(op: Op, name: str, default: float | None = None) -> Array:
    """Return one constant per channel, which is the file's second axis."""
    if op.rank() < 3:
        raise ValueError(f"it reads a blob of rank {op.rank()}, not at least 3")
    channels = op.operand("x").type.shape[1]
    if default is not None and not op.has(name):
        return np.full(channels, default, np.float32)
    values = op.weight(name)
    if values.shape != (channels,):
        raise ValueError(f"its {name} has the shape {values.shape} for {channels:,} channels")
    return values


def _batch_norm(op: Op) -> Operation:
    op.read("x")
    shape = (-1, *[1] * (op.rank() - 2))
    stored = {"mean": None, "variance": None, "gamma": 1, "beta": 0}
    mean, variance, gamma, beta = (_channel_weight(op, name, value).reshape(shape) for name, value in stored.items())
    epsilon = float(op.number("epsilon", 1e-5))
    return Pointwise(batch_normalization(mean, variance, gamma, beta, epsilon=epsilon), takes_out=True)


def _instance_norm(op: Op) -> Operation:
    op.read("x")
    shape = (-1, *[1] * (op.rank() - 2))
    gamma, beta = (_channel_weight(op, name, value).reshape(shape) for name, value in (("gamma", 1), ("beta", 0)))
    epsilon = op.number("epsilon", 1e-5)
    return lambda x: gamma * normalize(x, tuple(range(3, x.ndim)), epsilon=float(epsilon)) + beta


def _layer_norm(op: Op) -> Operation:
    op.read("x")
    count = op.rank()
    axes = axes_of(op.integers("axes", range(count)), count)
    if not axes:
        raise ValueError("it normalises no axes")
    shape = [size if i + 1 in axes else 1 for i, size in enumerate(op.operand("x").type.shape)]
    scales: dict[str, Array | None] = {"gamma": None, "beta": None}
    for name in scales:
        if op.has(name):
            values = op.weight(name)
            if values.shape != tuple(size for i, size in enumerate(shape) if i + 1 in axes):
                raise ValueError(f"its {name} has the shape {values.shape} for axes of {shape}")
            scales[name] = values.reshape(shape)
    gamma, beta, epsilon = scales["gamma"], scales["beta"], float(op.number("epsilon", 1e-5))

    def run(x: Array) -> Array:
        out = normalize(x, axes, epsilon=epsilon)
        out = out if gamma is None else out * gamma
        return out if beta is None else out + beta

    return run


def _l2_norm(op: Op) -> Operation:
    op.read("x")
    epsilon = op.number("epsilon", 1e-6)
    if op.rank() < 3:
        raise ValueError(f"it reads a blob of rank {op.rank()}, not at least 3")
    return lambda x: l2_normalize(x, (-3, -2, -1), epsilon)


def _local_response(op: Op) -> Operation:
    op.read("x")
    size = op.integer("size")
    alpha, beta, k = (float(op.number(name, value)) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("k", 1)))
    if size < 1 or op.rank() < 3:
        raise ValueError(f"its size is {size}, its blob of rank {op.rank()}")
    return lambda x: local_response(x, 2, size=size, alpha=alpha, beta=beta, k=k)


OPS: dict[str, OpBuilder] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
    "local_response_norm": _local_response,
    "softmax": _softmax,
}
