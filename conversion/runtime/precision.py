"""In which numbers the executor stores and sums: float32, or as the Neural Engine does in float16.

What is asked for holds in one thread, within `halved`; a network is loaded and executed within it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from conversion.runtime.interface import Array

LARGEST_HALF = float(np.finfo(np.float16).max)  # 65,504
_mode: ContextVar[tuple[bool, bool]] = ContextVar("mode", default=(False, False))  # stored, summed in float16


@contextlib.contextmanager
def halved(*, sums: bool = False) -> Iterator[None]:
    """Within this, weights are rounded to float16 as they are read, and with `sums` products are summed in float16."""
    token = _mode.set((True, sums))
    try:
        yield
    finally:
        _mode.reset(token)


def half(x: Any) -> Array:
    """Rounded to float16, as float32; what is beyond its end becomes infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float32).astype(np.float16).astype(np.float32)


def stored(weights: Any) -> Any:
    """Weights as they are stored."""
    return half(weights) if _mode.get()[0] and weights.dtype == np.float32 else weights


def sums_in_half() -> bool:
    return _mode.get()[1]


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """The product of matrices in the last two axes, summed one term after the other where that is in float16."""
    if not sums_in_half():
        return np.matmul(a, b, out=out)
    total = np.zeros(np.broadcast_shapes((*a.shape[:-2], 1, 1), (*b.shape[:-2], a.shape[-2], b.shape[-1])), np.float16)
    a, b = a.astype(np.float16), b.astype(np.float16)
    for k in range(a.shape[-1]):
        total += a[..., :, k, None] * b[..., None, k, :]
    return _in_single(total, out)


def taps_summed(windows: Array, taps: Array, out: Array | None = None) -> Array:
    """Sums over taps (i, j) of windows (n, rows, i, j, floats) times taps (i, j, floats)."""
    if not sums_in_half():
        return np.einsum("nrijx,ijx->nrx", windows, taps, out=out)
    total = np.zeros((*windows.shape[:2], windows.shape[4]), np.float16)
    taps = taps.astype(np.float16)
    for i in range(taps.shape[0]):
        for j in range(taps.shape[1]):
            total += windows[:, :, i, j].astype(np.float16) * taps[i, j]
    return _in_single(total, out)


def _in_single(total: np.ndarray, out: Array | None) -> Array:
    """Sums in float16 as float32, in `out` if there is one."""
    if out is None:
        return total.astype(np.float32)
    out[...] = total
    return out
