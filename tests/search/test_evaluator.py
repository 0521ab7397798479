"""Models are evaluated once: those that are kept when no further trial is to start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

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
    config = SweepConfig(
        "sqlite:///mlflow.db",
        "rising",
        dataset="digits",
        trials=TRIALS,
        epochs=2,
        pruner="none",
        filters=(4,),
        keep=1,
        figures=False,
    )
    result = sweep(config, engine=lambda setup: Rising())
    assert result.counts["complete"] == TRIALS
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id], "metrics.best_val_accuracy > 0")
    runs = [run for run in runs if run.data.tags.get("sweep") != "parent"]
    accuracies = {run.info.run_id: run.data.metrics["best_val_accuracy"] for run in runs}
    best = max(accuracies, key=accuracies.__getitem__)
    assert evaluated == [best]
    assert [run.info.run_id for run in runs if EVALUATED in run.data.metrics] == [best]
