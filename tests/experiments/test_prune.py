"""Model files that nothing needs are removed; versions, promotions, unfinished sweeps, runs and reports stay."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from experiments import datasets
from experiments.config import ModelSize, RunConfig, RunResult
from experiments.tracking import Tracker, dataset_facts, environment, run_start
from tests.support.commands import Command, Outcome, invoke
from tests.support.components import require
from tests.support.servers import MlflowServer
from tests.support.stores import Promoted, Swept

DIGEST = "0" * 64


class Store:
    """A store with runs that kept a model, which are not trained: prune looks at records and files alone."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri, self.folder = uri, folder
        self.tracker, self.client = Tracker(uri), MlflowClient(uri, uri)
        self.experiment_id = self.tracker.experiment("digits")
        self.dataset = datasets.load("digits")

    def run(self, *, parent: str | None = None, status: str = "FINISHED", register: bool = False) -> str:
        """A run with a model; returns the model's id."""
        config = RunConfig("pocket", "digits", filters=8, dropout=0.1)
        where = environment(1)
        study = {"study": "s", "trial_number": 0} if parent else {}
        facts = {"dataset": self.dataset, "environment": where, "parent": parent, **study}
        run_id = self.tracker.writer.start_run(run_start(self.experiment_id, "pocket", config, **facts))
        file = self.folder / "model.keras"
        file.write_bytes(os.urandom(5_000))
        size = ModelSize(10, 20, 30)
        self.tracker.writer.log_size(run_id, size)
        result = RunResult(
            epochs=(),
            best_epoch=1,
            best_val_accuracy=0.9,
            best_val_loss=0.1,
            size=size,
            keras_bytes=5_000,
            keras_sha256=DIGEST,
            weights_sha256=DIGEST,
            latency_ms=1.0,
            images_per_second=1.0,
            keras_file=file,
            input_shape=(28, 28, 1),
            num_classes=10,
            val_probabilities=np.zeros((1, 10), np.float32),
        )
        model = self.tracker.writer.finish(run_id, result, keep=True)
        assert model
        if register:
            self.tracker.registry.register("digits-classifier", model)
        if status != "FINISHED":
            self.client.update_run(run_id, status=status)
        return model.model_id

    def parent(self, status: str, outcome: str | None = None) -> str:
        run_id = self.tracker.parents.start(
            self.experiment_id, f"s-{status}", {}, dataset=dataset_facts(self.dataset, "digits")
        )
        if status != "RUNNING":
            self.tracker.writer.end(run_id, status, outcome=outcome)
        return run_id

    def models(self) -> dict[str, LoggedModel]:
        return {model.model_id: model for model in self.client.search_logged_models([self.experiment_id])}

    def files(self, model_id: str) -> list[str]:
        return [entry.path for entry in self.client.list_logged_model_artifacts(model_id)]


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Store]:
    """A server that keeps the artifacts where no client can reach them but through it."""
    with MlflowServer(tmp_path) as server:
        yield Store(server.uri, tmp_path)


def prune(store: Store, command: Command, *arguments: object) -> dict:
    found: Outcome = command("experiments.prune", "--tracking-uri", store.uri, "--json", *arguments)
    assert found.code == 0, found.err
    return found.json


def test_only_what_nothing_needs_goes(local: Store, command: Command) -> None:
    registered = local.run(register=True)
    running = local.run(status="RUNNING")
    of_running = local.run(parent=local.parent("RUNNING"))
    of_interrupted = local.run(parent=local.parent("KILLED", "interrupted"))
    of_failed = local.run(parent=local.parent("FAILED"))
    of_finished = local.run(parent=local.parent("FINISHED"))
    alone = local.run()
    by_hand = local.client.create_run(local.experiment_id).info.run_id
    foreign = local.client.create_logged_model(local.experiment_id, "mine", by_hand).model_id
    kept = {registered, running, of_running, of_interrupted, of_failed, foreign}
    metrics = {run.info.run_id: run.data.metrics for run in local.client.search_runs([local.experiment_id])}

    dry = prune(local, command, "--dry-run")
    assert {model["model_id"] for model in dry["removed"]} == {of_finished, alone}
    assert {model["model_id"] for model in dry["kept"]} == kept
    assert dry["bytes_freed"] > 10_000
    assert local.models().keys() == kept | {of_finished, alone}
    assert "Would remove 2 models" in command("experiments.prune", "--tracking-uri", local.uri, "--dry-run").out

    folder = local.folder / "mlruns"
    root = Path(local.models()[alone].artifact_location.removeprefix("file://"))
    before = sum(file.stat().st_size for file in root.parents[1].rglob("*") if file.is_file())
    done = prune(local, command)
    after = sum(file.stat().st_size for file in root.parents[1].rglob("*") if file.is_file())
    assert before - after == done["bytes_freed"] == dry["bytes_freed"]
    assert not folder.exists() or not root.exists()
    assert local.models().keys() == kept
    assert "data" in local.files(registered)
    assert {run.info.run_id: run.data.metrics for run in local.client.search_runs([local.experiment_id])} == metrics
    again = prune(local, command)
    assert (again["removed"], again["bytes_freed"]) == ([], 0)


def test_models_of_a_deleted_sweep_go(local: Store, command: Command) -> None:
    parent = local.parent("KILLED", "interrupted")
    model_id = local.run(parent=parent)
    assert prune(local, command)["removed"] == []
    local.client.delete_run(parent)
    assert [model["model_id"] for model in prune(local, command)["removed"]] == [model_id]


def test_experiments_are_told_apart(local: Store, command: Command) -> None:
    local.run()
    local.tracker.experiment("empty")
    assert prune(local, command, "--experiment", "empty", "--dry-run")["removed"] == []
    assert len(prune(local, command, "--experiment", "digits", "--dry-run")["removed"]) == 1
    found = command("experiments.prune", "--tracking-uri", local.uri, "--experiment", "nope")
    assert found.code == 2
    assert "Unknown experiment 'nope'" in found.error


def test_reports_of_refused_promotions_stay_with_the_run(local: Store, command: Command) -> None:
    model_id = local.run()
    model = local.models()[model_id]
    report = local.folder / "report" / "refused" / "20261124T100000.000000Z"
    report.mkdir(parents=True)
    (report / "promotion.json").write_text('{"decision": "refused"}')
    local.client.log_model_artifacts(model_id, str(local.folder / "report"))
    assert "refused" in local.files(model_id)
    assert len(prune(local, command)["removed"]) == 1
    place = f"refused/{report.name}/promotion.json"
    found = local.client.download_artifacts(str(model.source_run_id), place, str(local.folder))
    assert Path(found).read_text() == '{"decision": "refused"}'


def test_a_removal_that_fails_is_gone_on_with(local: Store, command: Command) -> None:
    """A file that cannot be removed: the model is no kept one any more, and the next removal ends what was begun."""
    require(shutil.which("chattr"), install="apt-get install e2fsprogs")
    model_id, other = local.run(), local.run()
    model = local.models()[model_id]
    data = Path(model.artifact_location.removeprefix("file://")) / "data"
    subprocess.run(["chattr", "+i", str(data / "model.keras")], check=False, stderr=subprocess.DEVNULL)
    removable = os.access(data, os.W_OK) and not _is_immutable(data / "model.keras")
    require(not removable, install="nothing: --basetemp on a file system with immutable files, as ext4")
    try:
        found = command("experiments.prune", "--tracking-uri", local.uri, "--json")
        assert found.code == 1
        assert [one["model_id"] for one in found.json["failed"]] == [model_id]
        assert [one["model_id"] for one in found.json["removed"]] == [other]
        assert model_id in found.err
        assert local.tracker.models.kept_model(str(model.source_run_id)) is None
    finally:
        subprocess.run(["chattr", "-i", str(data / "model.keras")], check=True)
    assert [one["model_id"] for one in prune(local, command)["removed"]] == [model_id]
    assert not data.exists()
    assert local.models() == {}


def _is_immutable(file: Path) -> bool:
    try:
        with file.open("ab"):
            return False
    except PermissionError:
        return True


@pytest.mark.slow
def test_behind_a_server(served: Store, command: Command) -> None:
    registered, alone = served.run(register=True), served.run()
    files = sorted((served.folder / "files").rglob("model.keras"))
    assert len(files) == 2
    done = prune(served, command)
    assert [model["model_id"] for model in done["removed"]] == [alone]
    assert done["bytes_freed"] > 5_000
    (left,) = (served.folder / "files").rglob("model.keras")
    assert registered in str(left)
    assert served.models().keys() == {registered}
    assert prune(served, command)["removed"] == []


def test_a_sweeps_and_a_promotions_models_stay(swept: Swept, promoted: Promoted, command: Command) -> None:
    for folder in (swept.folder, promoted.folder):
        found = command("experiments.prune", "--dry-run", "--json", cwd=folder)
        assert found.json["removed"] == []
        assert len(found.json["kept"]) == (3 if folder == swept.folder else 4)


def test_a_promoted_model_stays_without_its_version(promoted: Promoted, tmp_path: Path) -> None:
    """The version of a promoted model is deleted by hand: its promotion still refers to the run."""
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(promoted.folder / name, tmp_path / name)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client.delete_model_version("mnist5k-classifier", "1")
    client.delete_model_version("mnist5k-classifier", "2")
    client.delete_model_version("mnist5k-classifier", "3")
    found = invoke("experiments.prune", "--dry-run", "--json", cwd=tmp_path).json
    reasons = sorted(model["reason"] for model in found["kept"])
    assert reasons == ["a promotion was made of it", "version 1 of mnist5k-classifier-coreml"]
    assert len(found["removed"]) == 2
