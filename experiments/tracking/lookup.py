"""Reading runs: one, all of a study, the best of ten thousand."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from architectures.display import say
from architectures.errors import ProjectError, UsageError
from experiments.config import EpochMetrics
from experiments.tracking.records import RunRecord, run_record
from experiments.tracking.store import Store, one_line, quoted

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

PAGE = 1_000  # runs that are read at once where all are wanted
PREFIX = re.compile(r"[0-9a-f]{1,31}")  # of a run's id
LISTED = 5  # runs that are named where several are meant
AT_ONCE = 50  # ids in one search, whose text a server takes in its URL
AHEAD = 200  # runs whose metrics are read at once
MOST_POINTS = 10**9  # of a metric in one answer: all
SPARE = 5  # runs read beside those asked for: replicates and answered ones are left out here, not by MLflow


@dataclass(frozen=True)
class Selection:
    """Which training runs of an experiment; a part that is None or empty selects nothing away."""

    experiment: str
    study: str | None = None
    architectures: tuple[str, ...] = ()
    dataset: str | None = None  # as runs record it


@dataclass
class Courses:
    """Metrics of runs, read for the runs that are likely to be asked for next, too."""

    uri: str
    course: Callable[[str, str], list[tuple[int, float]]]
    bulk: Callable[[list[str], str, int], Iterable[Metric]] | None
    run_ids: tuple[str, ...]
    metrics: tuple[str, ...]
    _read: dict[tuple[str, str], list[tuple[int, float]]] = field(default_factory=dict)

    def __call__(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Each value of a metric that a run has recorded, with its epoch."""
        if (run_id, metric) not in self._read:
            if self.bulk is None or run_id not in self.run_ids or metric not in self.metrics:
                return self.course(run_id, metric)
            place = self.run_ids.index(run_id)
            self._read_ahead(self.bulk, self.run_ids[place : place + AHEAD])
        return self._read[run_id, metric]

    def _read_ahead(self, bulk: Callable[[list[str], str, int], Iterable[Metric]], run_ids: tuple[str, ...]) -> None:
        self._read = {(run_id, metric): [] for run_id in run_ids for metric in self.metrics}
        for metric in self.metrics:
            with one_line(self.uri):
                for point in bulk(list(run_ids), metric, MOST_POINTS):
                    self._read[str(point.run_id), metric].append((point.step, point.value))


class Lookup(Store):
    """Runs of one MLflow store, read."""

    def run(self, name: str) -> RunRecord:
        """Read a run by its id, a prefix of it that no other run's has, or its name.

        Raises:
            UsageError: where it is none, or several.
            ExperimentDeleted: for the prefix or the name of a run that went with its experiment.
        """
        from mlflow.exceptions import MlflowException

        with one_line(self.uri):
            try:
                return run_record(self._client.get_run(name))
            except MlflowException as error:
                if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    raise
            found = self._named(name)
            for run in () if found else self._named(name, in_deleted=True):
                self._live_experiment(run.info.run_id)
        if len(found) == 1:
            return run_record(found[0])
        if not found:
            raise UsageError(f"Unknown run {name!r} in {self.uri}: give an id, the beginning of one, or a run's name.")
        listed = [
            f"{run.info.run_id} ({run.info.run_name}{f' of {study}' if (study := run.data.tags.get('study')) else ''})"
            for run in found[:LISTED]
        ]
        more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
        raise UsageError(f"{name!r} is not one run but several: {', '.join(listed)}{more}. Give the id of one.")

    def _named(self, name: str, *, in_deleted: bool = False) -> list[Run]:
        """Runs of this name, or whose ids begin so, the latest first; runs that were deleted are left out.

        Those `in_deleted` experiments are found on request, and no others then.
        """
        from mlflow.entities import ViewType

        view, kind = (ViewType.ALL, ViewType.DELETED_ONLY) if in_deleted else (ViewType.ACTIVE_ONLY,) * 2
        terms = [f"attributes.run_name = {quoted(name)}"]
        if PREFIX.fullmatch(name):
            terms.append(f"attributes.run_id LIKE '{name}%'")
        experiments = [each.experiment_id for each in self._client.search_experiments(view_type=kind)]
        found = {
            run.info.run_id: run
            for term in terms
            for run in (self._client.search_runs(experiments, term, view, max_results=PAGE) if experiments else ())
        }
        return sorted(found.values(), key=lambda run: -run.info.start_time)

    def usual_experiment(self, name: str, study: str | None = None) -> str:
        """The experiment of a study, else the one of this name, else that of the latest training run."""
        with one_line(self.uri):
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

    def epochs(self, run_id: str) -> tuple[EpochMetrics, ...]:
        """What a run has recorded of each epoch, those with all figures."""
        by_epoch: dict[int, dict[str, float]] = {}
        keys = [field.name for field in fields(EpochMetrics) if field.name != "epoch"]
        with one_line(self.uri):
            for key in keys:
                for point in self._client.get_metric_history(run_id, key):
                    by_epoch.setdefault(point.step, {})[key] = point.value
        return tuple(
            EpochMetrics(epoch=epoch, **values)
            for epoch, values in sorted(by_epoch.items())
            if values.keys() == set(keys)
        )

    def check_not_deleted(self, run_id: str) -> None:
        """Raise ExperimentDeleted where the experiment of a run was deleted."""
        with one_line(self.uri):
            self._live_experiment(run_id)

    def _live_experiment(self, run_id: str) -> str:
        """Id of the experiment of a run; raises ExperimentDeleted."""
        experiment_id = self._client.get_run(run_id).info.experiment_id
        self._check_not_deleted(self._client.get_experiment(experiment_id))
        return experiment_id

    def children(self, parent_run_id: str, run_ids: Sequence[str] | None = None) -> list[RunRecord]:
        """The runs of a sweep's trials, all or those of these ids; raises ExperimentDeleted."""
        with one_line(self.uri):
            experiment_id = self._live_experiment(parent_run_id)
            terms = [f"tags.`mlflow.parentRunId` = {quoted(parent_run_id)}", "tags.trial_number != ''"]
            some: list[list[str]] = [[]]
            if run_ids is not None:
                parts = (run_ids[start : start + AT_ONCE] for start in range(0, len(run_ids), AT_ONCE))
                some = [[f"attributes.run_id IN ({', '.join(map(quoted, part))})"] for part in parts]
            return [run_record(run) for each in some for run in self._pages(experiment_id, terms + each, page=PAGE)]

    def orphans(self, parent_run_id: str, study: str) -> list[RunRecord]:
        """Runs of a study's trials that name no parent, in the experiment of the sweep's."""
        with one_line(self.uri):
            experiment_id = self._client.get_run(parent_run_id).info.experiment_id
            terms = [f"tags.study = {quoted(study)}", "tags.trial_number != ''", "tags.`mlflow.parentRunId` IS NULL"]
            runs = [run_record(run) for run in self._pages(experiment_id, terms, page=PAGE)]
        return [run for run in runs if run.tags["trial_number"].isdecimal()]

    def running(self, study: str | None = None) -> list[RunRecord]:
        """Runs of sweeps that are RUNNING, in all experiments; `study`: only those of that name."""
        terms = ["attributes.status = 'RUNNING'", f"tags.study = {quoted(study)}" if study else "tags.study != ''"]
        with one_line(self.uri):
            return [
                run_record(run)
                for experiment in self._client.search_experiments()
                for run in self._pages(experiment.experiment_id, terms, page=PAGE)
            ]

    def course(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Each value of a metric that a run has recorded, with its epoch."""
        with one_line(self.uri):
            return [(point.step, point.value) for point in self._client.get_metric_history(run_id, metric)]

    def courses(self, run_ids: Sequence[str], metrics: Sequence[str]) -> Courses:
        """As `course` for many runs; a database is asked for many of them at once."""
        store = self._client._tracking_client.store
        bulk = getattr(store, "get_metric_history_bulk", None)  # a server has none
        return Courses(self.uri, self.course, bulk, tuple(run_ids), tuple(metrics))

    def runs(self, experiment: str, *, study: str | None = None) -> list[RunRecord]:
        """Training runs of an experiment, the latest first.

        Raises:
            UsageError: for an unknown experiment, or a study that it does not hold.
        """
        selection = Selection(experiment, study)
        with one_line(self.uri):
            experiment_id = self._experiment_id(experiment)
            terms = ["params.architecture != ''"] + ([f"tags.study = {quoted(study)}"] if study else [])
            runs = [run_record(run) for run in self._pages(experiment_id, terms, page=PAGE)]
            if not runs:
                self._check_exists(experiment_id, selection)
        return runs

    def finished_runs(self, selection: Selection, *, replicate_of: str | None = None) -> list[RunRecord]:
        """All finished runs of a selection, the latest first.

        Args:
            selection: which.
            replicate_of: only those that repeat the trial of this number; any trial where it is empty.

        Raises:
            UsageError: for an unknown experiment, or a study, architecture or data set that none of its runs has.
        """
        further = [f"tags.replicate_of = {quoted(replicate_of)}" if replicate_of else "tags.replicate_of != ''"]
        with one_line(self.uri):
            experiment_id = self._experiment_id(selection.experiment)
            runs = [
                run_record(run)
                for terms in _terms(selection)
                for run in self._pages(experiment_id, terms if replicate_of is None else terms + further, page=PAGE)
            ]
            if not runs and replicate_of is None:
                self._check_exists(experiment_id, selection)
        return runs

    def best_runs(self, selection: Selection, limit: int) -> list[RunRecord]:
        """The first `limit` runs of a selection by val_accuracy, then by bytes, then by age.

        Runs without both figures are left out, and those that repeat or answer another one. MLflow orders, and what is
        read does not grow with the number of runs.

        Raises:
            UsageError: as `finished_runs`.
        """
        self.update_statistics()
        with one_line(self.uri):
            experiment_id = self._experiment_id(selection.experiment)
            best = [run for terms in _terms(selection) for run in self._best(experiment_id, terms, limit)]
            if not best:
                self._check_exists(experiment_id, selection)
        return sorted(map(run_record, best), key=merit)[:limit]

    def _best(self, experiment_id: str, terms: list[str], limit: int) -> list[Run]:
        """The best by MLflow's order of accuracy; among those that share the last one's, the best by that of bytes.

        Two orders in one search, or a filter on a metric that is not the one ordered by, take SQLite seconds where
        nobody has run ANALYZE on it: in the database of a server, that is.
        """
        accuracy = "metrics.best_val_accuracy"
        found: list[Run] = []
        for run in self._pages(
            experiment_id, [*terms, f"{accuracy} >= 0"], page=limit + SPARE, order=f"{accuracy} DESC"
        ):
            if self.is_shown(run_record(run)):
                found.append(run)
            if len(found) == limit:
                break
        else:
            return found
        last = found[-1].data.metrics["best_val_accuracy"]
        above = [run for run in found if run.data.metrics["best_val_accuracy"] != last]
        for run in self._pages(
            experiment_id, [*terms, f"{accuracy} = {last!r}"], page=limit + SPARE, order="metrics.coreml_bytes ASC"
        ):
            if self.is_shown(run_record(run)):
                if len(above) >= limit and run.data.metrics["coreml_bytes"] > above[-1].data.metrics["coreml_bytes"]:
                    break  # those of one size are all read: age decides among them
                above.append(run)
        return above

    def trial_run(self, selection: Selection, study: str, number: str) -> RunRecord | None:
        """The run of a trial that was trained to its end, if the selection holds it."""
        of_trial = [f"tags.study = {quoted(study)}", f"tags.trial_number = {quoted(number)}"]
        with one_line(self.uri):
            experiment_id = self._experiment_id(selection.experiment)
            for terms in _terms(selection):
                for run in map(run_record, self._pages(experiment_id, terms + of_trial, page=SPARE)):
                    if self.is_shown(run):
                        return run
        return None

    def is_dominated(self, run: RunRecord, selection: Selection) -> bool:
        """Whether another run of the selection is at least as accurate and as small, and better in one."""
        accuracy, size = run.metrics["best_val_accuracy"], run.metrics["coreml_bytes"]
        with one_line(self.uri):
            experiment_id = self._experiment_id(selection.experiment)
            return any(
                self.is_shown(run_record(other))
                for above, below in ((">", "<="), (">=", "<"))
                for terms in _terms(selection)
                for other in self._pages(
                    experiment_id,
                    [
                        *terms,
                        f"metrics.best_val_accuracy {above} {accuracy!r}",
                        f"metrics.coreml_bytes {below} {size!r}",
                    ],
                    page=SPARE,
                )
            )

    def is_shown(self, run: RunRecord) -> bool:
        """Whether a run is an original one whose record can be read; one that cannot be is named, once."""
        if not is_original(run):
            return False
        try:
            return bool(run.config)
        except ProjectError as error:
            self.leave_out(run, str(error))
            return False

    def leave_out(self, run: RunRecord, reason: str) -> None:
        """Name a run that is left out, once, on stderr."""
        if run.run_id not in self._left_out:
            self._left_out.add(run.run_id)
            say(f"warning: left out: {reason}", file=sys.stderr)

    def _pages(self, experiment_id: str, terms: list[str], *, page: int, order: str | None = None) -> Iterator[Run]:
        """Runs that meet all terms, page after page."""
        token = None
        while True:
            found = self._client.search_runs(
                [experiment_id],
                " and ".join(terms),
                max_results=page,
                order_by=[order] if order else None,
                page_token=token,
            )
            yield from found
            token = found.token
            if not token:
                return

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            known = ", ".join(e.name for e in self._client.search_experiments()) or "none"
            raise UsageError(f"Unknown experiment {name!r} in {self.uri}. It holds: {known}.")
        self._check_not_deleted(found)
        return found.experiment_id

    def _check_exists(self, experiment_id: str, selection: Selection) -> None:
        """Raise UsageError for a study, architecture or data set that no run of the experiment has."""
        asked = [("study", "tags.study", selection.study), ("data set", "params.dataset", selection.dataset)]
        asked += [("architecture", "params.architecture", name) for name in selection.architectures]
        for what, key, value in asked:
            if value and not self._client.search_runs([experiment_id], f"{key} = {quoted(value)}", max_results=1):
                raise UsageError(f"Unknown {what} {value!r} in experiment {selection.experiment!r} of {self.uri}.")


def is_original(run: RunRecord) -> bool:
    """Whether a run was trained to its end for itself: it repeats or answers no other one."""
    return (
        run.status == "FINISHED"
        and all(math.isfinite(run.metrics.get(key, math.nan)) for key in ("best_val_accuracy", "coreml_bytes"))
        and not {"replicate_of", "duplicate_of"} & run.tags.keys()
    )


def merit(run: RunRecord) -> tuple[float, float, int]:
    """Sorts runs as a study ranks its trials: accuracy, then bytes, then the earlier."""
    number = run.tags.get("trial_number", "")
    return -run.metrics["best_val_accuracy"], run.metrics["coreml_bytes"], int(number) if number.isdecimal() else 0


def _terms(selection: Selection) -> list[list[str]]:
    """The selection in MLflow's search language, which has no `or`: one list of terms for each architecture."""
    common = ["attributes.status = 'FINISHED'"]
    if selection.study:
        common.append(f"tags.study = {quoted(selection.study)}")
    if selection.dataset:
        common.append(f"params.dataset = {quoted(selection.dataset)}")
    if not selection.architectures:
        return [common]
    return [[*common, f"params.architecture = {quoted(name)}"] for name in dict.fromkeys(selection.architectures)]
