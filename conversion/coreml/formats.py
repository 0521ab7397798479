"""The formats and compressions of a Core ML file, and the oldest iOS that reads each."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal, get_args

from architectures.errors import UsageError
from experiments.config import COMPRESSIONS, Compression

Format = Literal["mlmodel", "mlpackage"]
FORMATS: tuple[Format, ...] = get_args(Format)

IOS_OF_SPECIFICATION = MappingProxyType({4: 13, 5: 14, 6: 15, 7: 16, 8: 17, 9: 18})  # oldest iOS by a file's version

# Oldest iOS of a format with a compression, by the files' specification versions; impossible combinations are missing.
MINIMUM_IOS = MappingProxyType(
    {
        **{("mlmodel", compression): 13 for compression in COMPRESSIONS if not compression.startswith("prune")},
        **{("mlpackage", compression): 16 for compression in COMPRESSIONS},
        ("mlpackage", "none"): 15,
        ("mlpackage", "float16"): 15,
    }
)


def check_available(format: Format, compression: Compression) -> None:
    """Raise UsageError if a format has no such compression.

    >>> check_available("mlmodel", "palette4")
    >>> check_available("mlmodel", "prune50")
    Traceback (most recent call last):
    architectures.errors.UsageError: Compression prune50 needs --format mlpackage, for iOS 16 or later: ...
    """
    if compression not in COMPRESSIONS:
        raise UsageError(f"Unknown compression {compression!r}. Known: {', '.join(COMPRESSIONS)}.")
    if (format, compression) not in MINIMUM_IOS:
        raise UsageError(
            f"Compression {compression} needs --format mlpackage, for iOS {MINIMUM_IOS['mlpackage', compression]} or "
            f"later: a {format} stores every zero, so it would not become smaller."
        )
