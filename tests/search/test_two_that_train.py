"""Two sweeps that train share a study, and are struck at a random moment: killed, robbed of a worker, stopped."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from search.repair.examination import examine
from tests.support.commands import invoke
from tests.support.servers import AnyProcess, wait_until
from tests.support.stopped_at import silence
from tests.support.sweeps import NO_FIGURES, assert_nothing_lost, start, study_of

pytestmark = pytest.mark.slow

STUDY, TRIALS, EPOCHS = "both", 4, 5
MOST_EPOCHS = 8  # of both sweeps before a strike: there is still much to train
SECONDS = 0.3  # at most, between an epoch and a strike
STRIKES = ("a sweep is killed", "a worker is killed", "a sweep is stopped past the takeover")


def strike(kind: str, folder: Path, process: AnyProcess) -> None:
    struck = psutil.Process(process.pid)
    assert process.poll() is None
    if kind == "a worker is killed":
        workers = struck.children(recursive=True)
        assert workers
        for worker in workers:
            worker.kill()
    elif kind == "a sweep is killed":
        process.kill()
        assert process.wait() == -signal.SIGKILL
    else:
        struck.suspend()
        silence(folder)
        time.sleep(3)
        assert struck.status() == psutil.STATUS_STOPPED
        struck.resume()


@pytest.mark.parametrize("seed", range(len(STRIKES)))
def test_struck_at_a_random_moment(seed: int, tmp_path: Path) -> None:
    chosen = random.Random(seed)
    arguments = ["--study", STUDY, "--trials", TRIALS, "--epochs", EPOCHS, "--filters", "4", "--batch-size", "16"]
    arguments += ["--dataset", "digits", "--architecture", "pocket", "--pruner", "none", *NO_FIGURES]
    both = [start(tmp_path, *arguments)]

    def epochs() -> int:
        return sum(len(trial.intermediate_values) for trial in study_of(tmp_path, STUDY).trials)

    def started() -> bool:
        return all(psutil.Process(process.pid).children() for process in both)

    try:
        wait_until(lambda: (tmp_path / "optuna.db").exists() and study_of(tmp_path, STUDY).trials, both[0])
        both.append(start(tmp_path, *arguments))
        before = chosen.randint(1, MOST_EPOCHS)
        wait_until(lambda: started() and epochs() >= before, *both)
        time.sleep(chosen.uniform(0, SECONDS))
        struck = chosen.choice(both)
        strike(STRIKES[seed], tmp_path, struck)
        for process in both:
            out, err = process.communicate()
            assert "Traceback" not in out + err
            assert process is struck or process.returncode == 0, err
    finally:
        for process in both:
            process.kill()
    continued = invoke("search.sweep", *arguments, cwd=tmp_path)
    assert continued.code == 0, continued.err
    assert_nothing_lost(tmp_path, STUDY, TRIALS, EPOCHS, experiment="digits")
    assert examine(f"sqlite:///{tmp_path / 'optuna.db'}", f"sqlite:///{tmp_path / 'mlflow.db'}") == []
