"""Damage of every kind: to the fields of the protobuf message, to the headers of the weights, to the bytes themselves.

A change to random bytes seldom survives the parser; so most changes are made to the parsed message, and leave one that
parses and says something else.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from conversion.runtime import schema
from tests.conversion.fuzz.sample import Sample

EXTREMES = [0, 1, 2, 3, 7, 8, 9, 64, 100, 255, 2**10, 2**12, 2**16, 2**20, 2**25, 2**30, 2**31 - 1, 2**31, 2**32 - 1]
EXTREMES += [2**40, 2**62, 2**63 - 1, 2**64 - 1]
WHOLE = [*EXTREMES, *(-value for value in EXTREMES[1:])]
NUMBERS = [*WHOLE, 0.5, 1e-30, 1e30, float("inf"), -float("inf"), float("nan")]
TEXTS = ["", "image", "output", "main", "nowhere", "a\nb", "\0", "x" * 5000, "../../outside", "/etc/passwd"]
TEXTS += ["@model_path/weights/weight.bin", "@model_path/../../../outside", "same", "valid", "CoreML7"]
WORDS = [
    b"..",
    b"/",
    b"\\\\",
    b"\\u0000",
    b"null",
    b"[]",
    b"{}",
    b"-1",
    b'"',
    b",",
    b"1e999",
    b"Manifest.json",
    b"\xff",
]
MAX_BYTES = 2**17  # of a sample: beyond it, nothing is added any more
MAX_LONG = 2000  # values that a repeated number is made long by

Field = tuple[Any, Any]  # a message and the descriptor of a field in it


def mutated(sample: Sample, other: Sample, random: Random) -> Sample:
    """A sample with one to five changes; messages may be taken from another sample."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        choice = random.random()
        if choice < 0.8:
            sample = replace(sample, model=_model(sample.model, other.model, random))
        elif choice < 0.86 or sample.manifest is None:
            sample = replace(sample, model=_bytes(sample.model, random))
        elif choice < 0.97:
            sample = replace(sample, weights=_weights(sample.weights, random))
        else:
            sample = replace(sample, manifest=_text(sample.manifest, random))
    return sample


def _model(content: bytes, other: bytes, random: Random) -> bytes:
    """Change one field of the message, if there still is one."""
    from google.protobuf.message import DecodeError

    message = schema.model_class()()
    donor = schema.model_class()()
    try:
        message.ParseFromString(content)
        donor.ParseFromString(other)
        _change(random.choice(_fields(message)), _fields(donor if random.random() < 0.3 else message), random)
        changed = bytes(message.SerializeToString())
    except (DecodeError, IndexError, ValueError):  # ValueError: beyond protobuf's own depth
        return _bytes(content, random)
    return changed if len(changed) < MAX_BYTES else content


def _fields(message: Any) -> list[Field]:
    """Every field of a message that is set, and every one in the messages inside it."""
    found: list[Field] = []
    for field, value in message.ListFields():
        found.append((message, field))
        if field.message_type is None:
            continue
        children: Any = value if field.is_repeated else [value]
        if field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"].message_type
            children = [value[key] for key in sorted(value)] if inner is not None else []
        for child in children:
            found += _fields(child)
    return found


def _change(place: Field, pool: Sequence[Field], random: Random) -> None:
    """Change one field: its value, its length, its kind, or what stands beside it."""
    message, field = place
    value = getattr(message, field.name)
    if random.random() < 0.05:
        message.ClearField(field.name)
    elif random.random() < 0.05:  # a field that is not set: another kind of layer, or a parameter more
        other = random.choice(list(message.DESCRIPTOR.fields))
        if other.message_type is not None and not other.is_repeated:
            getattr(message, other.name).SetInParent()
        elif other.message_type is None:
            _set(message, other, pool, random)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        key = random.choice(sorted(value))
        if field.message_type.fields_by_name["value"].message_type is not None and random.random() < 0.7:
            value[random.choice((key, random.choice(TEXTS[1:5])))].CopyFrom(value[random.choice(sorted(value))])
        else:
            value.pop(key)
    elif field.message_type is None:
        _set(message, field, pool, random)
    elif field.is_repeated:
        _rearrange(value, random)
    else:
        same = [m for m, f in pool if m.DESCRIPTOR is value.DESCRIPTOR and m is not value]
        if same:
            copy = type(value)()
            copy.CopyFrom(random.choice(same))
            value.CopyFrom(copy)
        else:
            value.Clear()


def _rearrange(values: Any, random: Random) -> None:
    """Remove, double or exchange messages of a list."""
    index = random.randrange(len(values))
    choice = random.random()
    if choice < 0.3:
        del values[index]
    elif choice < 0.6:
        copy = type(values[0])()
        copy.CopyFrom(values[index])
        values.append(copy)
    else:
        first, second = (type(values[0])() for _ in range(2))
        first.CopyFrom(values[index])
        there = random.randrange(len(values))
        second.CopyFrom(values[there])
        values[index].CopyFrom(second)
        values[there].CopyFrom(first)


def _set(message: Any, field: Any, pool: Sequence[Field], random: Random) -> None:
    """Give a field of numbers, texts or bytes another value."""
    if not field.is_repeated:
        _try(lambda value: setattr(message, field.name, value), _value(message, field, pool, random))
        return
    values = getattr(message, field.name)
    choice = random.random()
    if values and choice < 0.6:
        place = random.randrange(len(values))
        _try(lambda value: values.__setitem__(place, value), _value(message, field, pool, random))
    elif values and choice < 0.75:
        del values[random.randrange(len(values)) :]
    elif choice < 0.95:
        _try(values.append, _value(message, field, pool, random))
    else:
        _try(lambda value: values.extend([value] * random.randrange(MAX_LONG)), _value(message, field, pool, random))


def _value(message: Any, field: Any, pool: Sequence[Field], random: Random) -> Any:
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING and field.type == field.TYPE_BYTES:
        return _bytes(bytes(getattr(message, field.name)) if not field.is_repeated else b"", random)
    if kind == field.CPPTYPE_STRING:
        near = [m for m, f in pool if f.name == "name" and isinstance(getattr(m, "name", None), str)]
        return random.choice(near).name if near and random.random() < 0.7 else random.choice(TEXTS)
    if kind == field.CPPTYPE_BOOL:
        return random.random() < 0.5
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return random.choice(NUMBERS)
    if kind == field.CPPTYPE_ENUM:
        return random.choice([*field.enum_type.values_by_number, 99])
    return random.choice(EXTREMES[:12] if random.random() < 0.6 else WHOLE)


def _try(set_value: Any, value: Any) -> None:
    try:
        set_value(value)
    except (ValueError, OverflowError, TypeError):  # more than the field can hold
        return


def _bytes(content: bytes, random: Random) -> bytes:
    """Cut, flip, repeat or overwrite."""
    damaged, choice = bytearray(content), random.random()
    if not damaged or choice < 0.1:
        return random.randbytes(random.randrange(300))
    place = random.randrange(len(damaged))
    if choice < 0.3:
        del damaged[place:]
    elif choice < 0.5:
        del damaged[place : place + random.choice((1, 2, 4, 64))]
    elif choice < 0.6 and len(damaged) < MAX_BYTES:
        damaged[place:place] = damaged[place : place + random.randrange(1, 2000)]
    elif choice < 0.7:
        damaged[place : place + 4] = b"\xff\xff\xff\xff"
    else:
        for _ in range(random.choice((1, 2, 8))):
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def _weights(content: bytes, random: Random) -> bytes:
    """Another number in one of the headers, which begin at multiples of 64 bytes; or other bytes."""
    if random.random() < 0.3 or len(content) < 128:
        return _bytes(content, random)
    damaged = bytearray(content)
    headers = [at for at in range(64, len(content) - 63, 64) if content[at : at + 4] == b"\xef\xbe\xad\xde"] or [64]
    at = random.choice([0, *headers])
    number = random.choice([value for value in EXTREMES if value < 2**64] + [len(content), *headers])
    if random.random() < 0.4:
        struct.pack_into("<I", damaged, at + random.choice((0, 4)), number % 2**32)
    else:
        struct.pack_into("<Q", damaged, at + random.choice((8, 16, 24)), number)
    return bytes(damaged)


def _text(content: bytes, random: Random) -> bytes:
    """Other words in the manifest."""
    if random.random() < 0.3:
        return _bytes(content, random)
    parts = content.split(b'"')
    place = random.randrange(len(parts))
    parts[place] = random.choice(WORDS) + (parts[place] if random.random() < 0.5 else b"")
    return b'"'.join(parts)
