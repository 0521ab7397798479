"""What a person sees of a store in MLflow's own pages: descriptions, the figures of a sweep, columns, links."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from experiments.config import EpochMetrics
from experiments.device_report import METRIC_NAMES, PROCESSORS
from experiments.evaluation.intervals import ExpectedAccuracy
from experiments.tracking import LONGEST_TAG, Selection, Tracker
from experiments.tracking.mlflow_pages import KIND, NOTE, ORDER, TRAINING, VIEW, VIEWS
from experiments.tracking.parents import EXPECTED
from experiments.views import leaderboard, ui_links
from search.report.summary import description
from search.study.study import Study
from tests.experiments.test_hostile_names import NAME, UNSAFE
from tests.support.commands import Command
from tests.support.stores import Promoted, Swept
from tests.support.sweeps import NO_FIGURES, study_of

LONGEST_VIEW = 5_000  # characters of an experiment's tag in MLflow's database
LINK = "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=best-first"


@pytest.fixture
def client(swept: Swept) -> MlflowClient:
    return MlflowClient(swept.uri, swept.uri)


@pytest.fixture
def parent(client: MlflowClient, swept: Swept) -> Run:
    return client.get_run(swept.result["parent_run_id"])


def test_an_experiment_says_what_it_holds_and_has_columns(client: MlflowClient) -> None:
    experiment = client.get_experiment_by_name("mnist5k")
    assert experiment
    assert experiment.tags[NOTE].startswith("Training runs: one for each trial, and one for each sweep")
    assert experiment.tags[KIND] == "custom_model_development"
    view = json.loads(experiment.tags[VIEWS + VIEW])
    assert (view["orderByKey"], view["orderByAsc"]) == (ORDER, False)
    assert {"metrics.`coreml_bytes`", "params.`architecture`"} < set(view["selectedColumns"])
    default = client.get_experiment_by_name("Default")
    assert default
    assert default.tags[NOTE].startswith("MLflow's default experiment, which is not used")


def test_the_charts_of_an_experiment_are_the_curves_of_its_epochs(
    client: MlflowClient, parent: Run, swept: Swept
) -> None:
    experiment = client.get_experiment(parent.info.experiment_id)
    view = experiment.tags[VIEWS + VIEW]
    assert len(view) < LONGEST_VIEW
    deleted = {chart["metricKey"] for chart in json.loads(view)["compareRunCharts"] if chart["deleted"]}
    curves = {field.name for field in fields(EpochMetrics)} - {"epoch"}
    runs = client.search_runs([parent.info.experiment_id])
    recorded = set[str]().union(*(run.data.metrics for run in runs))
    assert {"val_accuracy", "coreml_bytes", "trials"} < recorded
    assert recorded - deleted == curves
    assert {f"device_{processors}_{name}" for processors in PROCESSORS for name in METRIC_NAMES.values()} < deleted


def test_a_description_that_a_person_wrote_stays(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker, client = Tracker(uri), MlflowClient(uri)
    made = client.create_experiment("mine", tags={NOTE: "my own words"})
    client.create_run("0")  # somebody's, in MLflow's own experiment
    assert tracker.experiment("mine") == made
    tracker.experiment("digits")
    assert client.get_experiment(made).tags[NOTE] == "my own words"
    assert VIEWS + VIEW in client.get_experiment(made).tags
    assert NOTE not in client.get_experiment("0").tags


def test_the_looks_are_explained(promoted: Promoted) -> None:
    client = MlflowClient(f"sqlite:///{promoted.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("test-looks")
    assert experiment
    assert experiment.tags[NOTE].startswith("One run per use of a data set's test images")
    assert VIEWS + VIEW not in experiment.tags


def test_the_run_of_a_sweep_has_its_figures_its_data_and_the_leaderboard(
    parent: Run, swept: Swept, client: MlflowClient
) -> None:
    best, *_ = board = swept.result["leaderboard"]
    metrics = parent.data.metrics
    figures = {"best_val_accuracy", "best_coreml_bytes", "trials", "pruned", "failed", "seconds"}
    assert metrics.keys() == figures | {*EXPECTED}
    expected, low, high = (metrics[name] for name in EXPECTED)
    assert [swept.result[name] for name in EXPECTED] == [expected, low, high]
    assert low < expected <= metrics["best_val_accuracy"] < high
    assert parent.data.tags["expected_accuracy_of"] == best["run_id"]
    assert (metrics["best_val_accuracy"], metrics["best_coreml_bytes"]) == (best["val_accuracy"], best["coreml_bytes"])
    assert (metrics["trials"], metrics["pruned"], metrics["failed"]) == (3, 0, 0)
    trials = study_of(swept.folder, "small").trials
    assert 0 < metrics["seconds"] <= sum(trial.duration.total_seconds() for trial in trials if trial.duration) + 0.1
    assert [each.dataset.name for each in parent.inputs.dataset_inputs] == ["mnist5k"]
    page = MarkdownIt("commonmark").enable("table").render(parent.data.tags[NOTE])
    assert page.count("<tr>") == 1 + len(board)
    for row in board:
        link = f'<a href="#/experiments/{parent.info.experiment_id}/runs/{row["run_id"]}?{TRAINING}">{row["run"]}</a>'
        assert f"<td>{link}</td>" in page
    assert page.index(best["run"]) < page.index("<table>")  # the answer comes first


@pytest.mark.usefixtures("without_training")
def test_a_sweep_that_goes_on_brings_its_run_up_to_date(
    own_store: Path, parent: Run, swept: Swept, command: Command
) -> None:
    client = MlflowClient(f"sqlite:///{own_store / 'mlflow.db'}")
    found = command("search.sweep", "--study", "small", "--trials", "4", *NO_FIGURES)
    assert found.code == 0, found.err
    assert found.out.splitlines()[-1] == f"View: make ui or mlflow ui, then open {LINK}"
    again = client.get_run(parent.info.run_id)
    assert again.data.metrics["trials"] == 4
    assert again.data.tags[NOTE].count("/runs/") == 5  # the best, and four rows
    assert len(again.inputs.dataset_inputs) == 1
    for metric in ("pruned", "failed"):  # as before: not written again
        assert len(client.get_metric_history(parent.info.run_id, metric)) == 1
    assert [point.value for point in client.get_metric_history(parent.info.run_id, "trials")] == [3, 4]


def test_hostile_names_in_the_description_of_a_sweep(swept: Swept) -> None:
    tracker = Tracker(swept.uri, create=False)
    board = [replace(row, run=NAME, optimizer=NAME) for row in leaderboard.rows(tracker, Selection("mnist5k", "small"))]
    study = Study(_config(swept))
    text = description(study, board * 20, "1")
    assert len(text) <= LONGEST_TAG
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert not UNSAFE.search(text)
    assert not re.search("<(script|img|em|strong|code)\\b", page)
    assert set(re.findall('href="([^"]*)"', page)) == {f"#/experiments/1/runs/{row.run_id}?{TRAINING}" for row in board}
    assert len(description(study, [replace(board[0], run="x" * 9_000)], "1")) == LONGEST_TAG


def _config(swept: Swept):
    from search.config import SweepConfig

    return SweepConfig(swept.uri, "small", storage=f"sqlite:///{swept.folder / 'optuna.db'}")


def test_registered_models_versions_and_promotions_say_what_they_are(promoted: Promoted) -> None:
    uri = f"sqlite:///{promoted.folder / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    kept, promotions = (client.get_registered_model(f"mnist5k-classifier{end}") for end in ("", "-coreml"))
    assert kept.description.startswith("Classifiers of mnist5k that sweeps and trials have kept")
    assert promotions.description.startswith("Promotions of mnist5k-classifier:")
    version = client.get_model_version("mnist5k-classifier", "1")
    run = client.get_run(version.run_id)
    for text in (run.info.run_name, "study small", f"{run.data.metrics['best_val_accuracy']:.4f}"):
        assert text in version.description
    made = client.get_model_version("mnist5k-classifier-coreml", "1")
    assert f"test accuracy {promoted.result['test_accuracy']:.4f}" in made.description


def epoch(number: int, accuracy: float, loss: float) -> EpochMetrics:
    return EpochMetrics(number, 1.0, 0.5, loss, accuracy, 0.1, accuracy)


@pytest.mark.parametrize(("objective", "best"), [("val_accuracy", 0.9), ("val_loss", 0.8)])
def test_a_pruned_run_says_how_accurate_it_was(objective: str, best: float, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker, client = Tracker(uri), MlflowClient(uri)
    run_id = client.create_run(tracker.experiment("mnist5k")).info.run_id
    client.log_param(run_id, "objective", objective)
    for number, (accuracy, loss) in enumerate([(0.5, 0.9), (0.9, 0.7), (0.8, 0.6)], 1):
        tracker.writer.log_epoch(run_id, epoch(number, accuracy, loss))
    for _ in range(2):  # as after a request that was not answered
        tracker.writer.end(run_id, "KILLED", outcome="pruned")
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["outcome"]) == ("KILLED", "pruned")
    assert [(point.value, point.step) for point in client.get_metric_history(run_id, "best_val_accuracy")] == [
        (best, 0)
    ]


def test_a_pruned_run_is_not_gone_on_with(swept: Swept, own_store: Path) -> None:
    """Its figure is that of the epochs it had: an attempt that trains further has a run of its own."""
    uri = f"sqlite:///{own_store / 'mlflow.db'}"
    tracker, client = Tracker(uri), MlflowClient(uri)
    run_id = client.create_run(tracker.experiment("mnist5k")).info.run_id
    tracker.writer.log_epoch(run_id, epoch(1, 0.5, 0.9))
    tracker.writer.end(run_id, "KILLED", outcome="pruned")
    start = _start_without_demands()
    assert tracker.writer.resume_run(run_id, start) is None
    assert client.get_run(run_id).info.lifecycle_stage == "deleted"


def _start_without_demands():
    from experiments.tracking.records import RunStart

    return RunStart("1", "pocket-0", {}, {}, {})


def test_the_figures_of_a_sweep_are_written_where_they_have_changed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker, client = Tracker(uri), MlflowClient(uri)
    run_id = client.create_run(tracker.experiment("mnist5k")).info.run_id
    for trials in (3, 3, 5):
        tracker.parents.describe(run_id, f"{trials} trials", {"trials": trials})
    assert [point.value for point in client.get_metric_history(run_id, "trials")] == [3, 5]
    assert client.get_run(run_id).data.tags[NOTE] == "5 trials"


def test_what_is_no_longer_expected_becomes_nan_once(tmp_path: Path) -> None:
    """MLflow deletes no metric; a run that never had them has no tag of theirs, either."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker, client = Tracker(uri), MlflowClient(uri)
    run_id = client.create_run(tracker.experiment("mnist5k")).info.run_id

    def describe(trials: int, of: str, *values: float) -> dict[str, str]:
        figures = {"trials": float(trials)} | dict(zip(EXPECTED, values, strict=bool(of)))
        tracker.parents.describe(run_id, "", figures, expected_of=of)
        return client.get_run(run_id).data.tags

    assert "expected_accuracy_of" not in describe(1, "")
    assert describe(2, "one", 0.8, 0.7, 0.9)["expected_accuracy_of"] == "one"
    for trials in (3, 3, 4):
        assert describe(trials, "")["expected_accuracy_of"] == ""
    assert tracker.parents.expected_accuracy(run_id, "one") is None
    assert all(math.isnan(tracker.runs.get(run_id).metrics[name]) for name in EXPECTED)
    describe(5, "one", 0.8, 0.7, 0.9)
    assert tracker.parents.expected_accuracy(run_id, "one") == ExpectedAccuracy(0.8, 0.7, 0.9)
    held = [point.value for point in client.get_metric_history(run_id, EXPECTED[0])]
    assert [0.8 if value == 0.8 else None for value in held] == [0.8, None, 0.8]


def test_an_older_runs_time_of_an_image_is_read(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker, client = Tracker(uri), MlflowClient(uri)
    run_id = client.create_run(tracker.experiment("mnist5k")).info.run_id
    client.log_batch(run_id, [Metric("latency_ms", 0.75, 0, 3)])
    assert tracker.runs.get(run_id).metrics == {"host_latency_ms": 0.75}


def test_the_time_of_an_image_is_explained(client: MlflowClient, swept: Swept) -> None:
    run = client.get_run(swept.result["leaderboard"][0]["run_id"])
    assert re.fullmatch(
        r"Median time of one image through the Keras model on this run's host, whose load average was \d+\.\d\d then\. "
        r"Older runs call it latency_ms\.",
        run.data.tags["host_latency"],
    )
    assert "latency_ms" not in run.data.metrics


def test_make_ui_says_where_the_runs_are(swept: Swept, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ui_links.say_links(swept.uri, "http://127.0.0.1:5000")
    assert capsys.readouterr().out == f"mnist5k: {LINK}\n"
    ui_links.say_links(f"sqlite:///{tmp_path / 'none.db'}", "http://127.0.0.1:5000")
    assert "does not exist. Run python -m search.sweep first." in capsys.readouterr().out
