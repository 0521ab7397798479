"""Compare the run of a trial with the study, and repair what can be repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState

from architectures.errors import UsageError
from experiments.tracking import RunRecord, Tracker
from experiments.tracking.runs import Courses
from search.repair.findings import Findings
from search.repair.run_diff import EPOCH_METRICS, ONCE, compare_metrics, compare_parameters, final_metrics, parameters
from search.study.results import DUPLICATE_OF, REPLICATE_OF, WARM_START, outcome, values_by_epoch
from search.study.study import Study


class TrialRepair:
    """Examines the trials of a study."""

    def __init__(self, study: Study, tracker: Tracker, findings: Findings, courses: Courses) -> None:
        self._study, self._tracker, self._findings = study, tracker, findings
        self._courses = courses  # by run id: recorded values of EPOCH_METRICS and ONCE

    def examine(self, trial: FrozenTrial, trials: Sequence[FrozenTrial], runs: Mapping[int, RunRecord]) -> None:
        """Compare a trial with its run, given all trials and all runs by trial number."""
        number = trial.number
        record = runs.get(number)
        source = trials[trial.user_attrs.get(DUPLICATE_OF, number)]
        if trial.state == TrialState.RUNNING:
            return  # unfinished
        if not trial.params and trial.state.is_finished():
            self._findings.unrepairable(
                "ended without a configuration", "it was ended by hand: nothing is known about it", trial=number
            )
            return
        if trial.state == TrialState.WAITING:
            if record and record.status == "RUNNING":
                problem = "is queued, but its run is RUNNING"
                if self._findings.found(problem, "KILLED until then", trial=number, run_id=record.run_id):
                    self._tracker.writer.end(record.run_id, "KILLED", outcome="interrupted")
            return
        status, reason = _end_of(trial)
        record = record or self._deleted(trial)
        if record is None:
            self._restore(trial, source, status, reason)
            return
        self._parameters(trial, record)
        if not self._figures(trial, source, record):
            return
        if (record.status, record.tags.get("outcome")) != (status, reason):
            problem = f"ended as {trial.state.name}, its run is {record.status}"
            if self._findings.found(problem, status, trial=number, run_id=record.run_id):
                self._tracker.writer.end(record.run_id, status, outcome=reason)

    def _deleted(self, trial: FrozenTrial) -> RunRecord | None:
        """Return the deleted run of a trial, restored if MLflow still has it."""
        try:
            record = self._tracker.runs.get(trial.user_attrs["run_id"])
        except (KeyError, UsageError):
            return None
        of = record.tags.get("mlflow.parentRunId"), record.tags.get("trial_number")
        if of != (self._study.parent_run_id, str(trial.number)):
            return None
        if self._findings.found("its run was deleted", "brought back", trial=trial.number, run_id=record.run_id):
            self._tracker.repair.undelete_run(record.run_id)
        return record

    def _restore(self, trial: FrozenTrial, source: FrozenTrial, status: str, reason: str | None) -> None:
        """Create the missing run of a trial from what the study knows; `source` as for `_figures`."""
        objective = self._study.config.objective
        remedy = f"restored from the study: parameters, {objective}, bytes (tag restored)"
        if not self._findings.found("has no run in MLflow", remedy, trial=trial.number):
            return
        tags = {
            "study": self._study.name,
            "trial_number": str(trial.number),
            "dataset_digest": self._study.optuna_study.user_attrs["dataset_digest"],
            "restored": "from the study",
        }
        if source is not trial:
            tags["duplicate_of"] = source.user_attrs["run_id"]
        if (suggested := trial.user_attrs.get(WARM_START)) is not None:
            tags["warm_start"] = suggested
        if (repeated := trial.user_attrs.get(REPLICATE_OF)) is not None:
            tags["replicate_of"] = str(repeated)
        run_id = self._tracker.repair.restore_run(
            self._study.parent_run_id,
            f"{trial.params['architecture']}-{trial.number}",
            params=parameters(self._study.config, trial),
            tags=tags,
            course={objective: dict(enumerate(values_by_epoch(source), 1))},
            figures=final_metrics(source, self._study.config.objectives, {}),
        )
        self._tracker.writer.end(run_id, status, outcome=reason)

    def _parameters(self, trial: FrozenTrial, record: RunRecord) -> None:
        """Compare a run's parameters with the trial's, and add missing ones."""
        number, run_id = trial.number, record.run_id
        found = compare_parameters(self._study.config, trial, record)
        if found.wrong:
            remedy = "MLflow cannot change parameters: correct them in its database"
            self._findings.unrepairable(f"its run has {'; '.join(found.wrong)}", remedy, trial=number, run_id=run_id)
        if found.missing:
            problem = f"its run lacks the parameters {', '.join(sorted(found.missing))}"
            if self._findings.found(problem, "copied from the study", trial=number, run_id=run_id):
                self._tracker.repair.log_params(run_id, found.missing)

    def _figures(self, trial: FrozenTrial, source: FrozenTrial, record: RunRecord) -> bool:
        """Compare a run's metrics with the study's, and add missing ones; return False if they contradict.

        `source` is the trial that was trained: this one, or the one whose results it got.
        """
        number, run_id = trial.number, record.run_id
        once = (key for key in ONCE if key in record.metrics)
        points = {key: self._courses(run_id, key) for key in (*EPOCH_METRICS, *once)}
        objective = self._study.config.objective
        found = compare_metrics(trial, source, record, points, objectives=self._study.config.objectives)
        if found.doubled:
            problem = f"{found.doubled} recorded twice"
            self._findings.unrepairable(problem, "MLflow cannot delete metrics", trial=number, run_id=run_id)
        if found.strange:
            problem = f"its run has {found.strange}, the study does not"
            self._findings.unrepairable(problem, "MLflow cannot delete metrics", trial=number, run_id=run_id)
        if found.contradicting:
            problem = f"{', '.join(found.contradicting)} differ between study and run"
            remedy = "train it again in another study: one of the two was written by hand, or by other code"
            self._findings.unrepairable(problem, remedy, trial=number, run_id=run_id)
            return False
        if found.missing_course:
            problem = f"its run lacks {objective} of epochs {', '.join(map(str, found.missing_course))}"
            if self._findings.found(problem, "copied from the study", trial=number, run_id=run_id):
                self._tracker.repair.log_course(run_id, objective, found.missing_course)
        if found.missing_figures:
            problem = f"its run lacks {', '.join(found.missing_figures)}"
            if self._findings.found(problem, "computed from the study and the epochs", trial=number, run_id=run_id):
                self._tracker.repair.log_figures(run_id, found.missing_figures)
        if found.lost:
            self._findings.unrepairable(
                f"its run lacks {found.lost}", "the study does not have it either", trial=number, run_id=run_id
            )
        return True


def _end_of(trial: FrozenTrial) -> tuple[str, str | None]:
    """Return status and `outcome` of the run of an ended trial."""
    match outcome(trial):
        case "complete":
            return "FINISHED", None
        case "fail":
            return "FAILED", None
        case reason:
            return "KILLED", reason
