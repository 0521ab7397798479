"""A Ctrl-C that Python or a library swallows: it still ends a command as interrupted."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

REINTERRUPT_AFTER = 0.05  # seconds, by when the finaliser has returned

_noticed = False  # whether Ctrl-C was pressed during the current command


@contextlib.contextmanager
def interrupts_noticed() -> Iterator[None]:
    """Notice each Ctrl-C: repeat one that Python swallows in a finaliser or in a weak reference's callback.

    Raises:
        KeyboardInterrupt: also where a library turned it into an error of its own.
    """
    global _noticed
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
        _noticed = False
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = before


def raise_if_interrupted(error: BaseException) -> None:
    """Raise KeyboardInterrupt if an error is what a library made of Ctrl-C.

    Pydantic, for example, which MLflow imports, makes a SchemaError of any exception in the middle of an import.
    An error during the handling of KeyboardInterrupt is left alone.
    """
    if not _noticed:
        return
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return
        seen = seen.__cause__ or seen.__context__
    raise KeyboardInterrupt from error


def _notice(number: int, frame: FrameType | None) -> None:
    global _noticed
    _noticed = True
    signal.default_int_handler(number, frame)
