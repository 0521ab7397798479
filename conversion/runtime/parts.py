"""What the bytes of a Core ML file are used for: each layer or operation with its weights, and the rest.

Bytes are counted where they are in the file, so the parts add up to the file. Nothing is executed, and no weight is
decoded.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message_factory import GetMessageClass

from conversion.runtime.limits import Unsupported
from conversion.runtime.mil_values import STORAGE
from conversion.runtime.package import Package
from conversion.runtime.weight_file import HEADER_BYTES, WeightFile
from conversion.runtime.weight_references import MODEL_FOLDER, values_of
from conversion.runtime.wire import FieldRange, delimited_fields

NAMES = "CoreML.Specification."  # prefix of every message's name
MODEL, LAYER, OPERATION = f"{NAMES}Model", f"{NAMES}NeuralNetworkLayer", f"{NAMES}MILSpec.Operation"
PROGRAM = f"{NAMES}MILSpec."
OPENED = (f"{NAMES}NeuralNetwork", f"{NAMES}Pipeline", f"{PROGRAM}Program", f"{PROGRAM}Function", f"{PROGRAM}Block")
CONSTANT, EXPANDING = "const", "constexpr_"  # kinds of operations that belong to their first reader
CODES = {"data", "indices", "mask", "nonzero_data", "quantized_data"}  # parameters of these that are stored per weight
WAYS = {"lut": "table", "affine": "scale", "shift": "scale", "sparse": "zeros left out"}  # by words in constexpr_...
LARGEST = 2**40  # bytes of a weight file, which is not loaded into memory
REST = "(between them)"


@dataclass(frozen=True)
class Part:
    """A layer, an operation with the constants that it reads first, or another part of the file."""

    name: str
    kind: str
    bytes: int
    weights: int = 0  # number of values in its tensors
    storage: tuple[str, ...] = ()  # how they are stored: "float16", "8 bits, table"
    digest: str = field(default="", repr=False)  # of its bytes, without the location of its weights


def parts_of(content: bytes, message_type: Any, package: Package | None, size_bytes: int) -> tuple[Part, ...]:
    """Return all parts, the largest first; their bytes add up to `size_bytes`.

    Args:
        content: of the model file, already checked by `first_unknown`.
        message_type: the descriptor of `Model`.
        package: the package of the file, for its weights.
        size_bytes: of the file, or of all files in the package.
    """
    found = list(_parts(content, FieldRange(0, 0, 0, len(content)), message_type, _Blobs(package)))
    found.append(Part(REST, "format", size_bytes - sum(part.bytes for part in found)))
    return tuple(sorted(found, key=lambda part: -part.bytes))


def _parts(content: bytes, model: FieldRange, message_type: Any, blobs: _Blobs) -> Iterator[Part]:
    operations = []
    inner = 0
    for name, kind, span in _found(content, model, message_type):
        if kind.full_name == OPERATION:
            operations.append(_operation(content, span, kind, blobs))
        elif kind.full_name == LAYER:
            yield _layer(content, span, kind)
        elif kind.full_name == MODEL:
            among = list(_parts(content, span, kind, blobs))
            yield from (replace(part, name=f"{inner}/{part.name}") for part in among)
            inner += 1
        else:
            yield Part(name, name, span.end - span.start, digest=_digest(content[span.content : span.end]))
    yield from _with_their_constants(operations)


def _found(content: bytes, within: FieldRange, message_type: Any) -> Iterator[tuple[str, Any, FieldRange]]:
    """Find the messages that are parts, each with its field's name and its type, in order."""
    for span in delimited_fields(content, within):
        stored = message_type.fields_by_number.get(span.number)
        kind = stored.message_type if stored else None
        if kind is None:
            continue
        if kind.full_name.startswith(OPENED) and kind.full_name != LAYER:
            yield from _found(content, span, kind)
        elif kind.full_name == OPERATION or not message_type.full_name.startswith(PROGRAM):
            yield stored.name, kind, span


def _layer(content: bytes, span: FieldRange, kind: Any) -> Part:
    stored = content[span.content : span.end]
    layer = GetMessageClass(kind).FromString(stored)
    found = list(_stored_weights(layer))
    return Part(
        layer.name,
        layer.WhichOneof("layer") or "(unnamed)",
        span.end - span.start,
        sum(count for count, _ in found),
        _sorted(storage for _, storage in found),
        _digest(stored),
    )


def _stored_weights(message: Any) -> Iterator[tuple[int, str]]:
    """Return how many values each `WeightParams` in a message stores, and how."""
    for stored, value in message.ListFields():
        if stored.message_type is None:
            continue
        for child in value if stored.is_repeated else [value]:
            if stored.message_type.name == "WeightParams":
                yield from _weights(child)
            else:
                yield from _stored_weights(child)


def _weights(stored: Any) -> Iterator[tuple[int, str]]:
    if len(stored.floatValue):
        yield len(stored.floatValue), "float32"
    if stored.float16Value:
        yield len(stored.float16Value) // 2, "float16"
    if stored.int8RawValue:
        yield len(stored.int8RawValue), "8 bits, dynamic"
    if stored.rawValue:
        bits = max(1, stored.quantization.numberOfBits)
        by_table = stored.quantization.WhichOneof("QuantizationType") == "lookupTableQuantization"
        yield len(stored.rawValue) * 8 // bits, f"{bits} bits, {'table' if by_table else 'scale'}"


class _Blobs:
    """The blobs in a package's weight files; each is counted once."""

    def __init__(self, package: Package | None) -> None:
        self._package = package
        self._files: dict[str, WeightFile] = {}
        self._counted: set[tuple[str, int]] = set()

    def take(self, where: Any, type_name: str, size: int, unused_bits: int) -> tuple[bytes, int]:
        """Return a blob's data, and its size with its header unless already counted; nothing if it is damaged."""
        name, offset = where.fileName, where.offset
        try:
            if self._package is None:
                return b"", 0
            if name not in self._files:
                path = self._package.member(name.removeprefix(MODEL_FOLDER), beside_model=True)
                self._files[name] = WeightFile(path, most=LARGEST)
            data = self._files[name].blob(offset, type_name=type_name, size=size, unused_bits=unused_bits)
        except (Unsupported, ValueError):
            return b"", 0
        counted = (name, offset) in self._counted
        self._counted.add((name, offset))
        return data, 0 if counted else HEADER_BYTES + size


@dataclass(frozen=True)
class _Operation:
    """An operation without its constants, with the names that it reads and writes."""

    part: Part
    data_bytes: int  # of its tensors; if it expands constants, of their codes
    reads: tuple[tuple[str, str], ...]  # each with the parameter's name
    writes: tuple[str, ...]


def _operation(content: bytes, span: FieldRange, kind: Any, blobs: _Blobs) -> _Operation:
    operation = GetMessageClass(kind).FromString(content[span.content : span.end])
    data_bytes = weights = 0
    expands = operation.type.startswith(EXPANDING)
    own = span.end - span.start
    types, digest = set(), hashlib.sha256()
    for name, value in values_of(operation):
        type_name, shape = _declared(value)
        if type_name not in STORAGE:
            continue
        count = math.prod(shape)
        bits = count * STORAGE[type_name].bits
        size = -(-bits // 8)
        is_blob = value.WhichOneof("value") == "blobFileValue"
        if is_blob:
            data, counted = blobs.take(value.blobFileValue, type_name, size, -bits % 8)
            own += counted
            digest.update(data)
            value.blobFileValue.Clear()
        if is_blob or (count > 1 and type_name.startswith("FLOAT")):
            data_bytes += size * (not expands or name in CODES)
            weights += count
            types.add(type_name.lower())
    digest.update(operation.SerializeToString(deterministic=True))
    writes = tuple(output.name for output in operation.outputs)
    if expands and writes:
        weights = math.prod(_shape(operation.outputs[0].type))
    part = Part(next(iter(writes), ""), operation.type or "(unnamed)", own, weights, _sorted(types), digest.hexdigest())
    reads = [(argument.name, name) for name, each in sorted(operation.inputs.items()) for argument in each.arguments]
    return _Operation(part, data_bytes, tuple(reads), writes)


def _declared(value: Any) -> tuple[str, tuple[int, ...]]:
    """Return type and shape of a constant, both empty unless it is a tensor with a fixed shape."""
    if value.type.WhichOneof("type") != "tensorType":
        return "", ()
    names = value.type.tensorType.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number
    known = names.get(value.type.tensorType.dataType)
    return known.name if known else "", _shape(value.type)


def _shape(stored: Any) -> tuple[int, ...]:
    return tuple(dimension.constant.size for dimension in stored.tensorType.dimensions)


def _with_their_constants(operations: list[_Operation]) -> Iterator[Part]:
    """Return the operations that compute something, each with the constants that it reads first."""
    waiting: dict[str, _Operation] = {}
    for operation in operations:
        part, data_bytes = operation.part, operation.data_bytes
        expands = part.kind.startswith(EXPANDING)
        for name, parameter in operation.reads:
            constant = waiting.pop(name, None)
            if constant is None:
                continue
            data_bytes += constant.data_bytes * (not expands or parameter in CODES)
            part = replace(
                part,
                bytes=part.bytes + constant.part.bytes,
                weights=part.weights + (0 if expands else constant.part.weights),
                storage=_sorted([*part.storage, *constant.part.storage]),
                digest=_digest(f"{part.digest}{constant.part.digest}".encode()),
            )
        if expands:
            ways = dict.fromkeys(way for word, way in WAYS.items() if word in part.kind)
            part = replace(part, storage=(", ".join([f"{8 * data_bytes // max(1, part.weights)} bits", *ways]),))
        if part.kind == CONSTANT or expands:
            waiting[part.name] = replace(operation, part=part, data_bytes=data_bytes)
        else:
            yield part
    for left in waiting.values():
        yield left.part


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts)))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
