"""Read weights saved by PyTorch, without PyTorch and without running code from the file.

The format is that of `torch.save` before version 1.6: a magic number, a version and facts about the machine, each as a
pickle; a pickle of the tensors, which refer to storages by name; the names of the storages; then for each storage the
count of its numbers, and the numbers. The newer format, a zip archive, is recognised and refused.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided

from architectures.errors import ProjectError

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
VERSION = 1001
ZIP = b"PK"  # first bytes of the newer format
MAX_CHECKPOINT_BYTES = 2**29  # 134 million float32 weights: EfficientNet-Lite4 has 13
MAX_OPCODES = 200_000  # of a pickle; EfficientNet-Lite0's has 11,000
MAX_VALUES = 2**27  # of all tensors together, which may share their storages
COUNT_BYTES = 8
DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# Allowed opcodes of pickle: they create plain values, call one of the functions below, or name a storage.
OPCODES = frozenset(
    [
        *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST"),
        *("APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("GLOBAL", "REDUCE", "BINPERSID", "BUILD"),
    ]
)
POP = b"0"  # drops the state that BUILD would set on the object below it


class _Fault(Exception):
    """A fault in a file; the message continues after the file name."""


@dataclass(frozen=True)
class _Storage:
    """Numbers of the file, by their name in it."""

    name: str
    dtype: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage; offset and strides count its values."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a state dictionary by name.

    Raises:
        ProjectError: if the file has other contents, is truncated or too large.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            if size > MAX_CHECKPOINT_BYTES:
                raise _Fault(f"its {size:,} bytes are beyond the limit of {MAX_CHECKPOINT_BYTES:,}")
            file.seek(0)
            return _read(io.BytesIO(file.read()))
    except _Fault as fault:
        raise ProjectError(f"{path} is not read: {fault}.") from fault


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    if file.read(len(ZIP)) == ZIP:
        raise _Fault(
            "it is in the format that PyTorch writes since version 1.6; write it again there, by "
            "torch.save(torch.load(FILE), NEW, _use_new_zipfile_serialization=False)"
        )
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise _Fault("it is truncated, or not a PyTorch file")
    if (version := _unpickled(file)) != VERSION:
        raise _Fault(f"its version is {version!r}, not {VERSION}")
    facts, tensors, names = _unpickled(file), _unpickled(file), _unpickled(file)
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise _Fault("its numbers are not little-endian")
    if not isinstance(tensors, dict) or not all(isinstance(each, _Tensor) for each in tensors.values()):
        raise _Fault("it holds no state dictionary, which torch.save(model.state_dict(), FILE) writes")
    storages = {each.storage.name: each.storage for each in tensors.values()}
    if not isinstance(names, list) or set(names) != storages.keys() or len(set(names)) != len(names):
        raise _Fault("its storages are not those of its tensors")
    if sum(math.prod(each.shape) for each in tensors.values()) > MAX_VALUES:
        raise _Fault(f"its tensors have more than {MAX_VALUES:,} values")
    numbers = {name: _numbers(file, storages[name]) for name in names}
    return {str(name): _array(each, numbers[each.storage.name]) for name, each in tensors.items()}


def _unpickled(file: BinaryIO) -> object:
    """Load the next pickle; its opcodes are checked first."""
    start = file.tell()
    builds = []
    try:
        for number, (opcode, argument, position) in enumerate(pickletools.genops(file)):
            if number > MAX_OPCODES or (opcode.name.endswith("PUT") and int(argument) > MAX_OPCODES):  # type: ignore
                raise _Fault(f"it takes more than {MAX_OPCODES:,} steps to read")
            if opcode.name == "GLOBAL":
                _function(*str(argument).split(" ", 1))
            elif opcode.name not in OPCODES:
                raise _Fault(f"it uses {opcode.name} of Python's pickle, which weights do not need")
            elif opcode.name == "BUILD":
                builds.append((position or 0) - start)
        end = file.tell()
        file.seek(start)
        text = bytearray(file.read(end - start))
        for position in builds:  # sets attributes: versions of layers in a state dictionary, which are not used
            text[position : position + 1] = POP
        return _Unpickler(io.BytesIO(text)).load()
    except _Fault:
        raise
    except Exception as error:  # an unpickler raises all kinds of errors
        raise _Fault("it is truncated, or not a PyTorch file") from error


class _Unpickler(pickle.Unpickler):
    """An unpickler for ordered dictionaries, tensors and storages only."""

    def find_class(self, module: str, name: str) -> object:
        return _function(module, name)

    def persistent_load(self, identifier: object) -> _Storage:
        match identifier:
            case ("storage", str(dtype), str(name), _, int(count), None):
                return _Storage(name, dtype, count)
        raise _Fault("it names a storage in an unknown way")


def _function(module: str, name: str) -> object:
    """Return a function that a file may use; the class of a storage is replaced by the type of its numbers."""
    if (module, name) == ("collections", "OrderedDict"):
        return OrderedDict
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        return _rebuilt
    if module == "torch" and name in DTYPES:
        return DTYPES[name]
    raise _Fault(f"it asks for {module}.{name}, which is not run")


def _rebuilt(storage: object, offset: object, shape: object, strides: object, *_: object) -> _Tensor:
    whole = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    if not isinstance(storage, _Storage) or not whole:
        raise _Fault("it holds something other than tensors")
    numbers = (offset, *shape, *strides)  # type: ignore[misc]
    if not all(type(each) is int and each >= 0 for each in numbers):
        raise _Fault("it holds a tensor of no size")
    tensor = _Tensor(storage, offset, shape, strides)  # type: ignore[arg-type]
    if math.prod(tensor.shape):
        last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
        if last >= storage.count:
            raise _Fault("it holds a tensor that is larger than its storage")
    return tensor


def _numbers(file: BinaryIO, storage: _Storage) -> np.ndarray:
    """Read the values of the next storage."""
    dtype = np.dtype(storage.dtype)
    count = int.from_bytes(file.read(COUNT_BYTES), "little")
    if count != storage.count:
        raise _Fault("it is truncated, or not a PyTorch file")
    data = file.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise _Fault("it is truncated")
    return np.frombuffer(data, dtype)


def _array(tensor: _Tensor, numbers: np.ndarray) -> np.ndarray:
    if not math.prod(tensor.shape):
        return np.empty(tensor.shape, numbers.dtype)
    strides = [step * numbers.itemsize for step in tensor.strides]
    return as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False).copy()
