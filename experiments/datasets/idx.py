"""`idx:DIR`: MNIST's file format, as many data sets come in, Debian's dataset-fashion-mnist for instance.

A folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same two with `t10k`; each may be gzipped.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.errors import ProjectError, UsageError
from experiments.datasets.registry import Dataset, register_source
from experiments.datasets.source import Source
from experiments.datasets.splits import numbered

if TYPE_CHECKING:
    import numpy as np

UNSIGNED_BYTE = 8  # the code of the type, the third byte of a file
MAX_INFLATION = 1032  # times that deflate can shrink data at most: zlib's documentation


@register_source("idx", takes="DIR")
def idx(source: Source) -> Dataset:
    """Images (N, height, width) or (N, height, width, channels) and labels; a twelfth of train becomes val.

    Raises:
        UsageError: for a folder or file that is not there.
        ProjectError: for a file that is damaged, or data that fit no classifier.
    """
    if not source.path.is_dir():
        raise UsageError(f"There is no folder {source.path}.")
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = (_find(source.path, f"{prefix}-{kind}") for kind in ("images", "labels"))
        parts[part] = read(images, dimensions=(3, 4)), read(labels, dimensions=(1,)).astype("int64")
        if len(parts[part][0]) != len(parts[part][1]):
            raise ProjectError(
                f"{images} holds {len(parts[part][0])} images and {labels.name} {len(parts[part][1])} labels."
            )
        if parts[part][0].ndim == 4 and parts[part][0].shape[3] not in (1, 3):
            raise ProjectError(f"{images} holds images of {parts[part][0].shape[3]} components, not 1 or 3.")
    return numbered(source.title, parts)


def _find(folder: Path, stem: str) -> Path:
    """The file of one kind, under any of the spellings in use."""
    pattern = re.compile(rf"{stem}[-.]idx\d-ubyte(\.gz)?")
    found = sorted(file for file in folder.iterdir() if pattern.fullmatch(file.name))
    if not found:
        raise UsageError(f"{folder} holds no {stem}-idx…-ubyte or {stem}-idx…-ubyte.gz, as MNIST's files are named.")
    return found[0]  # the plain one where both are there


def read(file: Path, *, dimensions: tuple[int, ...]) -> np.ndarray:
    """An IDX file of unsigned bytes as an array, gzipped or not.

    Raises:
        ProjectError: for a file that is damaged or holds something else.
    """
    import numpy as np

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
            content = opened.read(promised)
            more = opened.read(1)  # to its end, where gzip's checksum is looked at
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise ProjectError(f"{file} is damaged or not an IDX file: {error or type(error).__name__}.") from error
    if len(content) != promised or more:
        held = "more" if more else f"{len(content):,}"
        raise ProjectError(f"{file} is damaged: it promises {promised:,} bytes and holds {held}.")
    return np.frombuffer(content, np.uint8).reshape(shape)
