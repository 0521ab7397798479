"""How the executor's work is shared among the machine's processors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

MAX_WORKERS = 16  # bounds memory on large machines
LARGE_IMAGE_BYTES = 2**21  # activations of an image that are worth several workers

_helpers = threading.local()
_all_processors = threading.Lock()  # the number of BLAS threads belongs to the process: one batch at a time changes it
_blas: Any = None


def helpers() -> Executor | None:
    """What shares the work of this thread, within `helped`."""
    return getattr(_helpers, "pool", None)


@contextlib.contextmanager
def helped(processors: int) -> Iterator[None]:
    """Within this, the blocks of this thread's operations are shared among so many processors."""
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
    """Keep each matrix product on its caller's processor; yields False where that cannot be arranged.

    Workers that each compute whole chunks beat one worker with a threaded BLAS by 1.6: everything between the
    products is then parallel too, and each chunk stays in its processor's cache.
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
