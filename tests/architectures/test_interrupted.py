"""A Ctrl-C that strikes where Python ignores exceptions still ends a command."""

from __future__ import annotations

import argparse
import sys
import time
import weakref

import pytest

from architectures.command import INTERRUPTED, Parser, run


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
