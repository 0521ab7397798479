"""Runs and metrics read as rows of a database are those that MLflow's client reads."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from mlflow.entities import Metric
from sqlalchemy import event

from experiments.tracking import Tracker
from experiments.tracking.records import RunRecord, run_record
from experiments.tracking.rows import read_points
from experiments.tracking.store import PAGE, Store
from tests.support.stores import Swept

EXPERIMENT = "mnist5k"
TERMS = (
    ["attributes.status = 'FINISHED'"],
    ["params.architecture != ''", "tags.study != ''"],
    ["params.architecture = 'malireddi'", "attributes.status = 'FINISHED'"],
    ["tags.trial_number != ''", "tags.`mlflow.parentRunId` IS NULL"],
    ["tags.trial_number = '1'"],
    ["tags.study = 'no such study'"],
)


def by_client(store: Store, terms: list[str]) -> list[RunRecord]:
    return [run_record(run) for run in store.pages(store.experiment_id(EXPERIMENT), terms, page=PAGE)]


@pytest.mark.parametrize("terms", TERMS, ids=" and ".join)
def test_the_same_runs_in_the_same_order(swept: Swept, terms: list[str]) -> None:
    store = Store(swept.uri)
    assert store.records(store.experiment_id(EXPERIMENT), terms) == by_client(store, terms)


def test_a_run_from_before_the_latency_was_renamed(own_store: Path) -> None:
    store = Store(f"sqlite:///{own_store / 'mlflow.db'}")
    experiment_id = store.experiment_id(EXPERIMENT)
    older = store.client.create_run(experiment_id, tags={"study": "older"}).info.run_id
    store.client.log_metric(older, "latency_ms", 0.9)
    found = store.records(experiment_id, ["tags.study = 'older'"])
    assert found == by_client(store, ["tags.study = 'older'"])
    assert found[0].metrics == {"host_latency_ms": 0.9}


def test_a_thousand_runs_are_four_questions(swept: Swept) -> None:
    store = Store(swept.uri)
    experiment_id, asked = store.experiment_id(EXPERIMENT), []
    assert store.database

    def count(_c: object, _k: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(store.database.engine, "before_cursor_execute", count)
    try:
        assert store.records(experiment_id, ["tags.study != ''"])
    finally:
        event.remove(store.database.engine, "before_cursor_execute", count)
    assert sum(statement.startswith("SELECT") for statement in asked) == 4


def test_some_ids_a_deleted_run_and_a_figure_that_is_none(own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.tracking.rows.RUNS_AT_ONCE", 2)
    store = Store(f"sqlite:///{own_store / 'mlflow.db'}")
    experiment_id = store.experiment_id(EXPERIMENT)
    first, second, *rest = [run.run_id for run in by_client(store, ["tags.trial_number != ''"])]
    store.client.delete_run(second)
    store.client.log_batch(
        first, [Metric("strange", value, 0, step) for step, value in enumerate((math.inf, math.nan))]
    )
    store.client.set_tag(first, "mlflow.runName", "named again")
    found = store.records(experiment_id, [f"attributes.run_id IN ('{first}', '{second}', '{rest[0]}')"])
    assert {run.run_id for run in found} == {first, rest[0]}
    assert [str(run) for run in store.records(experiment_id, ["tags.study != ''"])] == [
        str(run)
        for run in by_client(store, ["tags.study != ''"])  # as text: nan equals nothing
    ]
    assert store.database
    metrics = ("strange", "val_accuracy", "none")
    points = read_points(store.database, [first, *rest], metrics)
    course = Tracker(store.uri).runs.course
    assert str(points) == str({(run, metric): course(run, metric) for run in (first, *rest) for metric in metrics})
