"""What tests of sweeps share: starting one, looking at what it left, ending its process at a chosen call."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from mlflow import MlflowClient
from optuna.trial import TrialState

TINY = ["--epochs", "2", "--filters", "4", "--batch-size", "64", "--pruner", "none"]


def study_of(folder: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'optuna.db'}")


def children_of(folder: Path, name: str) -> list:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mnist5k")
    found = client.search_runs([experiment.experiment_id], f"tags.study = '{name}' and tags.trial_number != ''")
    return sorted(found, key=lambda run: int(run.data.tags["trial_number"]))


def parents_of(folder: Path, name: str) -> list:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mnist5k")
    return client.search_runs([experiment.experiment_id], f"tags.study = '{name}' and tags.sweep = 'parent'")


def assert_whole(folder: Path, name: str, trials: int, epochs: int) -> None:
    """Exactly the trials asked for, one child run each, one finished parent, every epoch once, the best a candidate."""
    (parent,) = parents_of(folder, name)
    assert parent.info.status == "FINISHED"
    assert "outcome" not in parent.data.tags
    study = study_of(folder, name)
    assert [trial.number for trial in study.trials] == list(range(trials))
    assert all(trial.state.is_finished() for trial in study.trials)
    children = children_of(folder, name)
    assert [int(run.data.tags["trial_number"]) for run in children] == list(range(trials))
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    for trial, run in zip(study.trials, children, strict=True):
        assert trial.state == TrialState.COMPLETE
        assert run.info.status == "FINISHED"
        assert "outcome" not in run.data.tags
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy")]
        assert steps == list(range(1, epochs + 1))
        assert trial.value == run.data.metrics["best_val_accuracy"]
        assert trial.params["architecture"] == run.data.params["architecture"]
        assert list(trial.intermediate_values) == steps


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "search.sweep", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 180) -> None:
    """Poll until the condition holds; fails if the process ends first."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except Exception:  # the databases are still being made
            pass
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_the_middle_of_a_trial(folder: Path, name: str, number: int) -> Callable[[], bool]:
    """A condition: the trial of that number has reported an epoch and is still running."""

    def holds() -> bool:
        trials = study_of(folder, name).trials
        trial = trials[number] if len(trials) > number else None
        return bool(trial and trial.state == TrialState.RUNNING and trial.intermediate_values)

    return holds


KILLED_AT = """
import importlib, os, sys

def main():
    module, _, path = sys.argv[1].partition(":")
    call, when = int(sys.argv[2]), sys.argv[3]
    holder = importlib.import_module(module)
    *owners, name = path.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    real = getattr(holder, name)
    calls = []
    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) < call:
            return real(*arguments, **options)
        if when == "after":
            real(*arguments, **options)
        os._exit(9)
    setattr(holder, name, killed)
    from search import sweep
    sys.exit(sweep.main(sys.argv[4:]))

if __name__ == "__main__":
    main()
"""
