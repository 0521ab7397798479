"""The weights of an ML Program: blobs in a binary file, each with a header.

The layout is that of `MILBlob/Blob/StorageFormat.hpp` in coremltools' sources.
"""

from __future__ import annotations

import bisect
import struct
from pathlib import Path

from conversion.runtime.limits import MAX_FILE_BYTES, Unsupported

FILE_HEADER = struct.Struct("<II")  # number of blobs, version
BLOB_HEADER = struct.Struct("<IIQQQ")  # sentinel, type, size in bytes, offset of the data, unused bits at its end
HEADER_BYTES = 64  # of both headers, most of it reserved
ALIGNMENT = 64  # of headers and data
VERSION = 2
SENTINEL = 0xDEADBEEF

# The number in the format for each type that a program may declare.
BLOB_TYPES = {
    "FLOAT16": 1,
    "FLOAT32": 2,
    "UINT8": 3,
    "INT8": 4,
    "INT16": 6,
    "UINT16": 7,
    "INT4": 8,
    "UINT1": 9,
    "UINT2": 10,
    "UINT4": 11,
    "UINT3": 12,
    "UINT6": 13,
    "INT32": 14,
    "UINT32": 15,
}


class WeightFile:
    """A file of blobs, which are read one at a time.

    Args:
        path: an existing file.
        most: maximum number of bytes.

    Raises:
        ValueError: if it is not such a file.
    """

    def __init__(self, path: Path, *, most: int = MAX_FILE_BYTES) -> None:
        self._path = path
        try:
            self._size = path.stat().st_size
            if self._size > most:
                raise Unsupported(f"its weights are {self._size:,} bytes; the limit is {most:,}")
            header = self._read(0, HEADER_BYTES)
        except OSError as error:
            raise ValueError(f"the weights cannot be read: {error.strerror}") from error
        self._count, version = FILE_HEADER.unpack_from(header)
        if version != VERSION:
            raise ValueError(f"the weights are stored in version {version}, not {VERSION}")
        self._blobs: dict[int, tuple[int, int]] = {}  # begin and end of the data by the offset of the header
        self._taken: list[tuple[int, int]] = []  # ranges of all headers and data, in order

    def blob(self, offset: int, *, type_name: str, size: int, unused_bits: int) -> bytes:
        """Return the data of a blob.

        Args:
            type_name: type of its values, as declared in the program.
            size: its bytes, from the shape declared in the program.
            unused_bits: at the end of the last byte, for types of less than a byte.

        Raises:
            ValueError: if the file has something else there, or nothing.
            Unsupported: if such blobs are unknown.
        """
        if type_name not in BLOB_TYPES:
            raise Unsupported(f"its weights are of the type {type_name}")
        if offset % ALIGNMENT or offset < HEADER_BYTES:
            raise ValueError(f"its weights should begin at {offset:,}, which is not a multiple of {ALIGNMENT} bytes")
        try:
            sentinel, stored_type, stored_size, start, unused = BLOB_HEADER.unpack_from(
                self._read(offset, HEADER_BYTES)
            )
            if sentinel != SENTINEL:
                raise ValueError(f"no weights are stored at {offset:,}")
            if stored_type != BLOB_TYPES[type_name]:
                raise ValueError(f"its weights are stored as type {stored_type}, not {type_name}")
            if stored_size != size:
                raise ValueError(f"it stores {stored_size:,} bytes of weights where its shape needs {size:,}")
            if unused_bits and unused != unused_bits:  # for other types, early versions left this uninitialised
                raise ValueError(f"its weights leave {unused} bits unused where its shape leaves {unused_bits}")
            if start % ALIGNMENT or start < offset + HEADER_BYTES:
                raise ValueError(f"its weights should begin at {start:,}, which is not a valid offset")
            self._take(offset, start, start + size)
            return self._read(start, size)
        except OSError as error:
            raise ValueError(f"the weights cannot be read: {error.strerror}") from error

    def _take(self, offset: int, start: int, end: int) -> None:
        """Record the range of a blob; two constants may share a blob, but blobs may not overlap."""
        if self._blobs.get(offset) == (start, end):
            return
        for first, last in ((offset, offset + HEADER_BYTES), (start, end)):
            place = bisect.bisect(self._taken, (first, last))
            beside = self._taken[max(0, place - 1) : place + 1]
            if any(first < other_last and other_first < last for other_first, other_last in beside):
                raise ValueError(f"its weights at {offset:,} overlap others")
            self._taken.insert(place, (first, last))
        self._blobs[offset] = (start, end)
        if len(self._blobs) > self._count:
            raise ValueError(f"the file of weights announces {self._count} blobs, and more are used")

    def _read(self, start: int, size: int) -> bytes:
        if start + size > self._size:
            raise ValueError(f"the weights should reach to byte {start + size:,} of a file of {self._size:,}")
        with self._path.open("rb") as file:
            file.seek(start)
            content = file.read(size)
        if len(content) != size:
            raise ValueError(f"the file of weights ends before byte {start + size:,}")
        return content
