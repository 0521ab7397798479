"""What a sweep leaves in MLflow: the keys, statuses, files and versions that DESIGN promises."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import mlflow
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from architectures.errors import UsageError
from conversion import runtime
from conversion.promotion.place import DEFAULT_OUTPUT
from experiments import datasets
from experiments.tracking import Tracker, TrackingError, source
from tests.support.commands import invoke
from tests.support.components import require
from tests.support.servers import MlflowServer
from tests.support.stores import Swept

PARAMS = {
    "architecture",
    "dataset",
    "batch_size",
    "dropout",
    "filters",
    "learning_rate",
    "schedule",
    "optimizer",
    "epochs",
    "seed",
    "precision",
    "augment",
}
EPOCH_METRICS = {"loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy", "epoch_seconds"}
FINAL_METRICS = {
    "best_epoch",
    "best_val_accuracy",
    "best_val_balanced_accuracy",
    "best_val_loss",
    "parameters",
    "macs",
    "keras_bytes",
    "coreml_bytes",
    "host_latency_ms",
    "images_per_second",
}
OF_KEPT_MODELS = {
    "drawn_accuracy",
    "expected_calibration_error",
    "val_accuracy_low",
    "val_accuracy_high",
    "macro_precision",
    "macro_recall",
}
EVALUATION = {
    "evaluation/confusion_matrix.png",
    "evaluation/confusion_matrix.csv",
    "evaluation/classification_report.txt",
    "evaluation/evaluation.json",
    "evaluation/mistakes.png",
    "evaluation/reliability.png",
}


@pytest.fixture
def client(swept: Swept) -> MlflowClient:
    mlflow.set_tracking_uri(swept.uri)
    return MlflowClient(swept.uri, swept.uri)


@pytest.fixture
def parent(client: MlflowClient, swept: Swept) -> Run:
    return client.get_run(swept.result["parent_run_id"])


@pytest.fixture
def children(client: MlflowClient, parent: Run) -> list[Run]:
    """Of the sweep, by trial number."""
    found = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", order_by=["start_time"]
    )
    return sorted(found, key=lambda run: int(run.data.tags["trial_number"]))


def files(client: MlflowClient, run_id: str, place: str | None = None) -> set[str]:
    found = set()
    for item in client.list_artifacts(run_id, place):
        found |= files(client, run_id, item.path) if item.is_dir else {item.path}
    return found


def test_one_finished_child_run_per_trial(children: list[Run]) -> None:
    assert [run.data.tags["trial_number"] for run in children] == ["0", "1", "2"]
    assert [run.info.run_name for run in children] == [
        f"{run.data.params['architecture']}-{number}" for number, run in enumerate(children)
    ]
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {run.data.params["architecture"] for run in children} == {"malireddi", "chollet"}


def test_params_metrics_and_tags(client: MlflowClient, children: list[Run], parent: Run) -> None:
    assert client.get_experiment(parent.info.experiment_id).name == "mnist5k"
    for run in children:
        assert set(run.data.params) == PARAMS
        assert set(run.data.metrics) - OF_KEPT_MODELS == EPOCH_METRICS | FINAL_METRICS
        assert OF_KEPT_MODELS & set(run.data.metrics) in (set(), OF_KEPT_MODELS)
        for metric in EPOCH_METRICS:
            assert [point.step for point in client.get_metric_history(run.info.run_id, metric)] == [1, 2, 3]
        for metric in FINAL_METRICS:
            assert [point.step for point in client.get_metric_history(run.info.run_id, metric)] == [0]
        tags = run.data.tags
        assert tags["study"] == "small"
        assert tags["dataset_digest"] == datasets.load("mnist5k").digest
        native = tags["bfloat16"] != "none"
        assert run.data.params["precision"] == ("mixed_bfloat16" if native else "float32")  # auto, and why
        assert {"host", "processor", "threads", "version.tensorflow", "version.optuna"} <= tags.keys()
        best = int(run.data.metrics["best_epoch"])
        history = {p.step: p.value for p in client.get_metric_history(run.info.run_id, "val_accuracy")}
        assert history[best] == max(history.values()) == run.data.metrics["best_val_accuracy"]


def test_git_commit_is_recorded(children: list[Run]) -> None:
    (recorded,) = {run.data.tags.get("mlflow.source.git.commit") for run in children}
    if not shutil.which("git") or source.git_commit() == "unknown":
        assert recorded is None
        require(False, install="apt-get install git, in a clone instead of an archive")
    # HEAD, unless somebody has committed since these tests began
    began = f"--before=@{int(psutil.Process().create_time())}"
    newer = ["git", "rev-list", "--first-parent", began, f"{recorded}..HEAD"]
    done = subprocess.run(newer, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_parent_run(client: MlflowClient, parent: Run) -> None:
    assert (parent.info.run_name, parent.info.status) == ("small", "FINISHED")
    assert parent.data.params["epochs"] == "3"
    assert parent.data.params["filters"] == "4,8"
    assert parent.data.params["architectures"] == "chollet,malireddi"
    assert parent.data.params["dropout"] == "0.0:0.5"
    found = files(client, parent.info.run_id)
    assert {"study/report.html", "study/leaderboard.json", "study/leaderboard.csv"} <= found
    assert {f"study/{name}.png" for name in ("optimization_history", "intermediate_values", "pareto_front")} <= found
    path = client.download_artifacts(parent.info.run_id, "study/leaderboard.json")
    assert [row["rank"] for row in json.loads(Path(path).read_text())] == [1, 2, 3]
    page = Path(client.download_artifacts(parent.info.run_id, "study/report.html")).read_text()
    assert page.count('class="figure"') >= 4
    assert 'src="http' not in page  # nothing is fetched


def best_and_front(ranked: list[Run]) -> set[str]:
    """Ids of the two best of some runs, the best first, and of those that are smaller than all before them."""
    sizes = [run.data.metrics["coreml_bytes"] for run in ranked]
    return {run.info.run_id for place, run in enumerate(ranked) if place < 2 or sizes[place] < min(sizes[:place])}


def test_the_best_are_kept_registered_and_evaluated(client: MlflowClient, children: list[Run], swept: Swept) -> None:
    ranked = sorted(
        children, key=lambda run: (-run.data.metrics["best_val_accuracy"], run.data.metrics["coreml_bytes"])
    )
    kept_ids = best_and_front(ranked)
    versions = {v.run_id: v for v in client.search_model_versions("name = 'mnist5k-classifier'")}
    assert set(versions) == kept_ids
    candidate = client.get_model_version_by_alias("mnist5k-classifier", "candidate")
    assert candidate.run_id == ranked[0].info.run_id
    assert swept.result["candidate"] == int(candidate.version)
    for run in ranked:
        if run.info.run_id not in kept_ids:
            assert Tracker(swept.uri).models.kept_model(run.info.run_id) is None
            continue
        assert files(client, run.info.run_id) == EVALUATION
        assert set(run.data.metrics) >= OF_KEPT_MODELS
        report = json.loads(Path(client.download_artifacts(run.info.run_id, "evaluation/evaluation.json")).read_text())
        assert report["accuracy"] == pytest.approx(run.data.metrics["best_val_accuracy"])
        assert report["images"] == 500
    kept = client.search_logged_models([ranked[0].info.experiment_id])
    assert {model.source_run_id for model in kept} == kept_ids
    assert {model.status for model in kept} == {"READY"}
    best = client.search_logged_models(
        [ranked[0].info.experiment_id], order_by=[{"field_name": "metrics.best_val_accuracy", "ascending": False}]
    )
    assert best[0].source_run_id == ranked[0].info.run_id


def test_models_of_others_are_not_left_on_disk(children: list[Run], swept: Swept) -> None:
    ranked = sorted(
        children, key=lambda run: (-run.data.metrics["best_val_accuracy"], run.data.metrics["coreml_bytes"])
    )
    assert len(list((swept.folder / "mlruns").rglob("*.keras"))) == len(best_and_front(ranked))


LOAD = """
import sys
import mlflow, numpy as np
from experiments import datasets
val = datasets.load("mnist5k").val
for load in (mlflow.keras.load_model, mlflow.pyfunc.load_model):
    model = load("models:/mnist5k-classifier@candidate")
    print(float((np.argmax(model.predict(val.images.astype("float32")), axis=1) == val.labels).mean()))
"""


@pytest.mark.slow
def test_mlflow_itself_loads_a_kept_model(client: MlflowClient, swept: Swept) -> None:
    version = client.get_model_version_by_alias("mnist5k-classifier", "candidate")
    accuracy = client.get_run(version.run_id).data.metrics["best_val_accuracy"]
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={**os.environ, "MLFLOW_TRACKING_URI": swept.uri},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [float(line) for line in done.stdout.splitlines() if line.startswith("0.")] == [accuracy, accuracy]


def test_another_store_than_the_default(own_store: Path) -> None:
    before = mlflow.get_tracking_uri()
    tracker = Tracker(f"sqlite:///{own_store / 'mlflow.db'}")  # not the default, sqlite:///mlflow.db here
    best = tracker.registry.best("mnist5k-classifier")
    tracker.models.download_keras(best, own_store)
    assert tracker.registry.register("another-name", best).version == 1
    assert mlflow.get_tracking_uri() == before
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_run_reads_back_as_its_configuration(swept: Swept, children: list[Run]) -> None:
    config = Tracker(swept.uri).runs.get(children[0].info.run_id).config
    assert (config.dataset, config.epochs, config.batch_size, config.augment) == ("mnist5k", 3, 64, "digits")
    assert config.dropout == float(children[0].data.params["dropout"])


def test_names_with_quotes(swept: Swept) -> None:
    tracker = Tracker(swept.uri)
    with pytest.raises(UsageError, match="Unknown study"):
        tracker.runs.of_experiment("mnist5k", study="it's")
    with pytest.raises(UsageError, match="both kinds of quotes"):
        tracker.runs.of_experiment("mnist5k", study="""'"'""")
    with pytest.raises(UsageError, match="Unknown experiment"):
        tracker.runs.of_experiment("it's")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9", "cannot be reached: Connection refused"),
        ("http://no-such-host.invalid:5000", "cannot be reached"),
        ("sqlite:////no/such/folder/mlflow.db", "not a file in an existing folder"),
        ("./mlruns", "is a folder, which MLflow 3 no longer writes"),
        ("nonsense://x", "failed"),
    ],
)
def test_a_store_that_cannot_be_reached_is_one_line(uri: str, message: str) -> None:
    with pytest.raises(TrackingError, match=message) as caught:
        Tracker(uri)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(TrackingError, match="failed"):
        Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with MlflowServer(tmp_path) as started:
        yield started.uri


@pytest.mark.slow
def test_a_sweep_and_a_promotion_over_a_server(server: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    swept = invoke(
        *("search.sweep", "--trials", "1", "--epochs", "1", "--filters", "16", "--batch-size", "32"),
        *("--architecture", "malireddi", "--json"),
        cwd=work,
        MLFLOW_TRACKING_URI=server,
    )
    assert swept.code == 0, swept.err
    promoted = invoke("conversion.promote", "--json", "--tracking-uri", server, cwd=work)
    assert promoted.code == 0, promoted.err
    client = MlflowClient(server, server)
    run = client.get_run(swept.json["leaderboard"][0]["run_id"])
    assert run.info.status == "FINISHED"
    assert files(client, run.info.run_id) == EVALUATION
    assert client.get_model_version_by_alias("mnist5k-classifier", "champion").run_id == run.info.run_id
    assert not list(work.rglob("*.keras"))  # they lie with the server
    assert len(list((tmp_path / "files").rglob("*.mlmodel"))) == 2  # with the version, and in the history of promotions
    images = datasets.load("mnist5k").test.images
    mlflow.set_tracking_uri(server)
    try:
        answers = mlflow.pyfunc.load_model("models:/mnist5k-classifier-coreml@champion").predict(images)
    finally:
        mlflow.set_tracking_uri(None)
    executed = runtime.load(work / DEFAULT_OUTPUT).predict(images)
    assert answers["classLabel"].tolist() == executed.labels


def test_a_package_under_another_name_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert source.EQUIVALENTS["tensorflow"] == "tensorflow-cpu"  # of the container, where the other is not installed
    monkeypatch.setitem(source.EQUIVALENTS, "not-installed", "tensorflow")
    found = source.versions(("not-installed", "nor-this"))
    assert found == {"python": platform.python_version(), "not-installed": version("tensorflow")}
