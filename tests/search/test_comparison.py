"""Replicates, duplicates and configurations given first: who is better, and on what evidence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import fmean

import numpy as np
import optuna
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from scipy.stats import ttest_rel

from architectures.errors import UsageError
from benchmarks.no_training import NoTraining
from experiments.config import ModelSize, RunConfig, RunResult
from search.config import SweepConfig
from search.engines.messages import KnownArchitecture
from search.orchestrate import sweep
from search.report.significance import Replicated, compare_architectures
from search.space import SearchSpace
from search.study.results import Results
from search.trials.progress import TrialProgress
from tests.support.commands import Command, Outcome, invoke
from tests.support.stores import copy_store
from tests.support.sweeps import DIGITS, NO_FIGURES, PUBLISHED, children_of, study_of
from tests.support.warm import Program

TRIALS = 4
SPACE = [
    "--epochs",
    "1",
    "--dropout",
    "0.2",
    "--filters",
    "4",
    "--batch-size",
    "256",
    *DIGITS,
    *PUBLISHED,
    *NO_FIGURES,
]  # one point per architecture
REPLICATES = ["--keep", "1", "--replicates", "2"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A sweep that was killed at its second replicate and continued."""
    folder = tmp_path_factory.mktemp("compared")
    options = ["--study", "fair", "--trials", str(TRIALS), *SPACE, *REPLICATES]
    at = ["experiments.tracking.writer:Writer.finish", "4", "before"]
    killed = Program("tests.support.killed_at", *at, *options, cwd=folder)
    assert killed.wait() == 9, killed.communicate()
    done = invoke("search.sweep", "--study", "fair", *NO_FIGURES, "--json", cwd=folder)
    assert done.code == 0, done.err
    return folder, done


@pytest.fixture(scope="module")
def children(compared: tuple[Path, Outcome]) -> list[Run]:
    return children_of(compared[0], "fair")


def test_the_best_of_each_architecture_is_trained_with_further_seeds(
    compared: tuple[Path, Outcome], children: list[Run]
) -> None:
    study = optuna.load_study(study_name="fair", storage=f"sqlite:///{compared[0] / 'optuna.db'}")
    assert len(study.trials) == len(children) == TRIALS + 4
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    assert {run.info.status for run in children} == {"FINISHED"}
    replicates = [run for run in children if "replicate_of" in run.data.tags]
    assert sorted((run.data.tags["replicate_of"], run.data.params["seed"]) for run in replicates) == [
        *(("0", "1"), ("0", "2"), ("1", "1"), ("1", "2"))
    ]
    for run in replicates:
        original = children[int(run.data.tags["replicate_of"])].data
        assert original.params | {"seed": run.data.params["seed"]} == run.data.params
        assert original.tags["weights_sha256"] != run.data.tags["weights_sha256"]
    assert compared[1].json["counts"] == {"complete": TRIALS, "pruned": 0, "infeasible": 0, "fail": 0}


def test_a_configuration_that_was_tried_is_answered(children: list[Run]) -> None:
    first = {run.data.params["architecture"]: run for run in children[:2]}
    for run in children[2:TRIALS]:
        original = first[run.data.params["architecture"]]
        assert run.data.tags["duplicate_of"] == original.info.run_id
        known = original.data.metrics  # a kept one is evaluated later
        assert run.data.metrics == {key: known[key] for key in run.data.metrics}
        assert {"best_val_accuracy", "coreml_bytes", "host_latency_ms", "keras_bytes"} <= run.data.metrics.keys()
        assert run.data.tags["weights_sha256"] == original.data.tags["weights_sha256"]


def test_configurations_rank_by_the_mean_of_seeds_and_architectures_are_compared(
    compared: tuple[Path, Outcome], children: list[Run]
) -> None:
    board = compared[1].json["leaderboard"]
    assert {row["architecture"] for row in board} == {"chollet", "malireddi"}
    means = [row["mean_val_accuracy"] for row in board]
    assert means == sorted(means, reverse=True)
    by_seed: dict[str, list[float]] = {}
    for run in sorted(children, key=lambda run: run.data.params["seed"]):
        if "replicate_of" in run.data.tags:
            by_seed.setdefault(run.data.params["architecture"], []).append(run.data.metrics["best_val_accuracy"])
    for row in board:
        assert row["seeds"] == 2
        assert row["mean_val_accuracy"] == pytest.approx(fmean(by_seed[row["architecture"]]))
        assert row["mean_low"] <= row["mean_val_accuracy"] <= row["mean_high"]
    (comparison,) = compared[1].json["comparisons"]
    assert comparison["first"] == board[0]["architecture"]
    expected = ttest_rel(by_seed[comparison["first"]], by_seed[comparison["second"]])
    assert comparison["p_value"] == pytest.approx(expected.pvalue)
    assert comparison["significant"] == (expected.pvalue < 0.05)
    assert compared[1].json["candidate"] == board[0]["version"] or board[0]["version"] is None
    page = MlflowClient(f"sqlite:///{compared[0] / 'mlflow.db'}").download_artifacts(
        compared[1].json["parent_run_id"], "study/report.html"
    )
    assert comparison["verdict"] in Path(page).read_text()


def test_more_seeds_are_added_to_those_there_are(
    compared: tuple[Path, Outcome], tmp_path: Path, command: Command
) -> None:
    copy_store(compared[0], tmp_path)
    found = command("search.sweep", "--study", "fair", "--replicates", "3", *NO_FIGURES, "--json")
    assert found.code == 0, found.err
    assert [row["seeds"] for row in found.json["leaderboard"]] == [3, 3]
    assert found.json["counts"]["complete"] == TRIALS
    assert found.err.count("\ntrial ") == 2
    assert "best so far" not in found.err


@pytest.mark.slow
def test_an_architecture_without_a_complete_trial_is_named(tmp_path: Path, command: Command) -> None:
    options = ["--study", "pruned", "--trials", "2", *SPACE, "--replicates", "1", "--max-coreml-bytes", "10000"]
    found = command("search.sweep", *options, cwd=tmp_path)
    assert found.code == 0, found.err
    assert "Not compared, because none of their trials was replicated: chollet." in found.out
    again = command("search.sweep", "--study", "pruned", *NO_FIGURES, "--json", cwd=tmp_path)
    assert (again.json["not_compared"], again.json["comparisons"]) == (["chollet"], [])
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    page = client.download_artifacts(again.json["parent_run_id"], "study/report.html")
    assert "Not compared, because none of their trials was replicated: chollet." in Path(page).read_text()


def replicated(number: int, architecture: str, *values: float) -> Replicated:
    return Replicated(number, architecture, dict(enumerate(values, 1)))


def test_a_statement_needs_evidence() -> None:
    better, worse = (0.97, 0.98, 0.975, 0.978), (0.94, 0.952, 0.943, 0.947)
    (clear,) = compare_architectures([replicated(0, "a", *worse), replicated(1, "b", *better)])
    assert (clear.verdict, clear.first_trial, clear.seeds) == ("b beats a", 1, 4)
    assert clear.low is not None
    assert clear.p_value == pytest.approx(ttest_rel(better, worse).pvalue)
    assert 0 < clear.low < clear.difference
    (level,) = compare_architectures([replicated(0, "a", 0.97, 0.96), replicated(1, "b", 0.96, 0.97)])
    assert (level.verdict, level.significant) == ("no evidence of a difference", False)
    (equal,) = compare_architectures([replicated(0, "a", 0.97, 0.96), replicated(1, "b", 0.97, 0.96)])
    assert (equal.p_value, equal.verdict) == (1.0, "no evidence of a difference")
    (single,) = compare_architectures([replicated(0, "a", 0.5), replicated(1, "b", 0.9)])
    assert (single.p_value, single.verdict) == (None, "not tested: needs 2 seeds")
    assert compare_architectures([replicated(0, "a", 0.5), replicated(1, "a", 0.9)]) == ()


def test_the_seeds_that_test_have_no_part_in_the_choice() -> None:
    first, lucky, other = (0.95, 0.96, 0.955), (0.99, 0.98, 0.985), (0.96, 0.975, 0.968)
    chosen = [replicated(3, "a", *first), replicated(1, "a", *lucky), replicated(2, "b", *other)]
    (comparison,) = compare_architectures(chosen)
    assert (comparison.first_trial, comparison.second_trial) == (2, 3)
    assert comparison.p_value == pytest.approx(ttest_rel(other, first).pvalue)


def test_replicated_configurations_come_in_the_order_of_the_search() -> None:
    study = optuna.create_study(direction="maximize")
    filters = optuna.distributions.CategoricalDistribution([4, 8])

    def add(width: int, value: float, **attributes: int) -> None:
        told = {"coreml_bytes": 1_000, **attributes}
        study.add_trial(
            optuna.trial.create_trial(
                params={"filters": width}, distributions={"filters": filters}, value=value, user_attrs=told
            )
        )

    add(4, 0.90)
    add(8, 0.95)
    add(4, 0.99, replicate_of=0, seed=1)
    add(8, 0.91, replicate_of=1, seed=1)
    found = Results(study, SweepConfig(tracking_uri="", study="order")).replicated()
    assert list(found.items()) == [(1, {1: 0.91}), (0, {1: 0.99})]


def result(accuracy: float) -> RunResult:
    return RunResult(
        epochs=(),
        best_epoch=1,
        best_val_accuracy=accuracy,
        best_val_loss=0.1,
        size=ModelSize(parameters=1, macs=1, coreml_bytes=1),
        keras_bytes=1,
        keras_sha256="",
        weights_sha256="",
        latency_ms=1.0,
        images_per_second=1.0,
        keras_file=Path(),
        input_shape=(28, 28, 1),
        num_classes=10,
        val_probabilities=np.empty((0, 10), np.float32),
    )


def test_a_replicate_is_no_better_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TrialProgress(2, 1)
    for number, accuracy, replicate in ((0, 0.90, False), (1, 0.99, True), (2, 0.95, False)):
        progress.started(number, RunConfig("chollet", "mnist5k", filters=4, dropout=0.2))
        progress.finished(number, result(accuracy), replicate)
    assert ["best so far" in line for line in capsys.readouterr().err.splitlines()] == [True, False, True]


def test_several_comparisons_ask_for_more_evidence_each() -> None:
    seeds = [(0.97, 0.98, 0.96, 0.975), (0.962, 0.974, 0.958, 0.968), (0.90, 0.93, 0.91, 0.92)]
    three = [replicated(number, "abc"[number], *values) for number, values in enumerate(seeds)]
    pairs = {(one.first, one.second): one.p_value or 0.0 for one in compare_architectures(three)}
    (alone,) = compare_architectures(three[:2])
    assert pairs.keys() == {("a", "b"), ("a", "c"), ("b", "c")}
    assert alone.p_value is not None
    assert pairs["a", "b"] >= alone.p_value > 0
    raw = sorted(ttest_rel(seeds[one], seeds[two]).pvalue for one, two in ((0, 1), (0, 2), (1, 2)))
    assert min(pairs.values()) == pytest.approx(3 * raw[0])


@pytest.mark.usefixtures("without_training")
def test_configurations_given_first_are_tried_first_and_once(tmp_path: Path, command: Command) -> None:
    first = [{"architecture": "malireddi", "filters": 4, "dropout": 0.3}, {"architecture": "chollet", "dropout": 0.1}]
    (tmp_path / "first.json").write_text(json.dumps(first))
    space = ["--filters", "4", "--batch-size", "256", *PUBLISHED]
    options = ["--study", "given", "--trials", "2", "--epochs", "1", *space, *NO_FIGURES]
    half_made = optuna.create_study(study_name="given", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    half_made.set_user_attr("parent_run_id", "of a sweep that was killed while it made the study")
    half_made.enqueue_trial(first[0])
    for _ in range(2):
        done = command("search.sweep", *options, "--enqueue", "first.json")
        assert done.code == 0, done.err
    trials = optuna.load_study(study_name="given", storage=f"sqlite:///{tmp_path / 'optuna.db'}").trials
    assert [{key: trial.params[key] for key in given} for trial, given in zip(trials, first, strict=True)] == first


@pytest.mark.slow
def test_a_continued_study_tries_what_the_whole_one_does_after_the_configurations_given_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(study: str, trials: int, *first: dict[str, object]) -> None:
        config = SweepConfig("sqlite:///mlflow.db", study, trials=trials, epochs=1, enqueue=first, figures=False)
        sweep(config, engine=lambda _: NoTraining())

    first = {"architecture": "malireddi", "dropout": 0.3}
    run("whole", 4, first)
    run("cut", 1, first)
    run("cut", 4)
    assert "interrupted" not in capfd.readouterr().err
    whole, cut = ([trial.params for trial in study_of(tmp_path, study).trials] for study in ("whole", "cut"))
    assert cut == whole


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"filters": 7}, "filters 7 is not among 8, 16, 32."),
        ({"filters": 8.0}, "filters 8.0 is not among 8, 16, 32."),
        ({"dropout": 0.9}, "dropout 0.9 is not a number from 0 to 0.5."),
        ({"dropout": "0.1"}, "dropout '0.1' is not a number from 0 to 0.5."),
        ({"learning_rate": 0.1}, "'learning_rate' is not searched."),
        ({"architecture": "nope"}, "architecture 'nope' is not among one, other."),
        ({"architecture": "one", "kernel_size": 4}, "kernel_size 4 is not among 3, 5."),
        ({"architecture": "other", "kernel_size": 3}, "'kernel_size' is not searched."),
    ],
)
def test_a_configuration_outside_the_space(given: dict[str, object], message: str) -> None:
    known = [
        KnownArchitecture("one", 8, 0.1, None, (("kernel_size", (3, 5)),)),
        KnownArchitecture("other", 8, 0.1, None),
    ]
    space = SearchSpace(("one", "other"))
    with pytest.raises(UsageError, match=re.escape(message)):
        space.configuration(given, known)
    inside = {"architecture": "one", "kernel_size": 5, "dropout": 0}
    assert space.configuration(inside, known) == {"architecture": "one", "one.kernel_size": 5, "dropout": 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "is not a list of configurations"),
        ("{", "is not JSON"),
        ('[{"filters": 8}, {"filters": 7}]', "Configuration 2 of --enqueue: filters 7 is not among 8, 16, 32."),
    ],
)
def test_configurations_that_cannot_be(content: str, message: str, tmp_path: Path, command: Command) -> None:
    (tmp_path / "first.json").write_text(content)
    found = command("search.sweep", "--study", "wrong", "--enqueue", "first.json")
    assert found.code == 2
    assert message in found.error
    if (tmp_path / "optuna.db").exists():
        assert not optuna.get_all_study_names(f"sqlite:///{tmp_path / 'optuna.db'}")
