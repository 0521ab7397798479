"""Layers that normalise values by neighbouring values or stored statistics."""

from __future__ import annotations

import numpy as np

from conversion.runtime.arrays import axis_of, rank
from conversion.runtime.functions import batch_normalization, l2_normalize, local_response, normalize, softmax
from conversion.runtime.fusion import Pointwise
from conversion.runtime.interface import Array
from conversion.runtime.network import Operation
from conversion.runtime.nn_layers.layer import Layer, channel_axis


def _softmax(layer: Layer) -> Operation:
    layer.expect()
    return lambda x: softmax(x, channel_axis(x))


def _softmax_nd(layer: Layer) -> Operation:
    layer.expect()
    return lambda x: softmax(x, axis_of(layer.params.axis, rank(x)))


def _batchnorm(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params
    epsilon = p.epsilon or 1e-5
    gamma, beta = (layer.weight(name, (p.channels,)) for name in ("gamma", "beta"))

    def check(x: Array) -> None:
        if x.shape[channel_axis(x)] != p.channels:
            raise ValueError(f"it reads {x.shape[channel_axis(x)]} channels, not {p.channels}")

    if not p.computeMeanVar:
        mean, variance = (layer.weight(name, (p.channels,)) for name in ("mean", "variance"))
        stored = (values[:, None, None] for values in (mean, variance, gamma, beta))
        normalized = batch_normalization(*stored, epsilon=epsilon)

        def fixed(x: Array, out: Array | None = None) -> Array:
            check(x)
            return normalized(x, out)

        return Pointwise(fixed, takes_out=True)

    def computed(x: Array) -> Array:
        check(x)
        axes: tuple[int, ...] = (x.ndim - 2, x.ndim - 1)
        if not p.instanceNormalization:  # over the file's own batch, which is one image
            axes = tuple(axis for axis in range(1, x.ndim) if axis != channel_axis(x))
        return gamma[:, None, None] * normalize(x, axes, epsilon=epsilon) + beta[:, None, None]

    return computed


def _mean_variance(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params

    def run(x: Array) -> Array:
        axes = tuple(range(channel_axis(x) + (not p.acrossChannels), x.ndim))
        return normalize(x, axes, epsilon=p.epsilon or 1e-6, scale_variance=p.normalizeVariance)

    return run


def _layer_normalization(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params
    shape = tuple(p.normalizedShape)
    gamma, beta = layer.weight("gamma", shape), layer.weight("beta", shape)

    def run(x: Array) -> Array:
        if rank(x) < len(shape) or x.shape[x.ndim - len(shape) :] != shape:
            raise ValueError(f"it reads a blob of shape {x.shape[1:]}, which does not end in {shape}")
        return gamma * normalize(x, tuple(range(x.ndim - len(shape), x.ndim)), epsilon=p.eps) + beta

    return run


def _l2_normalize(layer: Layer) -> Operation:
    layer.expect()
    epsilon = np.float32(layer.params.epsilon or 1e-6)
    return lambda x: l2_normalize(x, tuple(range(channel_axis(x), x.ndim)), epsilon)


def _local_response(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params
    if p.localSize < 1:
        raise ValueError("its localSize is 0")
    return lambda x: local_response(x, channel_axis(x), size=p.localSize, alpha=p.alpha, beta=p.beta, k=p.k or 1.0)


LAYERS = {
    "batchnorm": _batchnorm,
    "l2normalize": _l2_normalize,
    "layerNormalization": _layer_normalization,
    "lrn": _local_response,
    "mvn": _mean_variance,
    "softmax": _softmax,
    "softmaxND": _softmax_nd,
}
