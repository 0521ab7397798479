"""The precision in which the executor stores and sums: float32, or float16 like the Neural Engine.

`halved` sets it for one thread; a network has to be loaded and executed inside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from conversion.runtime.interface import Array

_mode: ContextVar[tuple[bool, bool]] = ContextVar("mode", default=(False, False))  # stored, summed in float16


@contextlib.contextmanager
def halved(*, sums: bool = False) -> Iterator[None]:
    """Inside this context, round weights to float16 when they are read; with `sums`, also sum products in float16."""
    token = _mode.set((True, sums))
    try:
        yield
    finally:
        _mode.reset(token)


def round_to_half(x: Any) -> Array:
    """Round to float16, and return float32; values beyond its range become infinite.

    >>> float(round_to_half(0.1))
    0.0999755859375
    """
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float32).astype(np.float16).astype(np.float32)


def stored(weights: Any) -> Any:
    """Return weights as they are stored."""
    return round_to_half(weights) if _mode.get()[0] and weights.dtype == np.float32 else weights


def sums_in_half() -> bool:
    return _mode.get()[1]


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """Multiply matrices in the last two axes; float16 sums are computed one term after the other."""
    if not sums_in_half():
        return np.matmul(a, b, out=out)
    total = np.zeros(np.broadcast_shapes((*a.shape[:-2], 1, 1), (*b.shape[:-2], a.shape[-2], b.shape[-1])), np.float16)
    a, b = a.astype(np.float16), b.astype(np.float16)
    for k in range(a.shape[-1]):
        total += a[..., :, k, None] * b[..., None, k, :]
    return _in_single(total, out)


def taps_summed(windows: Array, taps: Array, out: Array | None = None) -> Array:
    """Sum taps (i, j) of windows (n, rows, i, j, floats) times taps (i, j, floats)."""
    if not sums_in_half():
        return np.einsum("nrijx,ijx->nrx", windows, taps, out=out)
    total = np.zeros((*windows.shape[:2], windows.shape[4]), np.float16)
    taps = taps.astype(np.float16)
    for i in range(taps.shape[0]):
        for j in range(taps.shape[1]):
            total += windows[:, :, i, j].astype(np.float16) * taps[i, j]
    return _in_single(total, out)


def _in_single(total: np.ndarray, out: Array | None) -> Array:
    """Return float16 sums as float32, in `out` if given."""
    if out is None:
        return total.astype(np.float32)
    out[...] = total
    return out
