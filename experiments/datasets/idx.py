"""`idx:DIR`: MNIST's file format, which many data sets use, such as Debian's dataset-fashion-mnist.

A folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same two with `t10k`; each may be gzipped.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from architectures.errors import ProjectError, UsageError
from experiments.datasets import cache
from experiments.datasets.parts import Pixels, StoredSplit
from experiments.datasets.registry import Dataset, register_source
from experiments.datasets.source import Source
from experiments.datasets.splits import numbered

if TYPE_CHECKING:
    import numpy as np

UNSIGNED_BYTE = 8  # type code in the third byte of a file
MAX_INFLATION = 1032  # the highest compression ratio of deflate, by zlib's documentation


@register_source("idx", takes="DIR")
def idx(source: Source) -> Dataset:
    """Load images (N, height, width) or (N, height, width, channels) and labels; a twelfth of train becomes val.

    Raises:
        UsageError: for a missing folder or file.
        ProjectError: for a damaged file, or data that cannot train a classifier.
    """
    if not source.path.is_dir():
        raise UsageError(f"There is no folder {source.path}.")
    files = {
        part: [_find(source.path, f"{prefix}-{kind}") for kind in ("images", "labels")]
        for part, prefix in (("train", "train"), ("test", "t10k"))
    }
    place = cache.folder_of(source, [file for pair in files.values() for file in pair])
    if known := cache.open_cached(place):
        return known
    parts = {}
    for part, (image_file, label_file) in files.items():
        images, labels = pixels(image_file), read(label_file, dimensions=(1,)).astype("int64")
        if images.shape[0] != len(labels):
            raise ProjectError(
                f"{image_file} holds {images.shape[0]} images and {label_file.name} {len(labels)} labels."
            )
        if 0 in images.shape[1:]:
            raise ProjectError(f"{image_file} holds images of {'x'.join(map(str, images.shape[1:]))} pixels.")
        if images.shape[3:] not in ((), (1,), (3,)):
            raise ProjectError(f"{image_file} holds images of {images.shape[3]} components, not 1 or 3.")
        parts[part] = StoredSplit(images, labels)
    return numbered(source.title, parts, place)


def _find(folder: Path, stem: str) -> Path:
    """Return the file of one kind, under any of the usual spellings."""
    pattern = re.compile(rf"{stem}[-.]idx\d-ubyte(\.gz)?")
    found = sorted(file for file in folder.iterdir() if pattern.fullmatch(file.name))
    if not found:
        raise UsageError(f"{folder} holds no {stem}-idx…-ubyte or {stem}-idx…-ubyte.gz, as MNIST's files are named.")
    return found[0]  # the plain one if both exist


def read(file: Path, *, dimensions: tuple[int, ...]) -> np.ndarray:
    """Read an IDX file of unsigned bytes into an array, gzipped or not.

    Raises:
        ProjectError: if the file is damaged or of another kind.
    """
    import numpy as np

    with _opened(file, dimensions) as (shape, opened):
        content = opened.read(math.prod(shape))
        _check_end(file, opened, math.prod(shape), len(content))
    return np.frombuffer(content, np.uint8).reshape(shape)


def pixels(file: Path) -> Pixels:
    """Return the images of an IDX file, read block by block on demand, gzipped or not.

    Raises:
        ProjectError: if the file is damaged or of another kind; for a gzipped one, damage after the header is only
            found when the images are read.
    """
    import numpy as np

    with _opened(file, (3, 4)) as (shape, _):
        pass
    image = math.prod(shape[1:])

    def blocks() -> Iterator[np.ndarray]:
        with _opened(file, (3, 4)) as (shape, opened):
            some = max(1, cache.BLOCK_BYTES // max(1, image))
            for first in range(0, shape[0], some):
                wanted = min(some, shape[0] - first) * image
                content = opened.read(wanted)
                if len(content) != wanted:
                    _check_end(file, opened, math.prod(shape), first * image + len(content))
                yield np.frombuffer(content, np.uint8).reshape(-1, *shape[1:])
            _check_end(file, opened, math.prod(shape), math.prod(shape))

    return Pixels(shape, blocks)


@contextmanager
def _opened(file: Path, dimensions: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], gzip.GzipFile | IO[bytes]]]:
    """Open an IDX file, positioned after its header; return it with the shape from the header."""
    try:
        with file.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file) if zipped else file.open("rb") as opened:
            zeros, kind, number = struct.unpack(">HBB", opened.read(4))
            if zeros or kind != UNSIGNED_BYTE or number not in dimensions:
                expected = " or ".join(map(str, dimensions))
                raise ProjectError(f"{file} is not an IDX file of unsigned bytes in {expected} dimensions.")
            shape = struct.unpack(f">{number}I", opened.read(4 * number))
            promised = math.prod(shape)
            if promised > file.stat().st_size * (MAX_INFLATION if zipped else 1):
                raise ProjectError(f"{file} is damaged: it is too short for the {promised:,} bytes it promises.")
            yield shape, opened
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise ProjectError(f"{file} is damaged or not an IDX file: {error or type(error).__name__}.") from error


def _check_end(file: Path, opened: gzip.GzipFile | IO[bytes], promised: int, read: int) -> None:
    """Raise ProjectError unless a file ends where its header says; reading to the end verifies gzip's checksum."""
    more = opened.read(1)
    if read != promised or more:
        held = "more" if more else f"{read:,}"
        raise ProjectError(f"{file} is damaged: it promises {promised:,} bytes and holds {held}.")
