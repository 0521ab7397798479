"""Layers that are matrix products."""

from __future__ import annotations

import math

import numpy as np

from conversion.runtime.arrays import product, rank
from conversion.runtime.interface import Array
from conversion.runtime.limits import bounded, bounded_work
from conversion.runtime.network import Operation
from conversion.runtime.nn_layers.layer import Layer
from conversion.runtime.precision import matmul


def _inner_product(layer: Layer) -> Operation:
    layer.expect()
    layer.refuse("int8DynamicQuantize")
    p = layer.params
    matrix = np.ascontiguousarray(layer.weight("weights", (p.outputChannels, p.inputChannels)).T)
    bias = layer.weight("bias", (p.outputChannels,)) if p.hasBias else None

    def run(x: Array) -> Array:
        # With rank 4 or 5, the last three axes are the vector; with a lower rank, the last one.
        vector = 3 if rank(x) > 3 else 1
        size = math.prod(x.shape[-vector:])
        if size != p.inputChannels:
            raise ValueError(f"it reads vectors of {size:,}; its weights take {p.inputChannels:,}")
        bounded((*x.shape[:-vector], p.outputChannels))
        bounded_work(math.prod(x.shape[1:]) * p.outputChannels)
        out = matmul(x.reshape(-1, size), matrix)
        if bias is not None:
            out += bias
        return out.reshape(*x.shape[:-vector], p.outputChannels, *[1] * (vector - 1))

    return run


def _batched_matmul(layer: Layer) -> Operation:
    layer.expect(inputs=range(1, 3))
    layer.refuse("int8DynamicQuantize")
    p = layer.params
    if len(layer.inputs) == 2:
        return lambda a, b: product(a, b, transpose_a=p.transposeA, transpose_b=p.transposeB)
    rows, columns = p.weightMatrixFirstDimension, p.weightMatrixSecondDimension
    matrix = np.ascontiguousarray(layer.weight("weights", (columns, rows)).T)  # stored in column-major order
    bias = layer.weight("bias", (columns,)) if p.hasBias else None

    def run(x: Array) -> Array:
        if x.shape[-1] != rows:
            raise ValueError(f"it reads vectors of {x.shape[-1]:,}; its weights take {rows:,}")
        bounded((*x.shape[:-1], columns))
        bounded_work(math.prod(x.shape[1:]) * columns)
        out = matmul(x.reshape(-1, rows), matrix)
        if bias is not None:
            out += bias
        return out.reshape(*x.shape[:-1], columns)

    return run


LAYERS = {"batchedMatmul": _batched_matmul, "innerProduct": _inner_product}
