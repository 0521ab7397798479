"""What a person sees on a terminal while trials run."""

from __future__ import annotations

import inspect
import json
import os
import pty
import re
import select
from contextlib import suppress
from pathlib import Path

import pytest

from search.trials.progress import TrialProgress
from tests.support import untrained
from tests.support.sweeps import study_of
from tests.support.warm import warm_context

EPOCHS = 4
OPTIONS = {"study": "seen", "tracking_uri": "sqlite:///mlflow.db", "trials": 2, "epochs": EPOCHS, "pruner": "none"}
TITLES = ["trial", "architecture", "filters", "dropout", "batch", "epoch", "val", "acc", "best", "bytes", "s"]
ROW = re.compile(
    rf"(?P<trial>\d) +\w+ +\d+ +0\.\d\d +\d+ +(?P<epoch>[1-9])/{EPOCHS} +\S+ +"
    r"(?P<last>[\d.]+) +(?P<best>[\d.]+) +(?P<bytes>[\d,]+) +\d+"
)


def show(folder: Path, terminal: str) -> None:
    """In a process of its own: sweep without training, with a terminal as stderr."""
    os.chdir(folder)
    os.environ.update(COLUMNS="140", TERM="xterm")
    os.dup2(os.open(terminal, os.O_WRONLY | os.O_NOCTTY), 2)
    untrained.main([json.dumps(OPTIONS), "0.5"])


def on_a_terminal(folder: Path) -> str:
    """What a sweep writes to a terminal, without the terminal's own codes."""
    ours, theirs = pty.openpty()
    process = warm_context().Process(target=show, args=(folder, os.ttyname(theirs)))
    process.start()
    written = b""
    while process.exitcode is None:
        if select.select([ours], [], [], 0.1)[0]:
            written += os.read(ours, 65536)
    os.close(theirs)
    with suppress(OSError):  # how Linux says that the other side is closed
        while chunk := os.read(ours, 65536):
            written += chunk
    os.close(ours)
    assert process.exitcode == 0, written
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.decode())


@pytest.mark.slow
def test_the_live_table_shows_each_running_trials_epoch_accuracy_and_bytes(tmp_path: Path) -> None:
    lines = on_a_terminal(tmp_path).splitlines()
    assert TITLES in [line.split() for line in lines]
    rows = [found for line in lines if (found := ROW.fullmatch(line.strip()))]
    trials = study_of(tmp_path, "seen").trials
    assert {int(row["trial"]) for row in rows} == {0, 1}
    for row in rows:
        trial, epoch = trials[int(row["trial"])], int(row["epoch"])
        course = [value for _, value in sorted(trial.intermediate_values.items())][:epoch]
        shown = [f"{course[-1]:.4f}", f"{max(course):.4f}", f"{trial.user_attrs['coreml_bytes']:,}"]
        assert [row["last"], row["best"], row["bytes"]] == shown


def test_progress_takes_positional_arguments_alone() -> None:
    """Which is what a sweep on a Ray cluster relays."""
    methods = inspect.getmembers(TrialProgress, inspect.isfunction)
    public = {name: inspect.signature(method) for name, method in methods if not name.startswith("_")}
    for name, signature in public.items():
        assert all(one.kind is not one.KEYWORD_ONLY for one in signature.parameters.values()), name
