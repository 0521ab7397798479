"""What a person sees while trials run: a live table on a terminal, and a line per finished trial anywhere."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sweeps import BENCHMARKS, study_of

from search.config import SweepConfig
from search.orchestrate import sweep

EPOCHS = 4
OPTIONS = {"study": "seen", "tracking_uri": "sqlite:///mlflow.db", "trials": 2, "epochs": EPOCHS, "pruner": "none"}
TITLES = ["trial", "architecture", "filters", "dropout", "batch", "epoch", "val", "acc", "best", "bytes", "s"]
ROW = re.compile(
    rf"(?P<trial>\d) +\w+ +\d+ +0\.\d\d +\d+ +(?P<epoch>[1-9])/{EPOCHS} +\S+ +"
    r"(?P<last>[\d.]+) +(?P<best>[\d.]+) +(?P<bytes>[\d,]+) +\d+"
)


def on_a_terminal(folder: Path) -> str:
    """What a sweep writes to a terminal, without the terminal's own codes."""
    ours, theirs = pty.openpty()
    program = Path(__file__).with_name("untrained.py")
    process = subprocess.Popen(
        [sys.executable, str(program), json.dumps(OPTIONS), "0.5"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "140", "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0, written
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written.decode())


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


def test_without_a_terminal_there_is_a_line_per_trial_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.chdir(tmp_path)
    from no_training import NoTraining

    sweep(SweepConfig(**OPTIONS), engine=lambda _: NoTraining())
    lines = capfd.readouterr().err.splitlines()
    assert [" ".join(line.split()[:2]) for line in lines] == ["trial 0", "trial 1"]
