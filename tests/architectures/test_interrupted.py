"""A Ctrl-C still ends a command where Python ignores exceptions, or where a library makes another error of it."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest

from architectures import interrupts
from architectures.command import INTERRUPTED, Parser, run
from architectures.errors import ProjectError
from architectures.interrupts import raise_if_interrupted
from architectures.plugins import guarded_import
from experiments.tracking.guard import store_errors
from search.study.storage import storage_errors


def test_an_interrupt_in_a_callback_is_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    def strike(_: object) -> None:
        raise KeyboardInterrupt

    def body(_: argparse.Namespace) -> int:
        referred = Parser("a", "b")
        reference = weakref.ref(referred, strike)
        del referred
        assert reference() is None
        time.sleep(1)
        return 0

    before = sys.unraisablehook
    assert run(Parser("test", "A test."), body, []) == INTERRUPTED
    assert sys.unraisablehook is before
    assert capsys.readouterr().err == "interrupted\n"


def strike() -> None:
    """Press Ctrl-C in a library that turns all exceptions into its own, as pydantic does during an import."""
    struck = False
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        struck = True
    assert struck
    raise ValueError("Error building validator")


def test_an_interrupt_that_a_library_turns_into_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def body(_: argparse.Namespace) -> int:
        strike()
        return 0

    assert run(Parser("test", "A test."), body, []) == INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@contextmanager
def plugin_import() -> Iterator[None]:
    guarded_import("a_plugin", strike)
    yield


@pytest.mark.parametrize(
    "guard", [partial(store_errors, "sqlite:///a.db"), partial(storage_errors, "sqlite:///a.db"), plugin_import]
)
def test_what_stands_between_sees_an_interrupt(guard: Callable[[], AbstractContextManager[None]]) -> None:
    def body(_: argparse.Namespace) -> int:
        with pytest.raises(KeyboardInterrupt), guard():
            strike()
        return 0

    assert run(Parser("test", "A test."), body, []) == 0


@pytest.mark.parametrize("cause", [None, OSError("the reason")])
def test_an_error_during_the_handling_of_an_interrupt_is_shown(
    cause: OSError | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(_: argparse.Namespace) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ProjectError("The trial could not be requeued.") from cause
        return 0

    assert run(Parser("test", "A test."), body, []) == 1
    assert capsys.readouterr().err == "error: The trial could not be requeued.\n"


def test_an_error_long_after_an_interrupt_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupts, "CONVERTED_WITHIN", 0.0)

    def body(_: argparse.Namespace) -> int:
        strike()
        return 0

    assert run(Parser("test", "A test."), body, []) == 1
    assert capsys.readouterr().err == "error: ValueError: Error building validator (--debug shows where)\n"


def test_other_threads_and_circles_of_causes() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    def body(_: argparse.Namespace) -> int:
        with pytest.raises(ValueError, match="validator"):
            strike()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(raise_if_interrupted, first).result() is None
        with pytest.raises(KeyboardInterrupt):
            raise_if_interrupted(first)
        return 0

    assert run(Parser("test", "A test."), body, []) == 0
