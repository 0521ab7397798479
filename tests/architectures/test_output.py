"""What a command does when nobody reads its output any more, as after a pipe to `head`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest

from architectures.command import READER_LEFT, Parser, run

PROGRAM = """
import sys
from architectures.command import Parser, console, run
sys.exit(run(Parser("test", "A test."), lambda _: {body} or 0, []))
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("body", ["print('text')", "console().print('text')"])
def test_a_reader_that_has_left_ends_a_command_in_silence(body: str, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (READER_LEFT, "")


def test_a_pipe_that_is_not_the_output_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def body(_: argparse.Namespace) -> int:
        raise BrokenPipeError(32, "Broken pipe", "worker")

    assert run(Parser("test", "A test."), body, []) == 1
    assert capfd.readouterr().err == "error: Broken pipe: worker\n"
