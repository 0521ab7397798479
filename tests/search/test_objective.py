"""What runs are judged by, and unequal classes: balanced accuracy, loss, class weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.class_weight import compute_class_weight

from benchmarks.no_training import NoTraining
from experiments import datasets
from experiments.classifier import as_classifier, forward_function, predict
from experiments.config import EpochMetrics, ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset, Split
from experiments.objective import OBJECTIVES
from experiments.tracking import Tracker
from experiments.training import epoch_graph, loop
from experiments.views.leaderboard import board
from search.config import SweepConfig
from search.engines.messages import Job
from search.orchestrate import SweepResult, sweep
from search.repair.run_diff import final_metrics
from search.study.pruning import Course, cannot_enter_front
from search.study.ranking import Scored, front, ranked
from tests.support.commands import Command
from tests.support.sweeps import children_of, study_of

RARE = 8
CONFIG = RunConfig("malireddi", "digits", filters=8, dropout=0.0, batch_size=64, epochs=5)


@pytest.fixture(scope="module")
def unequal() -> Dataset:
    """Digits with nine of ten training images of one class taken away."""
    whole = datasets.load("digits")
    rare = np.flatnonzero(whole.train.labels == RARE)
    kept = np.setdiff1d(np.arange(len(whole.train)), rare[len(rare) // 10 :])
    return replace(whole, train=Split(whole.train.images[kept], whole.train.labels[kept]))


def trained(config: RunConfig, dataset: Dataset, folder: Path) -> RunResult:
    return loop.train(config, dataset, keras_file=folder / "model.keras", size=ModelSize(1, 1, 1))


def test_the_weights_are_scikit_learns(unequal: Dataset) -> None:
    labels = unequal.train.labels
    expected = compute_class_weight("balanced", classes=np.arange(10), y=labels)
    assert epoch_graph.class_weights(labels, 10) == pytest.approx(expected)


def test_the_weights_reach_the_loss(unequal: Dataset) -> None:
    """One batch of all images: its loss, taken before the step, is Keras' own with these weights."""
    split = unequal.train
    config = replace(CONFIG, batch_size=len(split), class_weight="balanced")
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    classifier = as_classifier(keras.Sequential([keras.Input((28, 28, 1)), *layers]))
    probabilities = predict(forward_function(classifier), split.images)
    loss, _ = epoch_graph.epoch_function(classifier, config, split)(np.arange(len(split)), 1)
    losses = keras.losses.sparse_categorical_crossentropy(split.labels, probabilities).numpy()
    weights = compute_class_weight("balanced", classes=np.arange(10), y=split.labels)
    assert float(loss) == pytest.approx((losses * weights[split.labels]).mean(), rel=1e-4)
    assert float(loss) != pytest.approx(losses.mean(), rel=1e-3)


@pytest.mark.slow
def test_a_small_class_is_learned_with_weights_alone(unequal: Dataset, tmp_path: Path) -> None:
    found = {kind: trained(replace(CONFIG, class_weight=kind), unequal, tmp_path) for kind in ("none", "balanced")}
    labels = unequal.val.labels
    of_the_rare = {
        kind: (result.val_probabilities.argmax(axis=1)[labels == RARE] == RARE).mean() for kind, result in found.items()
    }
    assert of_the_rare["balanced"] > of_the_rare["none"]
    for result in found.values():
        answers = result.val_probabilities.argmax(axis=1)
        assert result.best_val_balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, answers))


def test_the_kept_epoch_is_the_best_by_the_objective(unequal: Dataset, tmp_path: Path) -> None:
    """At this rate accuracy and loss go up and down, each in its own epochs."""
    config = replace(CONFIG, filters=4, schedule="constant", learning_rate=0.1, objective="val_loss")
    result = trained(config, unequal, tmp_path)
    best = min(result.epochs, key=lambda one: one.val_loss)
    assert (result.best_epoch, result.best_val_loss) == (best.epoch, best.val_loss)
    assert result.best_val_accuracy == best.val_accuracy


def test_epochs_are_ordered_by_the_objective_and_then_by_another() -> None:
    # loss, accuracy and balanced accuracy disagree
    low_loss = EpochMetrics(1, 1.0, 0.5, 0.2, 0.8, 1.0, 0.70)
    accurate = EpochMetrics(2, 1.0, 0.5, 0.4, 0.9, 1.0, 0.60)
    balanced = EpochMetrics(3, 1.0, 0.5, 0.5, 0.9, 1.0, 0.75)
    best = {name: max([low_loss, accurate, balanced], key=lambda one: one.merit(name)).epoch for name in OBJECTIVES}
    assert best == {"val_accuracy": 2, "val_balanced_accuracy": 3, "val_loss": 1}


def test_a_low_loss_ranks_first_and_a_high_one_is_pruned() -> None:
    scored = [
        Scored(0, 0.5, 500, True),
        Scored(1, 0.1, 700, True),
        Scored(2, 0.6, 100, True),
        Scored(3, 0.7, 900, True),
    ]
    assert [one.number for one in ranked(scored, front_first=False)] == [1, 0, 2, 3]
    assert [one.number for one in front(scored)] == [1, 0, 2]
    finished = [Course((1_000,), (1.0, 0.8, 0.6, 0.5), True)] * 4
    assert cannot_enter_front(Course((1_000,), (2.0, 1.9, 1.8), True), finished)
    assert not cannot_enter_front(Course((1_000,), (1.0, 0.8, 0.5), True), finished)


class Disagreeing(NoTraining):
    """The widest network is the most accurate, the narrowest has the lowest loss, the middle one treats all alike."""

    def _metrics(self, job: Job, epoch: int) -> EpochMetrics:
        width = job.config.filters
        accuracy = 0.5 + width / 100 + epoch / 1_000
        return EpochMetrics(epoch, 0.5, 0.5, width / 10 - epoch / 100, accuracy, 0.0, 0.8 - abs(width - 8) / 100)


BEST = {"val_balanced_accuracy": 8, "val_loss": 4}
DIRECTIONS = {"val_balanced_accuracy": "MAXIMIZE", "val_loss": "MINIMIZE"}


def swept(folder: Path, study: str, **changes: object) -> SweepResult:
    config = SweepConfig(
        f"sqlite:///{folder / 'mlflow.db'}", study, storage=f"sqlite:///{folder / 'optuna.db'}", epochs=2, keep=1,
        trials=3, filters=(4, 8, 16), pruner="none", figures=False,
        enqueue=tuple({"architecture": "malireddi", "filters": width} for width in (16, 4, 8)), **changes,
    )  # fmt: skip
    return sweep(config, engine=lambda _: Disagreeing())


@pytest.mark.slow
def test_a_sweep_its_board_and_its_registry_follow_the_objective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for objective in ("val_balanced_accuracy", "val_loss"):
        objectives = (objective, "coreml_bytes") if objective == "val_loss" else (objective,)
        result = swept(tmp_path, objective, objectives=objectives, replicates=int(objective == "val_loss"))
        study = study_of(tmp_path, objective)
        assert study.directions[0].name == DIRECTIONS[objective]
        assert result.leaderboard[0].filters == BEST[objective]
        if objective == "val_loss":
            assert result.leaderboard[0].mean_objective == study.trials[1].values[0]  # that of another seed is the same
        best = tracker.runs.get(result.leaderboard[0].run_id)
        assert best.config.objective == objective
        assert result.leaderboard[0].val_balanced_accuracy == best.metrics["best_val_balanced_accuracy"]
        values = [trial.values[0] for trial in study.trials[:3]]
        assert best.metrics[f"best_{objective}"] == (min if objective == "val_loss" else max)(values)
        shown = board(tracker.uri, usual="mnist5k", study=objective, limit=2)
        assert [row.run_id for row in shown.rows] == [row.run_id for row in result.leaderboard[:2]]
        chosen = tracker.registry.best("mnist5k-classifier")  # the latest versions are this study's
        assert tracker.runs.get(chosen.run_id).config.filters == BEST[objective]
    every = board(tracker.uri, usual="mnist5k", limit=2)
    assert {row.filters for row in every.rows} == {16}  # across studies by accuracy


def test_the_doctor_judges_by_the_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.chdir(tmp_path)
    swept(tmp_path, "lost", objectives=("val_loss",))
    found = command("search.doctor")
    assert (found.code, found.out) == (0, "0 disagreements, 0 repaired.\n")
    trial = study_of(tmp_path, "lost").best_trial
    run = next(run for run in children_of(tmp_path, "lost") if run.data.tags["trial_number"] == str(trial.number))
    known = final_metrics(trial, ("val_loss",), {1: 0.1, 2: 0.2})  # the accuracies
    assert known == {"coreml_bytes": 2_000, "best_val_loss": trial.value, "best_epoch": 2, "best_val_accuracy": 0.2}
    assert known["best_val_loss"] == run.data.metrics["best_val_loss"]
