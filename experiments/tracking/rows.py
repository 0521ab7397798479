"""Read many runs directly from MLflow's database: its client makes an object of each parameter, metric and tag."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from experiments.tracking.records import RunRecord, named_today

if TYPE_CHECKING:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import ColumnElement

RUNS_AT_ONCE = 1_000  # run ids in one query

Points = dict[tuple[str, str], list[tuple[int, float]]]  # (step, value) by run id and metric


def read_runs(database: SqlAlchemyStore, experiment_id: str, text: str) -> list[RunRecord]:
    """Return all runs of an experiment that meet a condition, the latest first, without deleted ones.

    Args:
        text: in MLflow's search language, on parameters, tags, statuses and ids.
    """
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun, SqlTag
    from mlflow.utils.search_utils import SearchUtils
    from sqlalchemy import select

    wanted: Any = select(SqlRun.run_uuid, SqlRun.name, SqlRun.status).where(
        SqlRun.experiment_id == int(experiment_id),
        SqlRun.lifecycle_stage == "active",
        *(_condition(**term) for term in SearchUtils.parse_search_filter(text)),
    )
    params, tags, metrics = (defaultdict[str, dict[str, Any]](dict) for _ in range(3))
    with database.ManagedSessionMaker() as session:
        runs = session.execute(wanted.order_by(SqlRun.start_time.desc(), SqlRun.run_uuid)).all()
        for ids in _parts([run_id for run_id, _, _ in runs]):
            for table, found in ((SqlParam, params), (SqlTag, tags)):
                held = select(table.run_uuid, table.key, table.value).where(table.run_uuid.in_(ids))
                for run_id, key, value in session.execute(held):
                    found[run_id][key] = value
            last = SqlLatestMetric
            held = select(last.run_uuid, last.key, last.value, last.is_nan).where(last.run_uuid.in_(ids))
            for run_id, key, value, is_nan in session.execute(held):
                metrics[run_id][key] = math.nan if is_nan else value
    return [
        RunRecord(
            run_id,
            name or tags[run_id]["mlflow.runName"],
            status,
            params[run_id],
            named_today(metrics[run_id]),
            tags[run_id],
        )
        for run_id, name, status in runs
    ]


def read_points(database: SqlAlchemyStore, run_ids: Sequence[str], metrics: Iterable[str]) -> Points:
    """Return all recorded values of some metrics of runs, with their steps, in the order of recording."""
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import select

    points: Points = {(run_id, metric): [] for run_id in run_ids for metric in metrics}
    columns = SqlMetric.run_uuid, SqlMetric.key, SqlMetric.step, SqlMetric.value, SqlMetric.is_nan
    with database.ManagedSessionMaker() as session:
        for ids in _parts(run_ids):
            held: Any = select(*columns).where(SqlMetric.run_uuid.in_(ids), SqlMetric.key.in_(metrics))
            for run_id, metric, step, value, is_nan in session.execute(
                held.order_by(SqlMetric.timestamp, SqlMetric.step, SqlMetric.value)
            ):
                points[run_id, metric].append((step, math.nan if is_nan else value))
    return points


def _parts(run_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (run_ids[start : start + RUNS_AT_ONCE] for start in range(0, len(run_ids), RUNS_AT_ONCE))


def _condition(type: str, key: str, comparator: str, value: Any) -> ColumnElement[bool]:
    """Return a term of MLflow's search language, parsed by MLflow, as a condition on the table of runs."""
    from mlflow.store.tracking.dbmodels.models import SqlParam, SqlRun, SqlTag
    from sqlalchemy import select

    if type == "attribute":
        column = getattr(SqlRun, SqlRun.get_attribute_name(key))
        return column.in_(value) if comparator == "IN" else column == value
    table: Any = {"parameter": SqlParam, "tag": SqlTag}[type]
    held = select(table.run_uuid).where(table.run_uuid == SqlRun.run_uuid, table.key == key)
    if comparator == "IS NULL":
        return ~held.exists()
    return held.where({"=": table.value == value, "!=": table.value != value}[comparator]).exists()
