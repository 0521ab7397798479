"""Distribute the executor's work over the machine's processors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

MAX_WORKERS = 16  # limits memory on large machines
LARGE_IMAGE_BYTES = 2**21  # activations of an image that are worth several workers

_helpers = threading.local()
_all_processors = threading.Lock()  # the number of BLAS threads is global, so one batch at a time changes it
_blas: Any = None


def helpers() -> Executor | None:
    """Return the thread pool that shares the work of this thread inside `helped`, if any."""
    return getattr(_helpers, "pool", None)


@contextlib.contextmanager
def helped(processors: int) -> Iterator[None]:
    """Inside this context, share the blocks of this thread's operations among several processors."""
    if processors < 2:
        yield
        return
    with ThreadPoolExecutor(processors) as pool:
        _helpers.pool = pool
        try:
            yield
        finally:
            _helpers.pool = None


@contextlib.contextmanager
def one_blas_thread() -> Iterator[bool]:
    """Keep each matrix product on the processor of its caller; yield False if that is impossible.

    Workers that compute whole chunks are 1.6 times as fast as one worker with a threaded BLAS: everything between the
    products runs in parallel too, and each chunk stays in its processor's cache.
    """
    global _blas
    try:
        from threadpoolctl import ThreadpoolController
    except ModuleNotFoundError:
        yield False
        return
    with _all_processors:
        _blas = _blas or ThreadpoolController().select(user_api="blas")
        with _blas.limit(limits=1):
            yield True
