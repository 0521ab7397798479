"""Keep the garbage collector from scanning objects that stay: imported libraries alone hold over a million."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_frozen = False  # whether `freeze` was called; counting what is frozen takes as long as scanning it


def freeze() -> None:
    """Hide all objects that exist from the collector for good, but those that are garbage already."""
    global _frozen
    gc.collect()
    gc.freeze()
    _frozen = True


@contextlib.contextmanager
def frozen_objects() -> Iterator[None]:
    """Hide all objects that exist from the collector for a while; what `freeze` has hidden stays so."""
    if _frozen:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
