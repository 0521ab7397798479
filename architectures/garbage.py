"""Keep the garbage collector from scanning long-lived objects: imported libraries alone have over a million."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_frozen = False  # whether `freeze` was called; counting frozen objects takes as long as scanning them


def freeze() -> None:
    """Hide all existing objects from the collector permanently, except garbage."""
    global _frozen
    gc.collect()
    gc.freeze()
    _frozen = True


@contextlib.contextmanager
def frozen_objects() -> Iterator[None]:
    """Hide all existing objects from the collector in this block; those hidden by `freeze` stay hidden."""
    if _frozen:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
