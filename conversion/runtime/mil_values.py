"""Types and constants of an ML Program, as declared and stored in its messages or in the weight file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from conversion.runtime.limits import MAX_BLOB_ELEMENTS, Unsupported

FLEXIBLE = -1  # a size that the file leaves open
Blob = Callable[[str, int, str, int, int], bytes]  # file name, offset, type, bytes, unused bits


@dataclass(frozen=True)
class Storage:
    """How values of a type are stored in bytes, and in which field of a message."""

    bits: int
    numpy: str  # type of the bytes, if values have whole bytes
    field: str
    signed: bool = False


STORAGE = {
    "BOOL": Storage(8, "?", "bools"),
    "FLOAT16": Storage(16, "<f2", "bytes"),
    "FLOAT32": Storage(32, "<f4", "floats"),
    "FLOAT64": Storage(64, "<f8", "doubles"),
    "INT4": Storage(4, "", "bytes", signed=True),
    "INT8": Storage(8, "i1", "bytes"),
    "INT16": Storage(16, "<i2", "ints"),
    "INT32": Storage(32, "<i4", "ints"),
    "INT64": Storage(64, "<i8", "longInts"),
    "UINT1": Storage(1, "", "bytes"),
    "UINT2": Storage(2, "", "bytes"),
    "UINT3": Storage(3, "", "bytes"),
    "UINT4": Storage(4, "", "bytes"),
    "UINT6": Storage(6, "", "bytes"),
    "UINT8": Storage(8, "u1", "bytes"),
    "UINT16": Storage(16, "<u2", "ints"),
    "UINT32": Storage(32, "<u4", "ints"),
    "UINT64": Storage(64, "<u8", "longInts"),
}
FLOATS = frozenset({"FLOAT16", "FLOAT32", "FLOAT64"})


@dataclass(frozen=True)
class TensorType:
    """The declared type of a tensor."""

    name: str  # of its values: "FLOAT32", "INT4", "STRING", ...
    shape: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        """Whether its values are floating-point numbers."""
        return self.name in FLOATS

    @property
    def is_integer(self) -> bool:
        """Whether its values are integers."""
        return "INT" in self.name

    def sized(self, shape: tuple[int, ...]) -> TensorType:
        """Return the type with its open sizes filled in from a shape.

        Raises:
            ValueError: if the shape does not fit.
        """
        if len(shape) != len(self.shape) or any(
            own not in (FLEXIBLE, size) for own, size in zip(self.shape, shape, strict=True)
        ):
            raise ValueError(f"it declares the shape {self.shape} and computes {shape}")
        return TensorType(self.name, tuple(shape))


@dataclass(frozen=True)
class Constant:
    """A value that does not depend on the image."""

    type: TensorType
    values: np.ndarray  # in the type's shape; floats are float32, strings are objects


def tensor_type(stored: Any, *, flexible: bool = False) -> TensorType:
    """Read a `ValueType` message that declares a tensor.

    Args:
        stored: the message.
        flexible: whether sizes may be open, which are then FLEXIBLE.

    Raises:
        ValueError: if it contradicts itself.
        Unsupported: if it declares something else, or no fixed shape.
    """
    kind = stored.WhichOneof("type")
    if kind is None:
        raise ValueError("a value has no type")
    if kind != "tensorType":
        raise Unsupported(f"a value is of the type {kind}")
    tensor = stored.tensorType
    shape = []
    for dimension in tensor.dimensions:
        if dimension.WhichOneof("dimension") == "unknown" and flexible:
            shape.append(FLEXIBLE)
        elif dimension.WhichOneof("dimension") != "constant":
            raise Unsupported("a value has no fixed shape")
        else:
            shape.append(dimension.constant.size)
    if tensor.rank != len(shape):
        raise ValueError(f"a value of rank {tensor.rank} has {len(shape)} dimensions")
    if len(tensor.attributes):
        raise Unsupported("a type has attributes")
    names = tensor.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number
    if tensor.dataType not in names or tensor.dataType == 0:
        raise Unsupported(f"a value is of the data type {tensor.dataType}")
    if math.prod(shape) > MAX_BLOB_ELEMENTS:
        raise Unsupported(f"a value has the shape {tuple(shape)}; the limit is {MAX_BLOB_ELEMENTS:,} elements")
    return TensorType(names[tensor.dataType].name, tuple(shape))


def constant(stored: Any, blob: Blob) -> Constant:
    """Decode a `Value` message.

    Args:
        stored: the message.
        blob: reads from a weight file.

    Raises:
        ValueError: if the values do not fit their type.
        Unsupported: for unknown kinds of values.
    """
    if stored.type.WhichOneof("type") == "listType":
        return _list(stored)
    declared = tensor_type(stored.type)
    kind = stored.WhichOneof("value")
    if kind == "blobFileValue":
        if declared.name not in STORAGE:
            raise Unsupported(f"its weights are of the type {declared.name}")
        bits = math.prod(declared.shape) * STORAGE[declared.name].bits
        where = stored.blobFileValue
        content = blob(where.fileName, where.offset, declared.name, -(-bits // 8), -bits % 8)
        return Constant(declared, decoded(content, declared))
    if kind != "immediateValue" or stored.immediateValue.WhichOneof("value") != "tensor":
        raise Unsupported("a value is stored in an unknown way")
    return Constant(declared, _immediate(stored.immediateValue.tensor, declared))


def decoded(content: bytes, declared: TensorType) -> np.ndarray:
    """Return the values of a tensor stored in row-major order.

    Raises:
        ValueError: if there are too few or too many.
    """
    storage, count = STORAGE[declared.name], math.prod(declared.shape)
    if len(content) != -(-count * storage.bits // 8):
        raise ValueError(f"{len(content):,} bytes are no {declared.name} values of shape {declared.shape}")
    if storage.numpy:
        values = np.frombuffer(content, storage.numpy)
    else:
        values = unpack_codes(np.frombuffer(content, np.uint8), count=count, bits=storage.bits)
        if storage.signed:
            values = (values.astype(np.int8) ^ (1 << storage.bits - 1)) - (1 << storage.bits - 1)
    return (values.astype(np.float32) if declared.is_float else values).reshape(declared.shape)


def unpack_codes(packed: np.ndarray, *, count: int, bits: int) -> np.ndarray:
    """Unpack codes of 1 to 8 bits, stored with the least significant bit first, across byte boundaries.

    >>> unpack_codes(np.array([0b11_10_01_00], np.uint8), count=4, bits=2)
    array([0, 1, 2, 3], dtype=uint8)
    """
    if bits == 8:
        return packed
    stream = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    codes: np.ndarray = np.zeros(count, np.uint8)
    for bit in range(bits):
        codes |= stream[:, bit] << bit
    return codes


def _immediate(stored: Any, declared: TensorType) -> np.ndarray:
    field = stored.WhichOneof("value")
    count = math.prod(declared.shape)
    if declared.name == "STRING":
        if field != "strings" or len(stored.strings.values) != count:
            raise ValueError(f"a text has no values for its shape {declared.shape}")
        return np.array(list(stored.strings.values), object).reshape(declared.shape)
    if declared.name not in STORAGE:
        raise Unsupported(f"a value is of the type {declared.name}")
    storage = STORAGE[declared.name]
    if field == "bytes":  # coremltools also stores UINT32 there, and half precision has no field of its own
        return decoded(stored.bytes.values, declared)
    if field != storage.field:
        raise ValueError(f"a value of the type {declared.name} is stored as {field}")
    stored_values = getattr(stored, field).values
    if len(stored_values) != count:
        raise ValueError(f"it stores {len(stored_values):,} values where its shape {declared.shape} needs {count:,}")
    wide = {"bools": "?", "floats": "f4", "doubles": "f8", "ints": "i8", "longInts": "i8"}[field]
    values = np.fromiter(stored_values, wide, count)
    return (values.astype(np.float32) if declared.is_float else values).reshape(declared.shape)


def _list(stored: Any) -> Constant:
    """Return a list of scalars; only class labels are lists."""
    declared = tensor_type(stored.type.listType.type)
    length = stored.type.listType.length
    if stored.immediateValue.WhichOneof("value") != "list" or declared.shape:
        raise Unsupported("a list is stored in an unknown way")
    items = stored.immediateValue.list.values
    if length.WhichOneof("dimension") == "constant" and length.constant.size != len(items):
        raise ValueError(f"a list of {length.constant.size:,} has {len(items):,} values")
    values = []
    for item in items:
        if tensor_type(item.type) != declared or item.immediateValue.WhichOneof("value") != "tensor":
            raise ValueError(f"a list of {declared.name} has other values")
        values.append(_immediate(item.immediateValue.tensor, declared).item())
    return Constant(TensorType(declared.name, (len(values),)), np.array(values, object))
