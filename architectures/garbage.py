"""Keeps the garbage collector from objects that are no garbage: those of all imported libraries are over a million."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_frozen = False  # for good; to count what is frozen takes as long as to look through it


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
