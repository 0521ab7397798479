"""Sweeps as a person runs them: one run per trial whatever dies, continuation, failures, wrong usage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from benchmarks.no_training import NoTraining
from experiments.tracking import Tracker
from search.config import SweepConfig
from search.orchestrate import sweep
from tests.support.commands import Command, Outcome, invoke, run_module
from tests.support.stores import Swept
from tests.support.sweeps import DIGITS, NO_FIGURES, SWEEP, assert_nothing_lost, assert_whole, children_of, study_of


def test_the_small_sweep_is_whole(swept: Swept) -> None:
    assert_whole(swept.folder, "small", 3, 3)
    assert swept.result["counts"] == {"complete": 3, "pruned": 0, "infeasible": 0, "fail": 0}
    assert swept.result["study"] == "small"
    assert len(swept.result["registered"]) == 3  # the best two, and one that is on the front


def test_the_same_seed_gives_the_same_sweep(swept: Swept, tmp_path: Path) -> None:
    """As far as its first trial; that a seed decides what is drawn later is tested without training."""
    first = ["--trials", "1", *SWEEP[2:]]
    again = run_module("search.sweep", "--study", "small", *first, *NO_FIGURES, "--json", cwd=tmp_path)
    assert again.code == 0, again.err
    (row,) = again.json["leaderboard"]
    (before,) = [one for one in swept.result["leaderboard"] if one["run"] == row["run"]]
    others = {"run_id", "version", "latency_ms", "images_per_second"}
    assert {key: row[key] for key in row.keys() - others} == {key: before[key] for key in before.keys() - others}
    digests = [children_of(folder, "small")[0].data.tags["weights_sha256"] for folder in (swept.folder, tmp_path)]
    assert digests[0] == digests[1]


def test_every_architecture_starts_from_the_portfolio_or_as_published_as_far_as_the_space_allows(swept: Swept) -> None:
    first, second, _ = study_of(swept.folder, "small").trials
    assert (first.params["architecture"], first.params["dropout"]) == ("chollet", 0.1)
    assert first.params["filters"] in (4, 8)
    assert (second.params["architecture"], second.params["dropout"]) == ("malireddi", 0.2)


@pytest.mark.usefixtures("without_training")
def test_continuing_adds_trials_and_registers_the_best_of_all(own_store: Path, swept: Swept, command: Command) -> None:
    found: Outcome = command("search.sweep", "--study", "small", "--trials", "5", *NO_FIGURES, "--json")
    assert found.code == 0, found.err
    assert_whole(own_store, "small", 5, 3)
    assert found.json["parent_run_id"] == swept.result["parent_run_id"]
    parent = MlflowClient(f"sqlite:///{own_store / 'mlflow.db'}").get_run(found.json["parent_run_id"])
    assert parent.info.status == "FINISHED"
    board = found.json["leaderboard"]
    assert len(board) == 5
    assert all(row["version"] for row in board[:2])  # the study has recorded --keep 2
    assert found.json["candidate"] == board[0]["version"]


def test_continuing_a_full_study_runs_nothing(own_store: Path, swept: Swept, command: Command) -> None:
    found = command("search.sweep", "--study", "small", "--trials", "2", "--keep", "2", *NO_FIGURES, "--json")
    assert found.code == 0, found.err
    assert found.json["counts"]["complete"] == 3
    assert found.json["leaderboard"] == swept.result["leaderboard"]
    assert found.json["registered"] == swept.result["registered"]


@pytest.mark.slow
def test_a_study_from_before_there_were_schedules_goes_on_as_it_began(own_store: Path, command: Command) -> None:
    study = study_of(own_store, "small")
    recorded = json.loads(study.user_attrs["config"])
    for option in ("schedule", "augment"):
        del recorded[option]
    study.set_user_attr("config", json.dumps(recorded))
    refused = command("search.sweep", "--study", "small", "--trials", "4", "--schedule", "cosine")
    assert refused.code == 2
    assert "made with schedule constant, not cosine" in refused.error
    found = command("search.sweep", "--study", "small", "--trials", "4", *NO_FIGURES, "--json")
    assert found.code == 0, found.err
    *_, last = children_of(own_store, "small")
    used = {key: last.data.params[key] for key in ("schedule", "learning_rate", "augment")}
    assert used == {"schedule": "constant", "learning_rate": "0.001", "augment": "off"}
    record = Tracker(f"sqlite:///{own_store / 'mlflow.db'}").runs.get(last.info.run_id)
    params = {key: value for key, value in record.params.items() if key != "schedule"}
    assert replace(record, params=params).config == record.config  # a run from before recorded none


def test_keeping_more_than_was_kept_says_so(own_store: Path, swept: Swept, command: Command) -> None:
    client = MlflowClient(f"sqlite:///{own_store / 'mlflow.db'}")
    *others, last = swept.result["registered"]
    (model,) = [row for row in swept.result["leaderboard"] if row["version"] == last]
    (output,) = client.get_run(model["run_id"]).outputs.model_outputs
    client.set_logged_model_tags(output.model_id, {"pruned_at": "today"})
    found = command("search.sweep", "--study", "small", "--trials", "3", "--keep", "3", *NO_FIGURES, "--json")
    assert found.code == 0
    assert "its model was not kept" in found.err
    assert found.json["registered"] == others


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "9"], "made with epochs 3, not 9"),
        (["--filters", "8"], "made with filters 4,8, not 8"),
        (["--dataset", "mnist"], "made with dataset mnist5k, not mnist"),
        (["--architecture", "chollet"], "made with architectures chollet,malireddi, not chollet"),
    ],
)
def test_a_continuation_that_contradicts_the_study(
    own_store: Path, arguments: list[str], message: str, command: Command
) -> None:
    found = command("search.sweep", "--study", "small", "--trials", "4", *arguments)
    assert found.code == 2
    assert message in found.error
    assert_whole(own_store, "small", 3, 3)


FAILING = """
import keras
from architectures import register

@register(default_filters=4)
def failing(input_shape, num_classes, *, filters, dropout):
    '''Learns with 4 filters, diverges with 8, kills its process with 16.'''
    if filters == 16:
        import os
        os._exit(7)
    layers = [keras.layers.Flatten(), keras.layers.Dropout(dropout)]
    if filters == 8:
        layers.append(keras.layers.Rescaling(float("inf")))
    return keras.Sequential(
        [keras.Input(input_shape), *layers, keras.layers.Dense(num_classes, activation="softmax")]
    )
"""


def failing(folder: Path, *arguments: str) -> Outcome:
    (folder / "failing.py").write_text(FAILING)
    plugin = ["--plugin", "failing.py", "--architecture", "failing", "--epochs", "2", "--pruner", "none", *NO_FIGURES]
    return invoke("search.sweep", "--study", "failing", *DIGITS, *plugin, *arguments, cwd=folder)


def test_trials_that_fail_are_recorded_and_the_sweep_goes_on(tmp_path: Path) -> None:
    done = failing(tmp_path, "--filters", "4,8", "--trials", "4")
    assert done.code == 0, done.err
    study = study_of(tmp_path, "failing")
    assert {trial.params["filters"] for trial in study.trials} == {4, 8}
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for trial, run in zip(study.trials, children_of(tmp_path, "failing"), strict=True):
        if trial.params["filters"] == 4:
            assert (trial.state, run.info.status) == (TrialState.COMPLETE, "FINISHED")
        else:
            assert (trial.state, run.info.status) == (TrialState.FAIL, "FAILED")
            text = Path(client.download_artifacts(run.info.run_id, "traceback.txt")).read_text()
            assert "TrainingDiverged" in text


def test_a_trial_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    done = failing(tmp_path, "--filters", "16", "--trials", "1")
    assert done.code == 1
    assert "error: All trials failed" in done.err
    (trial,) = study_of(tmp_path, "failing").trials
    (run,) = children_of(tmp_path, "failing")
    assert (trial.state, run.info.status) == (TrialState.FAIL, "FAILED")
    assert trial.user_attrs["lost_attempts"] == 3
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    text = Path(client.download_artifacts(run.info.run_id, "traceback.txt")).read_text()
    assert "Given up after 3 attempts: its worker process ended (exit code 7)" in text


NARROW = """
import keras
from architectures import register

@register(default_filters=8)
def narrow(input_shape, num_classes, *, filters, dropout):
    '''As many hidden units as filters.'''
    hidden = [keras.layers.Flatten(), keras.layers.Dense(filters, activation="relu"), keras.layers.Dropout(dropout)]
    return keras.Sequential(
        [keras.Input(input_shape), *hidden, keras.layers.Dense(num_classes, activation="softmax")]
    )
"""


@pytest.mark.slow
def test_pruned_trials_are_killed_runs(tmp_path: Path) -> None:
    """A network of one hidden unit, which loses half of that to dropout, learns far less than the median."""
    hopeful = [{"architecture": "narrow", "filters": 8, "dropout": 0.1 * n, "batch_size": 32} for n in range(4)]
    hopeless = {"architecture": "narrow", "filters": 1, "dropout": 0.5, "batch_size": 256}
    (tmp_path / "queue.json").write_text(json.dumps([*hopeful, hopeless]))
    (tmp_path / "narrow.py").write_text(NARROW)
    network = ["--plugin", "narrow.py", "--architecture", "narrow"]
    space = ["--dataset", "digits", *network, "--filters", "1,8", "--batch-size", "32,256"]
    arguments = ["--enqueue", "queue.json", "--trials", "5", "--epochs", "4", *NO_FIGURES, "--json"]
    done = invoke("search.sweep", "--study", "pruned", *space, *arguments, cwd=tmp_path)
    assert done.code == 0, done.err
    pruned = 0
    for trial, run in zip(study_of(tmp_path, "pruned").trials, children_of(tmp_path, "pruned", "digits"), strict=True):
        if trial.state == TrialState.PRUNED:
            pruned += 1
            assert run.info.status == "KILLED"
            assert run.data.tags["outcome"] == "pruned"
            assert len(trial.intermediate_values) < 4
        else:
            assert run.info.status == "FINISHED"
    assert pruned == done.json["counts"]["pruned"] == 1


@pytest.mark.slow
def test_hyperband_ends_trials_early_and_the_sweep_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig("sqlite:///mlflow.db", "bands", trials=16, epochs=9, pruner="hyperband", figures=False)
    result = sweep(config, engine=lambda _: NoTraining())
    assert_nothing_lost(tmp_path, "bands", 16, 9)
    courses = [len(trial.intermediate_values) for trial in study_of(tmp_path, "bands").trials]
    assert result.counts == {"complete": courses.count(9), "pruned": 16 - courses.count(9), "infeasible": 0, "fail": 0}
    assert 1 in courses  # sooner than the median would


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--architecture", "nope"], 2, "Unknown architecture 'nope'. Registered: allconv, chollet, "),
        (["--dataset", "nope"], 2, "Unknown data set 'nope'"),
        (["--dropout", "0.9:0.1"], 2, "empty range"),
        (["--dropout", "0.5:1"], 2, "below 1"),
        (["--dropout", "nan"], 2, "out of range"),
        (["--learning-rate", "0:1"], 2, "out of range"),
        (["--batch-size", "0"], 2, "0 is too small: at least 1"),
        (["--batch-size", "9999"], 2, "4000 training images of mnist5k: use a smaller one with --batch-size"),
        (["--trials", "0"], 2, "0 is too small: at least 1"),
        (["--trials", "many"], 2, "'many' is not a whole number"),
        (["--workers", "100000"], 2, "--workers 100000 needs 39,062 GiB of memory, this machine has "),
        (["--filters", ""], 2, "is not a whole number"),
        (["--pruner", "psychic"], 2, "invalid choice"),
        (["--pruner", "front"], 2, "front needs two. Choose halving, median, hyperband or none."),
        (["--objective", "val_accuracy,coreml_bytes", "--pruner", "median"], 2, "Choose halving, front or none."),
        (["--objective", "coreml_bytes"], 2, "one of val_accuracy, val_balanced_accuracy, val_loss must be among them"),
        (["--compress", "prune50"], 2, "needs --format mlpackage"),
        (["--max-coreml-bytes", "0"], 2, "0 is too small: at least 1"),
        (["--label-smoothing", "0.5:1"], 2, "below 1"),
        (["--augment", "sometimes"], 2, "invalid choice"),
        (["--schedule", "linear"], 2, "invalid choice: 'linear'"),
        (["--unknown", "1"], 2, "unrecognized arguments"),
        (["--seed", "4294967296"], 2, "too large: at most 4294967295"),
        (["--register-as", "a/b"], 2, "is not a name"),
        (["--experiment", ""], 2, "is not a name"),
        (["--tracking-uri", "http://host:port"], 2, "is not a valid URL"),
        (["--tracking-uri", "http://127.0.0.1:9"], 1, "cannot be reached"),
        (["--storage", "sqlite:////no/such/folder/optuna.db"], 1, "cannot be opened"),
        (["--storage", "nonsense"], 2, "neither SQLite nor PostgreSQL"),
        (["--plugin", "no_such_module"], 2, "was not found"),
        (["--plugin", "no_such_file.py"], 2, "does not exist"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_no_study(
    arguments: list[str], code: int, message: str, tmp_path: Path, command: Command
) -> None:
    found = command("search.sweep", "--study", "wrong", *arguments)
    assert found.code == code
    assert message in found.error
    assert found.out == ""
    if (tmp_path / "optuna.db").exists():
        assert not optuna.get_all_study_names(f"sqlite:///{tmp_path / 'optuna.db'}")
    if (tmp_path / "mlflow.db").exists():
        assert not MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_runs(["0", "1"])


@pytest.fixture
def few_images(tmp_path: Path) -> Path:
    """Sixty images of noise in two classes: 56 to train on."""
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)
    labels = np.arange(60) % 2
    np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images[:6], y_test=labels[:6])
    return tmp_path


@pytest.mark.slow
def test_few_images_get_a_smaller_batch_unless_one_is_asked_for(few_images: Path, command: Command) -> None:
    tiny = ["--dataset", "npz:own.npz", "--architecture", "malireddi", "--epochs", "1", "--json"]
    sweep = ["search.sweep", "--study", "own", *tiny, *NO_FIGURES, "--filters", "4", "--keep", "1"]
    found: Outcome = command(*sweep, "--trials", "1")
    assert found.code == 0, found.err
    assert found.err.startswith("npz-own has 56 training images: batch size 8 in place of 64, 128, 256\n")
    assert [row["batch_size"] for row in found.json["leaderboard"]] == [8]
    again = command(*sweep, "--trials", "2")
    assert again.code == 0, again.err
    assert "in place of" not in again.err
    assert {row["batch_size"] for row in again.json["leaderboard"]} == {8}
    refused = command(*sweep, "--trials", "2", "--batch-size", "64,128")
    assert refused.code == 2
    assert "made with batch_sizes 8, not 64,128" in refused.error
    asked = command("search.sweep", "--study", "other", *tiny, "--batch-size", "16,64")
    assert asked.code == 2
    assert "Batch size 64 exceeds the 56 training images of npz-own" in asked.error
    trial = command("search.trial", *tiny, "--filters", "4")
    assert trial.code == 0, trial.err
    assert trial.err.startswith("npz-own has 56 training images: batch size 8 in place of 128\n")
    assert trial.json["batch_size"] == 8


def test_a_plugin_that_raises_on_import(tmp_path: Path, command: Command) -> None:
    (tmp_path / "broken.py").write_text("print('to stdout')\nraise RuntimeError('boom')")
    found = command("search.sweep", "--plugin", "broken.py")
    assert found.code == 1
    assert "broken.py failed on import: RuntimeError: boom" in found.error


MODELS = """
import keras
from architectures import register

@register(default_filters=4)
def wrong(input_shape, num_classes, *, filters, dropout):
    print("to stdout")
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), {layers}])
"""


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("keras.layers.Dense(num_classes + 1, activation='softmax')", "gives (None, 11), not (None, 10)"),
        ("keras.layers.Lambda(lambda x: x), keras.layers.Dense(num_classes, activation='softmax')", "a Lambda layer"),
    ],
)
@pytest.mark.parametrize("module", ["search.sweep", "search.trial"])
def test_a_plugin_whose_model_breaks_the_contract(
    module: str, layers: str, message: str, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "wrong.py").write_text(MODELS.format(layers=layers))
    found = command(module, "--plugin", "wrong.py", "--architecture", "wrong")
    assert found.code == 1
    assert message in found.error
    assert found.out == ""


def test_a_study_that_is_not_a_sweeps(tmp_path: Path, command: Command) -> None:
    study = optuna.create_study(study_name="mine", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    study.optimize(lambda trial: 0.0, n_trials=1)
    found = command("search.sweep", "--study", "mine")
    assert found.code == 2
    assert "was not made by a sweep" in found.error
