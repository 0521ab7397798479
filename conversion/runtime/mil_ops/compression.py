"""Operations that decompress constants: lookup tables, quantization and masks, possibly nested.

Until iOS 17, several codes or mask bits share a byte, and the shape is a separate parameter. From iOS 18 on, types can
be smaller than a byte, and scales and tables have a size for each axis of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from conversion.runtime.limits import bounded
from conversion.runtime.mil_ops.op import Op
from conversion.runtime.mil_values import STORAGE, unpack_codes

Decompression = Callable[[Op], list[np.ndarray]]


def _cast(op: Op) -> list[np.ndarray]:
    op.text("output_dtype", ("fp32", "fp16"))
    return [op.weight("source_val")]


def _affine_dequantize(op: Op) -> list[np.ndarray]:
    data = op.constant("quantized_data").astype(np.float32)
    axis = op.integer("axis")
    if not -data.ndim <= axis < data.ndim:
        raise ValueError(f"its axis {axis} is not one of {data.ndim}")
    shape = [1] * data.ndim
    shape[axis] = data.shape[axis]

    def along_axis(name: str) -> np.ndarray:
        values = op.constant(name).astype(np.float32)
        if values.ndim and values.shape != (data.shape[axis],):
            raise ValueError(f"its {name} has the shape {values.shape} for {data.shape[axis]:,} channels")
        return values.reshape(shape) if values.ndim else values

    return [along_axis("scale") * (data - along_axis("zero_point"))]


def _lut_to_dense(op: Op) -> list[np.ndarray]:
    table = op.constant("lut")
    if not op.has("shape"):
        return [_looked_up(op.constant("indices"), table, _index_bits(op, "indices"), _vector_axis(op))]
    shape = bounded(op.integers("shape"))
    bits = table.size.bit_length() - 1
    if table.ndim != 1 or table.size != 2**bits or not 1 <= bits <= 8:
        raise ValueError(f"its table has the shape {table.shape}")
    return [table[_codes(op, "indices", shape, bits)]]


def _codes(op: Op, name: str, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Return codes of a number of bits, unpacked from bytes."""
    packed, count = op.constant(name), math.prod(shape)
    if packed.dtype != np.uint8 or packed.shape != (-(-count * bits // 8),):
        raise ValueError(f"its {name} hold {packed.size:,} bytes where {shape} needs {-(-count * bits // 8):,}")
    return unpack_codes(packed, count=count, bits=bits).reshape(shape)


def _index_bits(op: Op, name: str) -> int:
    kind = op.operand(name).type.name
    if kind not in ("UINT1", "UINT2", "UINT3", "UINT4", "UINT6", "UINT8"):
        raise ValueError(f"its {name} are of the type {kind}")
    return STORAGE[kind].bits


def _vector_axis(op: Op) -> int | None:
    return op.integer("vector_axis") if op.has("vector_axis") else None


def _looked_up(indices: np.ndarray, table: np.ndarray, bits: int, vector_axis: int | None) -> np.ndarray:
    """Replace each index by its value (or by its vector along an axis) from the table for its block of the weights."""
    count = indices.ndim
    if table.ndim != count + 2 or table.shape[-2] != 2**bits or not indices.size or not table.size:
        raise ValueError(f"its table has the shape {table.shape} for {bits}-bit indices of shape {indices.shape}")
    size = table.shape[-1]
    if size > 1 and (vector_axis is None or not -count <= vector_axis < count):
        raise ValueError(f"its vectors lie along the axis {vector_axis} of {count}")
    bounded((*indices.shape, size))
    places = [
        (np.arange(length) // _block(length, table.shape[axis])).reshape([-1 if i == axis else 1 for i in range(count)])
        for axis, length in enumerate(indices.shape)
    ]
    found = table[(*places, indices)]  # (*indices.shape, size)
    if size == 1:
        return found[..., 0]
    assert vector_axis is not None
    axis = vector_axis % count
    spread = np.moveaxis(found, -1, axis + 1)
    return spread.reshape([length * (size if i == axis else 1) for i, length in enumerate(indices.shape)])


def _block(length: int, blocks: int) -> int:
    if blocks < 1 or length % blocks:
        raise ValueError(f"an axis of {length} has {blocks} blocks")
    return length // blocks


def _blockwise(data: np.ndarray, scale: np.ndarray, offset: np.ndarray | None) -> np.ndarray:
    """Return scale * (data - offset), with one of each per block of the weights."""
    if scale.ndim != data.ndim or (offset is not None and offset.shape != scale.shape):
        raise ValueError(f"its scale has the shape {scale.shape} for data of shape {data.shape}")
    values = data.astype(np.float32)
    for axis, length in enumerate(data.shape):
        block = _block(length, scale.shape[axis])
        if block > 1 and scale.shape[axis] > 1:
            scale = scale.repeat(block, axis=axis)
            offset = None if offset is None else offset.repeat(block, axis=axis)
    if offset is not None:
        values = values - offset.astype(np.float32)
    return scale.astype(np.float32) * values


def _offset(op: Op) -> np.ndarray | None:
    return op.constant("offset") if op.has("offset") else None


def _blockwise_shift_scale(op: Op) -> list[np.ndarray]:
    return [_blockwise(op.constant("data"), op.constant("scale"), _offset(op))]


def _sparse_to_dense(op: Op) -> list[np.ndarray]:
    values = op.constant("nonzero_data")
    if not op.has("shape"):
        return [_dense(values, _mask(op, "mask"))]
    return [_dense(values, _codes(op, "mask", bounded(op.integers("shape")), 1) != 0)]


def _mask(op: Op, name: str) -> np.ndarray:
    if op.operand(name).type.name != "UINT1":
        raise ValueError(f"its {name} is of the type {op.operand(name).type.name}")
    return op.constant(name) != 0


def _dense(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return values at the positions of a mask, zeros elsewhere."""
    if values.shape != (np.count_nonzero(mask),):
        raise ValueError(f"its mask has {np.count_nonzero(mask):,} places for values of shape {values.shape}")
    out: np.ndarray = np.zeros(mask.shape, values.dtype)
    out[mask] = values
    return out


def _lut_to_sparse(op: Op) -> list[np.ndarray]:
    mask, table, axis = _mask(op, "indices_mask"), op.constant("lut"), _vector_axis(op)
    indices = _dense(op.constant("indices_nonzero_data"), mask)
    found = _looked_up(indices, table, _index_bits(op, "indices_nonzero_data"), axis)
    if table.shape[-1] > 1:
        mask = mask.repeat(table.shape[-1], axis=axis)
    return [mask.astype(np.uint8), found[mask]]


def _sparse_blockwise_shift_scale(op: Op) -> list[np.ndarray]:
    mask = _mask(op, "data_mask")
    values = _blockwise(_dense(op.constant("nonzero_data"), mask), op.constant("scale"), _offset(op))
    return [mask.astype(np.uint8), values[mask]]


CONSTANT_EXPRESSIONS: dict[str, Decompression] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
