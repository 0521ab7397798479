"""Ctrl-C and SIGTERM: checked between writes, and obeyed at once during a wait."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_struck = False  # whether there was an interruption since the last check
_pausing = False


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a flag that is checked: they never interrupt a write to a database.

    A second one raises as usual, and so does the first one during a `pause`.
    """
    global _struck
    struck = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        global _struck
        nonlocal struck
        struck = _struck = True
        signal.signal(number, before[number])
        if _pausing:
            raise KeyboardInterrupt

    before: dict[int, Any] = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}

    def asked() -> bool:
        global _struck
        if struck:
            _struck = False
        return struck

    try:
        yield asked
    finally:
        _struck = False
        for number, handler in before.items():
            signal.signal(number, handler)


def pause(seconds: float) -> None:
    """Sleep between attempts to acquire a lock or reach a service.

    Raises:
        KeyboardInterrupt: on Ctrl-C, including one that `interruptible` has noted and that has not been checked since.
    """
    global _pausing
    if threading.current_thread() is not threading.main_thread():  # other threads get no signals
        time.sleep(seconds)
        return
    _pausing = True
    try:
        if _struck:
            raise KeyboardInterrupt
        time.sleep(seconds)
    finally:
        _pausing = False
