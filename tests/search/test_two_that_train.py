"""Two sweeps that train share a study, and are struck at a random moment: killed, robbed of a worker, stopped."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from search.repair.examination import examine
from tests.search.test_stopped import silence
from tests.support.commands import invoke
from tests.support.servers import AnyProcess, wait_until
from tests.support.sweeps import NO_FIGURES, assert_nothing_lost, start, study_of

pytestmark = pytest.mark.slow

STUDY, TRIALS, EPOCHS = "both", 4, 5
SECONDS = 6.0  # in which the strikes fall: on two quiet cores two sweeps take longer for four trials
STRIKES = ("a sweep is killed", "a worker is killed", "a sweep is stopped past the takeover")


def strike(kind: str, folder: Path, process: AnyProcess) -> None:
    with suppress(psutil.NoSuchProcess):  # it may have ended
        struck = psutil.Process(process.pid)
        if kind == "a worker is killed":
            for worker in struck.children(recursive=True):
                worker.kill()
        elif kind == "a sweep is killed":
            struck.kill()
        else:
            struck.suspend()
            silence(folder)
            time.sleep(3)
            struck.resume()


@pytest.mark.parametrize("seed", range(len(STRIKES)))
def test_struck_at_a_random_moment(seed: int, tmp_path: Path) -> None:
    chosen = random.Random(seed)
    arguments = ["--study", STUDY, "--trials", TRIALS, "--epochs", EPOCHS, "--filters", "4", "--batch-size", "16"]
    arguments += ["--dataset", "digits", "--architecture", "pocket", "--pruner", "none", *NO_FIGURES]
    both = [start(tmp_path, *arguments)]
    try:
        wait_until(lambda: (tmp_path / "optuna.db").exists() and study_of(tmp_path, STUDY).trials, both[0])
        both.append(start(tmp_path, *arguments))
        time.sleep(chosen.uniform(0, SECONDS))
        strike(STRIKES[seed % len(STRIKES)], tmp_path, chosen.choice(both))
        for process in both:
            out, err = process.communicate()
            assert "Traceback" not in out + err
    finally:
        for process in both:
            process.kill()
    continued = invoke("search.sweep", *arguments, cwd=tmp_path)
    assert continued.code == 0, continued.err
    assert_nothing_lost(tmp_path, STUDY, TRIALS, EPOCHS, experiment="digits")
    assert examine(f"sqlite:///{tmp_path / 'optuna.db'}", f"sqlite:///{tmp_path / 'mlflow.db'}") == []
