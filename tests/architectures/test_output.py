"""What a command does when nobody reads its output any more, as after a pipe to `head`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest

from architectures.command import READER_LEFT, Parser, run
from architectures.errors import ProjectError

PROGRAM = """
import sys
from architectures.command import Parser, console, run
from architectures.errors import ProjectError
from search.trials.progress import TrialProgress

def refuse():
    print("text")
    raise ProjectError("Refused.")

sys.exit(run(Parser("test", "A test."), lambda _: {body} or 0, sys.argv[1:]))
"""


def ended(body: str, *arguments: str, unbuffered: str, broken: str) -> subprocess.CompletedProcess[str]:
    """A command one of whose outputs nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM.format(body=body), *arguments],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, broken: writer},
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("body", ["print('text')", "console().print('text')"])
def test_a_reader_that_has_left_ends_a_command_in_silence(body: str, unbuffered: str) -> None:
    done = ended(body, unbuffered=unbuffered, broken="stdout")
    assert (done.returncode, done.stderr) == (READER_LEFT, "")


def test_a_command_that_fails_says_so_to_who_reads_its_errors() -> None:
    done = ended("refuse()", unbuffered="", broken="stdout")
    assert (done.returncode, done.stderr) == (ProjectError.exit_code, "error: Refused.\n")


def test_a_full_disk_under_the_output_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(body="print('text')")],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "error: No space left on the disk. Free some and try again.\n")


def test_help_that_nobody_reads_ends_in_silence() -> None:
    done = ended("0", "--help", unbuffered="", broken="stdout")
    assert (done.returncode, done.stderr) == (READER_LEFT, "")


def test_a_sweep_goes_on_where_nobody_reads_its_progress() -> None:
    done = ended("TrialProgress(1, 1).say('text') or print('result')", unbuffered="", broken="stderr")
    assert (done.returncode, done.stdout) == (0, "result\n")


def test_a_pipe_that_is_not_the_output_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def body(_: argparse.Namespace) -> int:
        raise BrokenPipeError(32, "Broken pipe", "worker")

    assert run(Parser("test", "A test."), body, []) == 1
    assert capfd.readouterr().err == "error: Broken pipe: worker\n"
