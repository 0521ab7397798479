"""A Ctrl-C that Python or a library swallows: it still ends a command as interrupted."""

from __future__ import annotations

import _thread
import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

REINTERRUPT_AFTER = 0.05  # seconds, by when the finaliser has returned
CONVERTED_WITHIN = 5.0  # seconds: a library that turns Ctrl-C into an error of its own raises that at once

_noticed_at = -math.inf  # when Ctrl-C was last pressed, on the monotonic clock


@contextlib.contextmanager
def interrupts_noticed() -> Iterator[None]:
    """Notice each Ctrl-C: repeat one that Python swallows in a finaliser or in a weak reference's callback.

    Raises:
        KeyboardInterrupt: also where a library turned it into an error of its own.
    """
    global _noticed_at
    before = sys.unraisablehook

    def again(ignored: sys.UnraisableHookArgs) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            threading.Timer(REINTERRUPT_AFTER, _thread.interrupt_main).start()
        else:
            before(ignored)

    sys.unraisablehook = again
    is_main = threading.current_thread() is threading.main_thread()
    usual = is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, _notice)
    try:
        yield
    except Exception as error:
        raise_if_interrupted(error)
        raise
    finally:
        if usual:
            _noticed_at = -math.inf
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = before


def raise_if_interrupted(error: BaseException) -> None:
    """Raise KeyboardInterrupt if an error is what a library made of Ctrl-C.

    Pydantic, for example, which MLflow imports, makes a SchemaError of any exception in the middle of an import. Errors
    that were raised while KeyboardInterrupt was handled are left alone.
    """
    if threading.current_thread() is not threading.main_thread() or time.monotonic() > _noticed_at + CONVERTED_WITHIN:
        return
    causes, known = [error], set[int]()
    while causes:
        seen = causes.pop()
        if isinstance(seen, KeyboardInterrupt):
            return
        known.add(id(seen))
        causes += [one for one in (seen.__cause__, seen.__context__) if one is not None and id(one) not in known]
    raise KeyboardInterrupt from error


def _notice(number: int, frame: FrameType | None) -> None:
    global _noticed_at
    _noticed_at = time.monotonic()
    signal.default_int_handler(number, frame)
