"""Keep the garbage collector from scanning objects that stay: imported libraries alone hold over a million."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_frozen = False  # whether `freeze` was called; counting what is frozen takes as long as scanning it


def freeze() -> None:
    """Hide all existing objects from the collector for good, except those that are garbage already."""
    global _frozen
    gc.collect()
    gc.freeze()
    _frozen = True


@contextlib.contextmanager
def frozen_objects() -> Iterator[None]:
    """Hide all existing objects from the collector for a while; those that `freeze` has hidden stay hidden."""
    if _frozen:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
