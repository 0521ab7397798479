"""Operations that are matrix products."""

from __future__ import annotations

import math

import numpy as np

from conversion.runtime.arrays import product, rank
from conversion.runtime.functions import softmax
from conversion.runtime.interface import Array
from conversion.runtime.limits import Unsupported, bounded, bounded_work
from conversion.runtime.mil_ops.op import Op, OpBuilder
from conversion.runtime.network import Operation
from conversion.runtime.precision import matmul


def _linear(op: Op) -> Operation:
    op.read("x")
    weight = op.weight("weight")
    bias = op.weight("bias") if op.has("bias") else None
    if weight.ndim != 2:
        raise ValueError(f"its weight has the shape {weight.shape}")
    outputs, inputs = weight.shape
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(f"its bias has the shape {bias.shape} for {outputs:,} outputs")
    matrix = np.ascontiguousarray(weight.T)

    def run(x: Array) -> Array:
        if rank(x) < 1 or x.shape[-1] != inputs:
            raise ValueError(f"it reads vectors of {x.shape[-1]:,}; its weight takes {inputs:,}")
        bounded((*x.shape[:-1], outputs))
        bounded_work(math.prod(x.shape[1:]) * outputs)
        out = matmul(x.reshape(-1, inputs), matrix)
        if bias is not None:
            out += bias
        return out.reshape(*x.shape[:-1], outputs)

    return run


def _matmul(op: Op) -> Operation:
    op.read("x", "y")
    transpose_x, transpose_y = op.flag("transpose_x", False), op.flag("transpose_y", False)
    if min(op.rank("x"), op.rank("y")) < 2:
        raise Unsupported("it multiplies a vector")
    return lambda x, y: product(x, y, transpose_a=transpose_x, transpose_b=transpose_y)


def _einsum(op: Op) -> Operation:
    """Build one of the two equations that the format allows: a matrix product over the axes -1 and -3."""
    op.read_several("values")
    equation = op.text("equation", ("nchw,nwhu->nchu", "chw,whr->chr"))
    if len(op.operands("values")) != 2:
        raise ValueError("it does not read two blobs")

    def run(x: Array, y: Array) -> Array:
        if {rank(x), rank(y)} != {len(equation.partition(",")[0])}:
            raise ValueError(f"it reads blobs of the ranks {rank(x)} and {rank(y)} for {equation}")
        # (..., c, h, w) x (..., w, h, u): move h to the front, multiply, and move it back.
        out = product(x.swapaxes(-3, -2), y.swapaxes(-3, -2), transpose_a=False, transpose_b=False)
        return out.swapaxes(-3, -2)

    return run


def _attention(op: Op) -> Operation:
    op.read("query", "key", "value")
    if op.has("attn_mask"):
        raise Unsupported("it has a mask")

    def run(query: Array, key: Array, value: Array) -> Array:
        if min(rank(query), rank(key), rank(value)) < 2:
            raise ValueError("it multiplies a vector")
        scale = np.float32(1 / math.sqrt(query.shape[-1]))
        scores = product(query * scale, key, transpose_a=False, transpose_b=True)
        return product(softmax(scores, scores.ndim - 1), value, transpose_a=False, transpose_b=False)

    return run


OPS: dict[str, OpBuilder] = {
    "einsum": _einsum,
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
}
