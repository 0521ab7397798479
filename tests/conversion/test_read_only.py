"""A store and a folder that may only be read can be looked at; what would write says at once that it cannot."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.commands import Outcome, environment
from tests.support.read_only import read_only
from tests.support.stores import Promoted, Swept
from tests.support.warm import Program

pytestmark = pytest.mark.slow


def run(folder: Path, module: str, *arguments: object) -> Outcome:
    program = Program("tests.support.read_only", module, *arguments, cwd=folder)
    out, err = program.communicate(300)
    return Outcome(program.wait(), out, err)


def test_a_read_only_store_can_be_looked_at(promoted: Promoted, swept: Swept, own_promoted: Path) -> None:
    runs = [row["run_id"] for row in swept.result["leaderboard"][:2]]
    with read_only(own_promoted):
        for module, *arguments in (
            ("experiments.leaderboard",),
            ("experiments.leaderboard", "--model", "mnist5k-classifier"),
            ("experiments.compare", *runs),
            ("experiments.prune", "--dry-run"),
        ):
            found = run(own_promoted, module, *arguments, "--json")
            assert (found.code, found.err) == (0, ""), (module, arguments)
            assert json.loads(found.out)
        assert runs[0] in run(own_promoted, "experiments.compare", *runs, "--json").out
        for module in ("experiments.prune", "conversion.rollback", "conversion.promote"):
            found = run(own_promoted, module)
            assert found.code == 1
            assert "is not writable" in found.error


def test_a_promoted_file_that_is_read_only_answers(own_promoted: Path) -> None:
    with read_only(own_promoted) as prefix:
        command = [*prefix, sys.executable, "-m", "conversion.draw", "--port", "0", "--json"]
        process = subprocess.Popen(command, cwd=own_promoted, env=environment(), stdout=subprocess.PIPE, text=True)
        assert process.stdout
        try:
            address = json.loads(process.stdout.readline())["address"]
            with urllib.request.urlopen(address) as answer:
                assert b"<html" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            process.stdout.close()
