"""Scan the bytes of a protobuf message before it is parsed: count its fields, and find unknown ones.

A parsed message takes far more memory than its bytes: an empty layer is two bytes in the file and a hundred as an
object. So the fields are counted first, which reads only tags and lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor as Field

from conversion.runtime.interface import CorruptModel, NotCheckable

MAX_FIELDS = 2**20  # including nested messages; malireddi as an ML Program has about 4,000
MAX_DEPTH = 100  # of nested messages, as in protobuf; real files have 15

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
# How the values of a field are encoded, by its type; VARINT if it is not listed.
WRITTEN = dict.fromkeys((Field.TYPE_FIXED64, Field.TYPE_SFIXED64, Field.TYPE_DOUBLE), FIXED64)
WRITTEN |= dict.fromkeys((Field.TYPE_FIXED32, Field.TYPE_SFIXED32, Field.TYPE_FLOAT), FIXED32)
WRITTEN |= dict.fromkeys((Field.TYPE_STRING, Field.TYPE_BYTES, Field.TYPE_MESSAGE), DELIMITED)

# Former fields of the format, by the message's full name: labels, which the last stage has too.
RETIRED = {"CoreML.Specification.PipelineClassifier": (100, 101)}

_KnownTags = dict[int, Any]  # by each allowed tag of a message: the type of the nested message, or None


def first_unknown(content: bytes, message_type: Any, source: str) -> str | None:
    """Return the first type of message with a field that this version of the format does not have.

    Args:
        content: a serialized message.
        message_type: its descriptor.
        source: name of the file, for errors.

    Raises:
        CorruptModel: if the bytes are not a message, or messages are nested too deep.
        NotCheckable: if there are more than MAX_FIELDS.
    """
    damaged = CorruptModel(f"{source}: truncated or damaged, or not a Core ML file.")
    unknown, known = None, {message_type.full_name: _known(message_type)}
    place, fields = 0, 0
    open_messages = [(len(content), message_type)]
    try:
        while open_messages:
            end, current = open_messages[-1]
            if place >= end:
                if place > end:
                    raise damaged
                open_messages.pop()
                continue
            fields += 1
            if fields > MAX_FIELDS:
                raise NotCheckable(f"{source}: has more than {MAX_FIELDS:,} fields.")
            tag, place = _varint(content, place)
            allowed = known[current.full_name]
            if tag not in allowed:
                unknown = unknown or str(current.name)
            kind = tag & 7
            if kind == VARINT:
                _, place = _varint(content, place)
            elif kind in FIXED_BYTES:
                place += FIXED_BYTES[kind]
            elif kind == DELIMITED:
                size, place = _varint(content, place)
                if size > end - place:
                    raise damaged
                inner = allowed.get(tag)
                if inner is None:
                    place += size
                    continue
                open_messages.append((place + size, inner))
                if inner.full_name not in known:
                    known[inner.full_name] = _known(inner)
                if len(open_messages) > MAX_DEPTH:
                    raise damaged
            else:  # a group, which this version of protobuf no longer has
                raise damaged
    except IndexError:
        raise damaged from None
    return unknown


class FieldRange(NamedTuple):
    """The range of a message's field in a file."""

    number: int
    start: int  # of its tag
    content: int  # after tag and length
    end: int


def delimited_fields(content: bytes, span: FieldRange) -> Iterator[FieldRange]:
    """Yield the fields with a length in the message within a span: messages, strings, packed numbers.

    Args:
        content: bytes already checked by `first_unknown`.
        span: of the message.
    """
    place = span.content
    while place < span.end:
        start = place
        tag, place = _varint(content, place)
        kind = tag & 7
        if kind == DELIMITED:
            size, place = _varint(content, place)
            yield FieldRange(tag >> 3, start, place, place + size)
            place += size
        elif kind == VARINT:
            _, place = _varint(content, place)
        else:
            place += FIXED_BYTES[kind]


def _known(message_type: Any) -> _KnownTags:
    """Return the allowed tags of a type of message."""
    found: _KnownTags = {number << 3 | DELIMITED: None for number in RETIRED.get(message_type.full_name, ())}
    for field in message_type.fields:
        kind = WRITTEN.get(field.type, VARINT)
        found[field.number << 3 | kind] = field.message_type
        if field.is_repeated and kind != DELIMITED:
            found[field.number << 3 | DELIMITED] = None  # all values of a field at once
    return found


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """Return a number of up to ten bytes with seven bits each, least significant first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise IndexError("a number of more than ten bytes")
