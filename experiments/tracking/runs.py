"""Read runs: one, all of a study, and what each has recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.errors import UsageError
from architectures.scratch import scratch_folder
from experiments.config import EpochMetrics
from experiments.objective import FIGURES, OBJECTIVES, Objective
from experiments.tracking.guard import INVALID, MISSING, TrackingError, store_errors
from experiments.tracking.records import RunRecord, run_record
from experiments.tracking.rows import Points, read_points
from experiments.tracking.selections import Selection, check_exists
from experiments.tracking.store import AT_ONCE, PAGE, Store, quoted, shown_place

if TYPE_CHECKING:
    from mlflow.entities import Run

RUN_ID_PREFIX = re.compile(r"[0-9a-f]{1,31}")  # of a run's id
LISTED = 5  # runs that are listed if a name is ambiguous
AHEAD = 200  # runs whose metrics are read at once


@dataclass
class Courses:
    """Metrics of runs, read ahead for the runs that are likely to be requested next."""

    store: Store
    course: Callable[[str, str], list[tuple[int, float]]]
    run_ids: tuple[str, ...]
    metrics: tuple[str, ...]
    _read: Points = field(default_factory=dict)

    def __call__(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return each recorded value of a run's metric, with its epoch."""
        if (run_id, metric) not in self._read:
            database = self.store.database
            if database is None or run_id not in self.run_ids or metric not in self.metrics:
                return self.course(run_id, metric)
            place = self.run_ids.index(run_id)
            with store_errors(self.store.uri):
                self._read = read_points(database, self.run_ids[place : place + AHEAD], self.metrics)
        return self._read[run_id, metric]


class Runs:
    """Reads the runs of one store."""

    def __init__(self, store: Store) -> None:
        self._store, self._client = store, store.client

    def get(self, name: str) -> RunRecord:
        """Read a run by its id, a unique prefix of it, or its name.

        Raises:
            UsageError: if no run matches, or several do.
            ExperimentDeleted: for the prefix or the name of a run whose experiment was deleted.
        """
        try:
            return run_record(self._client.get_run(name))
        except TrackingError as error:
            if error.code not in {MISSING, INVALID}:
                raise
        found = self._named(name)
        for run in () if found else self._named(name, in_deleted=True):
            self._store.live_experiment(run.info.run_id)
        if len(found) == 1:
            return run_record(found[0])
        if not found:
            raise UsageError(
                f"Unknown run {name!r} in {self._store.uri}: give an id, the beginning of one, or a run's name."
            )
        listed = [
            f"{run.info.run_id} ({run.info.run_name}{f' of {study}' if (study := run.data.tags.get('study')) else ''})"
            for run in found[:LISTED]
        ]
        more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
        raise UsageError(f"{name!r} is not one run but several: {', '.join(listed)}{more}. Give the id of one.")

    def _named(self, name: str, *, in_deleted: bool = False) -> list[Run]:
        """Return runs with this name or id prefix, the latest first, without deleted runs.

        With `in_deleted`, only runs of deleted experiments are returned.
        """
        from mlflow.entities import ViewType

        view, kind = (ViewType.ALL, ViewType.DELETED_ONLY) if in_deleted else (ViewType.ACTIVE_ONLY,) * 2
        terms = [f"attributes.run_name = {quoted(name)}"]
        if RUN_ID_PREFIX.fullmatch(name):
            terms.append(f"attributes.run_id LIKE '{name}%'")
        experiments = [each.experiment_id for each in self._client.search_experiments(view_type=kind)]
        found = {
            run.info.run_id: run
            for term in terms
            for run in (self._client.search_runs(experiments, term, view, max_results=PAGE) if experiments else ())
        }
        return sorted(found.values(), key=lambda run: -run.info.start_time)

    def usual_experiment(self, name: str, study: str | None = None) -> str:
        """Return the experiment of a study, else the one with this name, else that of the latest training run."""
        experiments = {each.experiment_id: each.name for each in self._client.search_experiments()}
        if not experiments or (not study and name in experiments.values()):
            return name
        latest = self._client.search_runs(
            list(experiments),
            f"tags.study = {quoted(study)}" if study else "params.architecture != ''",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        if study and not latest:
            return self.usual_experiment(name)
        return experiments[latest[0].info.experiment_id] if latest else name

    def objectives_of(self, experiment: str, study: str | None) -> tuple[Objective, tuple[str, ...]]:
        """Return the objective that ranks a study's runs, and the other figures of their front.

        These are accuracy and bytes if no study is given, or if it did not record them.
        """
        experiments = [each.experiment_id for each in self._client.search_experiments() if each.name == experiment]
        named: list[str] = []
        for key in ("objectives", "objective") if study and experiments else ():  # of its sweep, or of its trials
            terms = f"tags.study = {quoted(study or '')} and params.{key} != ''"
            for run in self._client.search_runs(experiments, terms, max_results=1):
                named = named or [name for name in re.findall(r"\w+", run.data.params[key]) if name in FIGURES]
        objective: Objective = next((one for name in named for one in OBJECTIVES if one == name), "val_accuracy")
        return objective, tuple(name for name in named if name != objective) or ("coreml_bytes",)

    def epochs(self, run_id: str) -> tuple[EpochMetrics, ...]:
        """Return the recorded metrics of each epoch that has all of them."""
        by_epoch: dict[int, dict[str, float]] = {}
        keys = [field.name for field in fields(EpochMetrics) if field.name != "epoch"]
        for key in keys:
            for point in self._client.get_metric_history(run_id, key):
                by_epoch.setdefault(point.step, {})[key] = point.value
        return tuple(
            EpochMetrics(epoch=epoch, **values)
            for epoch, values in sorted(by_epoch.items())
            if values.keys() | {"val_balanced_accuracy"} == set(keys)  # which older records lack
        )

    def check_not_deleted(self, run_id: str) -> None:
        """Raise ExperimentDeleted if the experiment of a run was deleted."""
        self._store.live_experiment(run_id)

    def children(self, parent_run_id: str, run_ids: Sequence[str] | None = None) -> list[RunRecord]:
        """Return the runs of a sweep's trials, all or those with these ids; raise ExperimentDeleted."""
        experiment_id = self._store.live_experiment(parent_run_id)
        terms = [f"tags.`mlflow.parentRunId` = {quoted(parent_run_id)}", "tags.trial_number != ''"]
        some: list[list[str]] = [[]]
        if run_ids is not None:
            parts = (run_ids[start : start + AT_ONCE] for start in range(0, len(run_ids), AT_ONCE))
            some = [[f"attributes.run_id IN ({', '.join(map(quoted, part))})"] for part in parts]
        return [run for each in some for run in self._store.records(experiment_id, terms + each)]

    def orphans(self, parent_run_id: str, study: str) -> list[RunRecord]:
        """Return the runs of a study's trials without a parent, in the experiment of the sweep's run."""
        experiment_id = self._client.get_run(parent_run_id).info.experiment_id
        terms = [f"tags.study = {quoted(study)}", "tags.trial_number != ''", "tags.`mlflow.parentRunId` IS NULL"]
        runs = self._store.records(experiment_id, terms)
        return [run for run in runs if run.tags["trial_number"].isdecimal()]

    def running(self, study: str | None = None) -> list[RunRecord]:
        """Return the RUNNING runs of studies in all experiments, or only those of `study`."""
        terms = ["attributes.status = 'RUNNING'", f"tags.study = {quoted(study)}" if study else "tags.study != ''"]
        return [
            run
            for experiment in self._client.search_experiments()
            for run in self._store.records(experiment.experiment_id, terms)
        ]

    def course(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return each recorded value of a run's metric, with its epoch."""
        return [(point.step, point.value) for point in self._client.get_metric_history(run_id, metric)]

    def courses(self, run_ids: Sequence[str], metrics: Sequence[str]) -> Courses:
        """As `course`, for many runs; from a database, many are read at once."""
        return Courses(self._store, self.course, tuple(run_ids), tuple(metrics))

    def of_experiment(self, experiment: str, *, study: str | None = None) -> list[RunRecord]:
        """Return the training runs of an experiment, the latest first.

        Raises:
            UsageError: for an unknown experiment, or a study that is not in it.
        """
        selection = Selection(experiment, study)
        experiment_id = self._store.experiment_id(experiment)
        terms = ["params.architecture != ''"] + ([f"tags.study = {quoted(study)}"] if study else [])
        runs = self._store.records(experiment_id, terms)
        if not runs:
            check_exists(self._store, experiment_id, selection)
        return runs

    def of_trial(self, parent: str, trial_number: int) -> list[RunRecord]:
        """Return a trial's runs under a parent, the latest attempt first: one, unless a sweep was killed or stopped."""
        parent_run = self._client.get_run(parent)
        found = self._client.search_runs(
            [parent_run.info.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent}' and tags.trial_number = '{trial_number}'",
        )
        return sorted(map(run_record, found), key=lambda run: -run.attempt)

    def last_epoch(self, run_id: str) -> int:
        """Return the last epoch that a run has recorded completely; 0 before the first."""
        # `epoch_seconds` is the last key of an epoch's batch, which SQL stores write in one transaction.
        return max((metric.step for metric in self._client.get_metric_history(run_id, "epoch_seconds")), default=0)

    def text(self, run_id: str, name: str) -> str | None:
        """Return a text artifact of a run; None if it does not exist."""
        if all(entry.path != name for entry in self._client.list_artifacts(run_id, name.rpartition("/")[0] or None)):
            return None
        with scratch_folder() as folder:
            return Path(self._client.download_artifacts(run_id, name, str(folder))).read_text(encoding="utf-8")

    def place_in_run(self, run_id: str, name: str) -> str:
        """Return the place of a run's artifact: a path on this machine, or a URI."""
        return shown_place(str(self._client.get_run(run_id).info.artifact_uri), name)
