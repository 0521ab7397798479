"""Find the best runs of an experiment, even among ten thousand, and all finished ones."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from architectures.display import say
from architectures.errors import ProjectError, UsageError
from experiments.objective import MINIMIZED, Objective, final, score
from experiments.tracking.records import RunRecord, run_record
from experiments.tracking.store import Store, quoted

if TYPE_CHECKING:
    from mlflow.entities import Run

SPARE = 5  # additional runs to read, because replicates and duplicates are left out here, not by MLflow


@dataclass(frozen=True)
class Selection:
    """Which training runs of an experiment; a field that is None or empty is no filter."""

    experiment: str
    study: str | None = None
    architectures: tuple[str, ...] = ()
    dataset: str | None = None  # as runs record it
    objective: Objective = "val_accuracy"  # ranks them
    costs: tuple[str, ...] = ("coreml_bytes",)  # the other figures of their front

    @property
    def figure(self) -> str:
        """The metric that ranks them."""
        return final(self.objective)

    def place(self, run: RunRecord) -> tuple[float, ...]:
        """Return a run's figures of the front, lower is better; missing ones count as the worst."""
        names = (self.objective, *self.costs)
        return tuple(
            -score(name, run.metrics[final(name)]) if final(name) in run.metrics else math.inf for name in names
        )


class Selections:
    """The best and the finished runs of a store."""

    def __init__(self, store: Store) -> None:
        self._store, self._client = store, store.client
        self._left_out: set[str] = set()  # runs that were reported as left out

    def finished(self, selection: Selection, *, replicate_of: str | None = None) -> list[RunRecord]:
        """Return all finished runs of a selection, the latest first.

        Args:
            replicate_of: only replicates of the trial with this number; empty: replicates of any trial.

        Raises:
            UsageError: for an unknown experiment, or a study, architecture or data set that none of its runs has.
        """
        further = [f"tags.replicate_of = {quoted(replicate_of)}" if replicate_of else "tags.replicate_of != ''"]
        experiment_id = self._store.experiment_id(selection.experiment)
        runs = [
            run
            for terms in _terms(selection)
            for run in self._store.records(experiment_id, terms if replicate_of is None else terms + further)
        ]
        if not runs and replicate_of is None:
            check_exists(self._store, experiment_id, selection)
        return runs

    def best(self, selection: Selection, limit: int) -> list[RunRecord]:
        """Return the first `limit` runs of a selection by its objective, then by bytes, then by age.

        Runs without both figures are left out, and so are replicates and duplicates. MLflow sorts, so the number of
        runs that are read does not grow with the experiment.

        Raises:
            UsageError: as `finished_runs`.
        """
        self._store.update_statistics()
        experiment_id = self._store.experiment_id(selection.experiment)
        best = [run for terms in _terms(selection) for run in self._best(experiment_id, terms, selection, limit)]
        if not best:
            check_exists(self._store, experiment_id, selection)
        return sorted(map(run_record, best), key=lambda run: merit(run, selection.objective))[:limit]

    def _best(self, experiment_id: str, terms: list[str], selection: Selection, limit: int) -> list[Run]:
        """Return the best runs by objective; among those that tie with the last one, the best by bytes.

        Two sort keys in one search, or a filter on a metric other than the sort key, take SQLite seconds if nobody has
        run ANALYZE on it, as in the database of a server.
        """
        figure = f"metrics.{selection.figure}"
        order = f"{figure} {'ASC' if selection.objective in MINIMIZED else 'DESC'}"
        found: list[Run] = []
        for run in self._store.pages(experiment_id, [*terms, f"{figure} >= 0"], page=limit + SPARE, order=order):
            if self.is_shown(run_record(run), selection.objective):
                found.append(run)
            if len(found) == limit:
                break
        else:
            return found
        last = found[-1].data.metrics[selection.figure]
        above = [run for run in found if run.data.metrics[selection.figure] != last]
        for run in self._store.pages(
            experiment_id, [*terms, f"{figure} = {last!r}"], page=limit + SPARE, order="metrics.coreml_bytes ASC"
        ):
            if self.is_shown(run_record(run), selection.objective):
                if len(above) >= limit and run.data.metrics["coreml_bytes"] > above[-1].data.metrics["coreml_bytes"]:
                    break  # all runs of equal size have been read, and age decides among them
                above.append(run)
        return above

    def trial(self, selection: Selection, study: str, number: str) -> RunRecord | None:
        """Return the run of a fully trained trial, if it is in the selection."""
        of_trial = [f"tags.study = {quoted(study)}", f"tags.trial_number = {quoted(number)}"]
        experiment_id = self._store.experiment_id(selection.experiment)
        for terms in _terms(selection):
            for run in map(run_record, self._store.pages(experiment_id, terms + of_trial, page=SPARE)):
                if self.is_shown(run, selection.objective):
                    return run
        return None

    def is_dominated(self, run: RunRecord, selection: Selection) -> bool:
        """Return whether another run of the selection dominates a run: not worse in any figure, and better in one."""
        names = [name for name in (selection.objective, *selection.costs) if final(name) in run.metrics]
        better = {name: "<" if name in MINIMIZED else ">" for name in names}
        experiment_id = self._store.experiment_id(selection.experiment)
        return any(
            self.is_shown(run_record(other), selection.objective)
            for one in names
            for terms in _terms(selection)
            for other in self._store.pages(
                experiment_id,
                [
                    *terms,
                    *(
                        f"metrics.{final(name)} {better[name]}{'' if name == one else '='} {run.metrics[final(name)]!r}"
                        for name in names
                    ),
                ],
                page=SPARE,
            )
        )

    def is_shown(self, run: RunRecord, objective: Objective = "val_accuracy") -> bool:
        """Return whether a run is an original with a readable record; report an unreadable one once."""
        if not is_original(run, objective):
            return False
        try:
            return bool(run.config)
        except ProjectError as error:
            self.leave_out(run, str(error))
            return False

    def leave_out(self, run: RunRecord, reason: str) -> None:
        """Report a run that is left out on stderr, once."""
        if run.run_id not in self._left_out:
            self._left_out.add(run.run_id)
            say(f"warning: left out: {reason}", file=sys.stderr)


def is_original(run: RunRecord, objective: Objective = "val_accuracy") -> bool:
    """Return whether a run was trained to its end and is neither a replicate nor a duplicate."""
    return (
        run.status == "FINISHED"
        and all(math.isfinite(run.metrics.get(key, math.nan)) for key in (final(objective), "coreml_bytes"))
        and not {"replicate_of", "duplicate_of"} & run.tags.keys()
    )


def merit(run: RunRecord, objective: Objective) -> tuple[float, float, int]:
    """Return a sort key that ranks runs as a study ranks its trials: the objective, then bytes, then the earlier."""
    number = run.tags.get("trial_number", "")
    value = -score(objective, run.metrics[final(objective)])
    return value, run.metrics["coreml_bytes"], int(number) if number.isdecimal() else 0


def _terms(selection: Selection) -> list[list[str]]:
    """Return the selection in MLflow's search language, which has no `or`: one list of terms for each architecture."""
    common = ["attributes.status = 'FINISHED'"]
    if selection.study:
        common.append(f"tags.study = {quoted(selection.study)}")
    if selection.dataset:
        common.append(f"params.dataset = {quoted(selection.dataset)}")
    if not selection.architectures:
        return [common]
    return [[*common, f"params.architecture = {quoted(name)}"] for name in dict.fromkeys(selection.architectures)]


def check_exists(store: Store, experiment_id: str, selection: Selection) -> None:
    """Raise UsageError for a study, architecture or data set that no run of the experiment has."""
    asked = [("study", "tags.study", selection.study), ("data set", "params.dataset", selection.dataset)]
    asked += [("architecture", "params.architecture", name) for name in selection.architectures]
    for what, key, value in asked:
        if value and not store.client.search_runs([experiment_id], f"{key} = {quoted(value)}", max_results=1):
            raise UsageError(f"Unknown {what} {value!r} in experiment {selection.experiment!r} of {store.uri}.")
