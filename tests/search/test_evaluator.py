"""Models are evaluated once: those that are kept when no further trial is to start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from benchmarks.no_training import NoTraining
from experiments.config import EpochMetrics
from experiments.evaluation.metrics import EVALUATED
from search.config import SweepConfig
from search.engines.messages import Job
from search.orchestrate import sweep
from search.trials import evaluator

TRIALS = 4


class Rising(NoTraining):
    """Each trial is better than the one before, with a file of the same size."""

    def _metrics(self, job: Job, epoch: int) -> EpochMetrics:
        return replace(super()._metrics(job, epoch), val_accuracy=0.5 + 0.1 * job.number)


class Deleting(NoTraining):
    """Somebody deletes the run of the best trial, the first one, while the last one trains."""

    def submit(self, job: Job) -> None:
        if job.number == TRIALS - 1:
            (run,) = (run for run in runs() if run.data.tags["trial_number"] == "0")
            client().delete_run(run.info.run_id)
        super().submit(job)

    def _metrics(self, job: Job, epoch: int) -> EpochMetrics:
        return replace(super()._metrics(job, epoch), val_accuracy=0.9 - 0.1 * job.number)


def client() -> MlflowClient:
    return MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")


def runs() -> list[Run]:
    """Those of the trials that have ended."""
    experiment = client().get_experiment_by_name("digits").experiment_id
    found = client().search_runs([experiment], "metrics.best_val_accuracy > 0")
    return [run for run in found if run.data.tags.get("sweep") != "parent"]


def config(name: str) -> SweepConfig:
    options = {"trials": TRIALS, "epochs": 2, "pruner": "none", "filters": (4,), "keep": 1, "figures": False}
    return SweepConfig("sqlite:///mlflow.db", name, dataset="digits", **options)


def test_a_model_that_a_later_trial_supersedes_is_not_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    evaluated: list[str] = []
    write = evaluator.write_evaluation
    monkeypatch.setattr(
        evaluator,
        "write_evaluation",
        lambda tracker, run_id, *data, **options: evaluated.append(run_id) or write(tracker, run_id, *data, **options),
    )
    result = sweep(config("rising"), engine=lambda setup: Rising())
    assert result.counts["complete"] == TRIALS
    accuracies = {run.info.run_id: run.data.metrics["best_val_accuracy"] for run in runs()}
    best = max(accuracies, key=accuracies.__getitem__)
    assert evaluated == [best]
    assert [run.info.run_id for run in runs() if EVALUATED in run.data.metrics] == [best]


def test_a_run_that_is_deleted_before_its_model_is_evaluated_ends_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = sweep(config("deleted"), engine=lambda setup: Deleting())
    assert result.counts["complete"] == TRIALS
    assert len(runs()) == TRIALS - 1
