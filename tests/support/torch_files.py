"""Files as PyTorch wrote them before version 1.6, made without PyTorch; and what is wrong with some."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
FACTS = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _ints(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor(key: str, array: np.ndarray, *, count: int | None = None, strides: tuple[int, ...] | None = None) -> bytes:
    """The opcodes that make a tensor of a storage of its own, which may say another size than it has."""
    steps = tuple(step // array.itemsize for step in array.strides) if strides is None else strides
    storage = b"(" + _text("storage") + b"ctorch\n" + STORAGES[str(array.dtype)].encode() + b"\n" + _text(key)
    storage += _text("cpu") + b"J" + struct.pack("<i", array.size if count is None else count) + b"NtQ"
    values = storage + b"K\x00" + _ints(array.shape) + _ints(steps) + b"\x89" + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + b"(" + values + b"tR"


def state(items: Mapping[str, bytes]) -> bytes:
    """The pickle of a state dictionary with these items, and the versions of layers that PyTorch gives it."""
    made = b"\x80\x02ccollections\nOrderedDict\n)R("
    made += b"".join(_text(name) + item for name, item in items.items())
    versions = pickle.dumps({"_metadata": OrderedDict({"": {"version": 1}})}, 2)
    return made + b"u" + versions[2:-1] + b"b."


def torch_file(arrays: Mapping[str, np.ndarray], *, pickled: bytes | None = None) -> bytes:
    """A whole file of these arrays; with another pickle in place of theirs where one is given."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    keys = {name: str(number) for number, name in enumerate(arrays)}
    made = b"".join(pickle.dumps(each, 2) for each in (MAGIC, VERSION, FACTS))
    made += state({name: tensor(keys[name], array) for name, array in arrays.items()}) if pickled is None else pickled
    made += pickle.dumps(sorted(keys.values()), 2)
    for name in sorted(arrays, key=keys.__getitem__):
        array = arrays[name]
        in_memory = array.transpose(np.argsort(array.strides)[::-1])
        made += struct.pack("<q", array.size) + in_memory.tobytes()
    return made


def write_torch_file(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    path.write_bytes(torch_file(arrays))
    return path
