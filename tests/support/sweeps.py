"""What tests of sweeps share: starting one, and looking at what it left."""

from __future__ import annotations

import functools
import json
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import optuna
import sqlalchemy
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from experiments.databases import sqlite_path
from search.study.ranking import Scored, front
from search.study.results import DUPLICATE_OF, RESAMPLED, outcome, values_by_epoch
from tests.support.commands import environment
from tests.support.servers import AnyProcess
from tests.support.warm import Program

PUBLISHED = ["--architecture", "chollet", "--architecture", "malireddi"]
SMALL = ["--trials", "3", "--epochs", "3", "--filters", "4,8", "--batch-size", "64", "--keep", "2", "--pruner", "none"]
SWEEP = [*SMALL, *PUBLISHED]
NO_FIGURES = ["--figures", "off"]
TINY = ["--epochs", "2", "--filters", "4", "--batch-size", "64", "--augment", "off", "--pruner", "none", *NO_FIGURES]
DIGITS = ["--dataset", "digits", "--experiment", "mnist5k"]  # a third of the images, and runs where those are


def study_of(folder: Path, name: str) -> optuna.Study:
    return load_study(f"sqlite:///{folder / 'optuna.db'}", name)


@functools.cache
def load_study(storage: str, name: str) -> optuna.Study:
    """A study to look at, from beside the sweep that makes its database; raises until it has."""
    unpooled = {"poolclass": sqlalchemy.NullPool}  # no connection is held, or broken when the database is killed
    with sqlalchemy.create_engine(storage, **unpooled).connect() as database:
        # Optuna would write down the version, which is the last thing that is made.
        assert database.scalar(sqlalchemy.text("select count(*) from alembic_version"))
    return optuna.load_study(study_name=name, storage=RDBStorage(storage, engine_kwargs=unpooled))


def has_metrics(folder: Path) -> bool:
    """Whether a run in a folder has logged something. MLflow's client would make the database itself."""
    with closing(sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True)) as database:
        return database.execute("select count(*) from metrics").fetchone()[0] > 0


def experiment_id(client: MlflowClient, name: str = "mnist5k") -> str:
    experiment = client.get_experiment_by_name(name)
    assert experiment, f"no experiment {name}"
    return experiment.experiment_id


def children_of(folder: Path, name: str, experiment: str = "mnist5k") -> list[Run]:
    """The runs of a study's trials, by number."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs(
        [experiment_id(client, experiment)], f"tags.study = '{name}' and tags.trial_number != ''"
    )
    return sorted(found, key=lambda run: int(run.data.tags["trial_number"]))


def parents_of(folder: Path, name: str) -> list[Run]:
    """The runs of a study's sweep: one, unless something is wrong."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return client.search_runs([experiment_id(client)], f"tags.study = '{name}' and tags.sweep = 'parent'")


def metric_points(uri: str, runs: Iterable[Run]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Steps and values, as they came, by a run's id and the metric's name; of a file by one look at its table."""
    if path := sqlite_path(uri):
        with closing(sqlite3.connect(path)) as database:
            rows = database.execute(
                "select run_uuid, key, step, value from metrics order by timestamp, step"
            ).fetchall()
    else:
        client = MlflowClient(uri, uri)
        rows = [
            (run.info.run_id, metric, point.step, point.value)
            for run in runs
            for metric in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, metric)
        ]
    found = defaultdict[tuple[str, str], list[tuple[int, float]]](list)
    for run_id, metric, step, value in rows:
        found[run_id, metric].append((step, value))
    return found


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
        steps = sorted(point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy"))
        assert steps == list(range(1, epochs + 1))
        assert trial.value == run.data.metrics["best_val_accuracy"]
        assert trial.params["architecture"] == run.data.params["architecture"]
        assert list(trial.intermediate_values) == steps


def assert_nothing_lost(
    folder: Path,
    name: str,
    trials: int,
    epochs: int,
    *,
    storage: str | None = None,
    tracking_uri: str | None = None,
    experiment: str = "mnist5k",
) -> None:
    """Whatever happened to the sweeps of a study: its trials are those asked for, and MLflow holds each of them once.

    One child run a trial, named by the trial, ended as the trial did, none left running; each epoch once, without
    holes, with the values that the study holds; each final metric once; one parent, finished; the best registered and
    downloadable, and no model kept beside the best.
    """
    study = load_study(storage, name) if storage else study_of(folder, name)
    searched = [trial for trial in study.trials if "replicate_of" not in trial.user_attrs]
    assert len(searched) == trials
    assert [trial.number for trial in study.trials] == list(range(len(study.trials)))
    assert all(trial.state.is_finished() for trial in study.trials), [trial.state for trial in study.trials]
    trained = [one for one in study.trials if one.state == TrialState.COMPLETE and DUPLICATE_OF not in one.user_attrs]
    assert all(RESAMPLED in one.system_attrs for one in trained)

    uri = tracking_uri or f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    held = [experiment_id(client, experiment)]
    (parent,) = client.search_runs(held, f"tags.study = '{name}' and tags.sweep = 'parent'")
    assert (parent.info.status, parent.data.tags.get("outcome")) == ("FINISHED", None)
    found = client.search_runs(held, f"tags.study = '{name}' and tags.trial_number != ''", max_results=5_000)
    runs = {int(run.data.tags["trial_number"]): run for run in found}
    assert len(found) == len(runs) == len(study.trials)
    points = metric_points(uri, found)
    statuses = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
    for trial in study.trials:
        run = runs[trial.number]
        assert trial.user_attrs["run_id"] == run.info.run_id
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == statuses[trial.state]
        assert run.data.params["architecture"] == trial.params["architecture"]
        reason = outcome(trial)
        assert run.data.tags.get("outcome") == (reason if reason in ("pruned", "infeasible") else None)
        if trial.state == TrialState.FAIL:
            continue
        for metric in ("loss", "accuracy", "val_loss", "val_accuracy", "epoch_seconds"):
            steps = [step for step, _ in points[run.info.run_id, metric]]
            assert steps == list(range(1, len(steps) + 1)), (trial.number, metric)
        course = [value for _, value in points[run.info.run_id, "val_accuracy"]]
        if values := values_by_epoch(trial):
            assert course == [*values]
        once = ["coreml_bytes", "parameters", "macs"]
        if trial.state == TrialState.COMPLETE:
            assert len(course) == epochs
            assert trial.values[0] == max(course) == run.data.metrics["best_val_accuracy"]
            once += ["best_epoch", "best_val_accuracy", "host_latency_ms", "keras_bytes"]
        for metric in once:
            assert len(points[run.info.run_id, metric]) == 1, (trial.number, metric)

    recorded = json.loads(study.user_attrs["config"])
    registered = recorded["register_as"] or f"{recorded['dataset']}-classifier"
    versions = client.search_model_versions(f"name = '{registered}'")
    candidate = client.get_model_version_by_alias(registered, "candidate")
    assert candidate.run_id in {run.info.run_id for run in found}
    ready = [model for model in client.search_logged_models(held) if str(model.status) == "READY"]
    held_models = {model.source_run_id for model in ready if model.source_run_id}
    assert {version.run_id for version in versions} <= held_models
    others = {"replicate_of", "duplicate_of"}
    complete = [one for one in study.trials if one.state == TrialState.COMPLETE and not others & one.user_attrs.keys()]
    on_front = front(Scored(one.number, one.values[0], one.user_attrs["coreml_bytes"]) for one in complete)
    assert len(held_models) <= recorded["keep"] + len(on_front)
    assert {runs[one.number].info.run_id for one in on_front} <= {version.run_id for version in versions}
    for run_id in held_models:  # kept models are evaluated, once
        assert len(points[run_id, "expected_calibration_error"]) == 1
        assert "evaluation/evaluation.json" in {file.path for file in client.list_artifacts(run_id, "evaluation")}
    assert not list((folder / "mlflow-outbox").glob("*/*.jsonl"))


def start(folder: Path, *arguments: object, cold: bool = False) -> AnyProcess:
    """Start a sweep in a folder; a cold one imports everything anew."""
    if not cold:
        return Program("search.sweep", *arguments, cwd=folder)
    return subprocess.Popen(
        [sys.executable, "-m", "search.sweep", *map(str, arguments)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_the_middle_of_a_trial(folder: Path, name: str, number: int) -> Callable[[], bool]:
    """A condition: the trial of that number has reported an epoch and is still running."""

    def holds() -> bool:
        trials = study_of(folder, name).trials
        trial = trials[number] if len(trials) > number else None
        return bool(trial and trial.state == TrialState.RUNNING and trial.intermediate_values)

    return holds
