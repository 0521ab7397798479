"""Layers that compute each output value from the input values at the same position."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from conversion.runtime import functions
from conversion.runtime.arrays import broadcast, select
from conversion.runtime.functions import in_double
from conversion.runtime.fusion import Pointwise
from conversion.runtime.interface import Array
from conversion.runtime.limits import Unsupported
from conversion.runtime.network import Operation
from conversion.runtime.nn_layers.layer import Layer, LayerBuilder, channel_axis


def _activation(layer: Layer) -> Operation:
    layer.expect()
    kind = layer.params.WhichOneof("NonlinearityType")
    if kind is None:
        raise Unsupported("its function is unknown")
    if kind in ("PReLU", "parametricSoftplus"):
        return _per_channel_activation(layer, kind, getattr(layer.params, kind))
    p = getattr(layer.params, kind)
    alpha, beta = np.float32(getattr(p, "alpha", 0)), np.float32(getattr(p, "beta", 0))
    if kind in ("ReLU", "sigmoid"):
        return Pointwise({"ReLU": functions.relu, "sigmoid": functions.sigmoid}[kind], takes_out=True)
    chosen: dict[str, Callable[[Array], Any]] = {
        "linear": lambda x: functions.linear(x, alpha, beta),
        "leakyReLU": lambda x: functions.leaky_relu(x, alpha),
        "thresholdedReLU": lambda x: functions.thresholded_relu(x, alpha),
        "tanh": functions.tanh,
        "scaledTanh": lambda x: functions.scaled_tanh(x, alpha, beta),
        "sigmoidHard": lambda x: functions.hard_sigmoid(x, alpha, beta),
        "ELU": lambda x: functions.elu(x, alpha),
        "softsign": functions.softsign,
        "softplus": functions.softplus,
    }
    return Pointwise(chosen[kind])


def _per_channel_activation(layer: Layer, kind: str, params: Any) -> Operation:
    def parameter(name: str) -> Array:
        stored = getattr(params, name)
        count = len(stored.floatValue) or len(stored.float16Value) // 2
        if not count:
            raise Unsupported("its parameters are quantized")
        return layer.weight(name, (count,), of=params)

    alpha = parameter("alpha")
    beta = parameter("beta") if kind == "parametricSoftplus" else alpha

    def run(x: Array) -> Array:
        channels = x.shape[channel_axis(x)]
        for values in (alpha, beta):
            if values.size not in (1, channels):
                raise ValueError(f"it has {values.size} parameters for {channels} channels")
        if kind == "PReLU":
            return functions.leaky_relu(x, alpha[:, None, None])
        return functions.parametric_softplus(x, alpha[:, None, None], beta[:, None, None])

    return Pointwise(run)


def _unary(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params
    scale, shift = np.float32(p.scale or 1), np.float32(p.shift)
    alpha, epsilon = np.float32(p.alpha), np.float32(p.epsilon or 1e-6)
    # The format's description has no epsilon for a logarithm, but coremltools writes log(1 + x) with an epsilon of 1.
    logarithm_epsilon = np.float32(p.epsilon)
    function: dict[str, Callable[[Array], Array]] = {
        "SQRT": np.sqrt,
        "RSQRT": lambda x: functions.inverse_root(x, epsilon),
        "INVERSE": lambda x: functions.inverse(x, epsilon),
        "POWER": np.square if alpha == 2 else lambda x: np.power(x, alpha),
        "EXP": functions.exp,
        "LOG": lambda x: functions.logarithm(x, logarithm_epsilon),
        "ABS": np.abs,
        "THRESHOLD": lambda x: np.maximum(x, alpha),
    }
    chosen = function[layer.choice("type")]
    return Pointwise(chosen if scale == 1 and shift == 0 else in_double(lambda x: chosen(scale * x + shift)))


def _function(compute: Callable[[Array], Array]) -> LayerBuilder:
    """Build a layer with one input and no parameters."""

    def build(layer: Layer) -> Operation:
        layer.expect()
        return Pointwise(compute)

    return build


def _binary(compute: Callable[..., Array]) -> LayerBuilder:
    """Build a layer with two inputs that broadcast."""

    def build(layer: Layer) -> Operation:
        layer.expect(inputs=2)
        return _two(compute)

    return build


def _two(compute: Callable[..., Array]) -> Pointwise:
    return Pointwise(lambda a, b, **out: compute(*broadcast(a, b), **out), isinstance(compute, np.ufunc))


def _comparison(compute: Callable[[Array, Any], Any]) -> LayerBuilder:
    """Build a comparison of two inputs, or of one with a number; it returns 1 or 0."""

    def build(layer: Layer) -> Operation:
        layer.expect(inputs=range(1, 3))
        if len(layer.inputs) == 1:
            alpha = np.float32(layer.params.alpha)
            return Pointwise(lambda x: compute(x, alpha))
        return _two(compute)

    return build


def _several(compute: Callable[..., Array]) -> LayerBuilder:
    """Build a layer with several inputs; a single one is combined with the parameter alpha, if there is one."""

    def build(layer: Layer) -> Operation:
        layer.expect(inputs=range(1, 2**16))
        if len(layer.inputs) == 1 and hasattr(layer.params, "alpha"):
            alpha = np.float32(layer.params.alpha)
            return Pointwise(lambda x: compute(x, alpha))
        if len(layer.inputs) == 2:
            return _two(compute)
        together = in_double(lambda first, *others: reduce(compute, others, first))
        return Pointwise(lambda *blobs: together(*broadcast(*blobs)))

    return build


def _average(layer: Layer) -> Operation:
    layer.expect(inputs=range(1, 2**16))
    mean = in_double(lambda first, *others: reduce(np.add, others, first) / (1 + len(others)))
    return Pointwise(lambda *blobs: mean(*broadcast(*blobs)))


def _clip(layer: Layer) -> Operation:
    layer.expect()
    low, high = np.float32(layer.params.minVal), np.float32(layer.params.maxVal)
    return Pointwise(lambda x, out=None: functions.clip(x, low, high, out), takes_out=True)


def _clamped_relu(layer: Layer) -> Operation:
    layer.expect()
    alpha, beta = np.float32(layer.params.alpha), np.float32(layer.params.beta)
    return Pointwise(lambda x: functions.clamped_relu(x, alpha, beta))


def _gelu(layer: Layer) -> Operation:
    layer.expect()
    mode = layer.choice("mode")
    return Pointwise(lambda x: functions.gelu(x, mode))


def _where(layer: Layer) -> Operation:
    layer.expect(inputs=3)
    return Pointwise(select)


def _bias(layer: Layer) -> Operation:
    layer.expect()
    offset = _channel_parameter(layer, "bias", "shape")

    def run(x: Array, out: Array | None = None) -> Array:
        _check_planes(x, offset)
        return np.add(x, offset, out=out)

    return Pointwise(run, takes_out=True)


def _scale(layer: Layer) -> Operation:
    layer.expect()
    factor = _channel_parameter(layer, "scale", "shapeScale")
    offset = _channel_parameter(layer, "bias", "shapeBias") if layer.params.hasBias else np.zeros((1, 1, 1), np.float32)

    def run(x: Array) -> Array:
        for parameter in (factor, offset):
            _check_planes(x, parameter)
        return functions.linear(x, factor, offset)

    return run


def _channel_parameter(layer: Layer, name: str, shape_name: str) -> Array:
    """Return a parameter with shape [1], [C], [1, H, W] or [C, H, W], extended to three axes."""
    shape = tuple(getattr(layer.params, shape_name))
    if len(shape) not in (1, 3):
        raise ValueError(f"its {shape_name} is {shape}, not [C] or [C, H, W]")
    values = layer.weight(name, shape)
    return values[:, None, None] if len(shape) == 1 else values


def _check_planes(x: Array, parameter: Array) -> None:
    channel_axis(x)
    if np.broadcast_shapes(x.shape[-3:], parameter.shape) != x.shape[-3:]:
        raise ValueError(f"its parameter of shape {parameter.shape} does not fit planes of {x.shape[-3:]}")


LAYERS: dict[str, LayerBuilder] = {
    "activation": _activation,
    "add": _several(np.add),
    "addBroadcastable": _binary(np.add),
    "average": _average,
    "bias": _bias,
    "clampedReLU": _clamped_relu,
    "clip": _clip,
    "divideBroadcastable": _binary(np.divide),
    "equal": _comparison(np.equal),
    "floorDivBroadcastable": _binary(functions.floor_divide),
    "gelu": _gelu,
    "greaterEqual": _comparison(np.greater_equal),
    "greaterThan": _comparison(np.greater),
    "lessEqual": _comparison(np.less_equal),
    "lessThan": _comparison(np.less),
    "logicalAnd": _binary(np.logical_and),
    "logicalNot": _function(lambda x: (x == 0).astype(np.float32)),
    "logicalOr": _binary(np.logical_or),
    "logicalXor": _binary(np.logical_xor),
    "max": _several(np.maximum),
    "maxBroadcastable": _binary(np.maximum),
    "min": _several(np.minimum),
    "minBroadcastable": _binary(np.minimum),
    "modBroadcastable": _binary(np.mod),
    "multiply": _several(np.multiply),
    "multiplyBroadcastable": _binary(np.multiply),
    "notEqual": _comparison(np.not_equal),
    "powBroadcastable": _binary(np.power),
    "scale": _scale,
    "subtractBroadcastable": _binary(np.subtract),
    "unary": _unary,
    "whereBroadcastable": _where,
    **{name: _function(compute) for name, compute in functions.PLAIN.items()},
}
