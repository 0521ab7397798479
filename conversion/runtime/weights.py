"""Decode the weights of a neuralnetwork file, whatever their compression, to float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from conversion.runtime.interface import Array
from conversion.runtime.limits import Unsupported, bounded, bounded_total


def decode(stored: Any, shape: tuple[int, ...], *, channel_axis: int = 0) -> Array:
    """Decode a `WeightParams` message.

    Args:
        stored: the message: float32, float16, or quantized to 1..8 bits (linear or by a lookup table).
        shape: the shape that the layer declares; values are in row-major order.
        channel_axis: the axis of per-channel scales in a linear quantization.

    Returns:
        float32 array of the shape.

    Raises:
        ValueError: if the number of stored values does not fit.
        Unsupported: for unknown kinds of storage.
    """
    shape = bounded(shape)
    count = math.prod(shape)
    bounded_total(count)
    if stored.int8RawValue:
        raise Unsupported("its weights are int8 for dynamic quantization, which quantizes activations too")
    kinds = [kind for kind in ("floatValue", "float16Value", "rawValue") if len(getattr(stored, kind))]
    if len(kinds) != 1:
        raise ValueError(f"its weights should be stored once, not {len(kinds)} times")
    if kinds == ["floatValue"]:
        values = np.fromiter(stored.floatValue, np.float32, len(stored.floatValue))
    elif kinds == ["float16Value"]:
        values = np.frombuffer(stored.float16Value, "<f2").astype(np.float32)
    else:
        return _dequantize(stored.rawValue, stored.quantization, shape, channel_axis)
    if values.size != count:
        raise ValueError(f"it stores {values.size:,} weights where its shape {shape} needs {count:,}")
    return values.reshape(shape)


def _dequantize(raw: bytes, quantization: Any, shape: tuple[int, ...], channel_axis: int) -> Array:
    bits = quantization.numberOfBits
    if not 1 <= bits <= 8:
        raise Unsupported(f"its weights are quantized to {bits} bits; 1 to 8 are known")
    count = math.prod(shape)
    if len(raw) != -(-count * bits // 8):
        raise ValueError(f"it stores {len(raw):,} bytes of {bits}-bit weights where its shape {shape} needs {count:,}")
    codes = _unpack(np.frombuffer(raw, np.uint8), count=count, bits=bits)
    kind = quantization.WhichOneof("QuantizationType")
    if kind == "lookupTableQuantization":
        table = np.array(quantization.lookupTableQuantization.floatValue, np.float32)
        if table.size != 2**bits:
            raise ValueError(f"its lookup table has {table.size} entries where {bits} bits need {2**bits}")
        return table[codes].reshape(shape)
    if kind == "linearQuantization":
        linear = quantization.linearQuantization
        scale = _per_channel(linear.scale, shape, channel_axis, name="scale")
        offset = _per_channel(linear.bias, shape, channel_axis, name="bias")
        return codes.reshape(shape) * scale + offset
    raise Unsupported("its weights are quantized in an unknown way")


def _unpack(packed: np.ndarray, *, count: int, bits: int) -> np.ndarray:
    """Unpack codes of 1 to 8 bits, stored with the most significant bit first, across byte boundaries.

    >>> _unpack(np.array([0b00_01_10_11], np.uint8), count=4, bits=2)
    array([0, 1, 2, 3], dtype=uint8)
    """
    if bits == 8:
        return packed
    stream = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    codes: np.ndarray = np.zeros(count, np.uint8)
    for bit in range(bits):
        codes = (codes << 1) | stream[:, bit]
    return codes


def _per_channel(stored: Any, shape: tuple[int, ...], axis: int, *, name: str) -> Array:
    values = np.array(stored, np.float32)
    if values.size == 1:
        return values
    if values.size != shape[axis]:
        raise ValueError(f"its quantization {name} has {values.size} values for {shape[axis]} channels")
    broadcast = [1] * len(shape)
    broadcast[axis] = values.size
    return values.reshape(broadcast)
