"""Find and repair disagreements between studies and MLflow, without training."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from architectures.errors import ProjectError, UsageError
from architectures.fields import as_recorded
from experiments.tracking import NOT_DRAWN, ExperimentDeleted, Outbox, RunRecord, Tracker
from search.config import SweepConfig
from search.repair.findings import Finding, Findings
from search.repair.run_diff import EPOCH_METRICS, ONCE
from search.repair.trial_repair import TrialRepair
from search.report.page import report_again
from search.setup import load_dataset
from search.study.study import Study, sweep_studies
from search.trials.recovery import deliver_leftover_writes, evaluate_again, recover, unevaluated, why_not_evaluable
from search.trials.training_states import TrainingStates


class StudyRepair:
    """Examines a study and its runs."""

    def __init__(self, study: Study, tracker: Tracker, *, dry_run: bool) -> None:
        self.study, self.tracker, self.dry_run = study, tracker, dry_run
        self.findings = Findings(study.name, dry_run=dry_run)
        self.runs = {study.parent_run_id}  # all runs of the study
        self._gone: set[int] = set()  # trials whose owners are, which a dry run leaves RUNNING
        self._redrawn = False  # whether an incomplete evaluation was completed, which the report mentions

    def examine(self) -> None:
        """Find all disagreements, and repair what can be repaired."""
        try:
            parent = self.tracker.runs.get(self.study.parent_run_id)
            self.tracker.runs.check_not_deleted(parent.run_id)
        except UsageError:
            self.findings.unrepairable(
                "its parent run is not in this MLflow store", "give the right one: --tracking-uri"
            )
            return
        except ExperimentDeleted as error:
            self.findings.unrepairable("its runs are hidden", str(error), run_id=self.study.parent_run_id)
            return
        self._abandoned()
        self._left_on_disk()
        self._states()
        with self.study.alone():  # no sweep may end meanwhile
            self._unevaluated()
            trials = self.study.optuna_study.get_trials(deepcopy=False)
            runs = self._one_run_a_trial(trials)
            run_ids = [record.run_id for _, record in sorted(runs.items())]
            courses = self.tracker.runs.courses(run_ids, (*EPOCH_METRICS, *ONCE))
            trials_repair = TrialRepair(self.study, self.tracker, self.findings, courses)
            for trial in trials:
                trials_repair.examine(trial, trials, runs)
            self._report(parent)
            on_their_way = self.study.trials.others_run(self._gone)
            if parent.status == "RUNNING" and not on_their_way:
                again = f"python -m search.sweep --study {self.study.name} ends it properly"
                if self.findings.found(
                    "the sweep is gone, its run is RUNNING", f"KILLED; {again}", run_id=parent.run_id
                ):
                    self.tracker.writer.end(parent.run_id, "KILLED", outcome="interrupted")

    def _abandoned(self) -> None:
        found = self.study.trials.take_over(dry_run=True) if self.dry_run else recover(self.study, self.tracker)
        self._gone = {trial.number for trial in found}
        for trial in found:
            remedy = "back in the queue of the study; its run is KILLED until then"
            self.findings.found("owner is gone", remedy, trial=trial.number, run_id=trial.user_attrs.get("run_id"))

    def _left_on_disk(self) -> None:
        outbox = Outbox(self.tracker, self.study.name, self.study.parent_run_id, owns=self.study.trials.owns)
        unreadable = outbox.unreadable()
        for number, reason in unreadable.items():
            problem = f"its writes in {outbox.folder} cannot be read: {reason}"
            if self.findings.found(problem, "set aside, under another name", trial=number):
                outbox.set_aside(number, reason)
        waiting = self.study.trials.waiting_and_finished()[0].intersection(outbox.left_over()) - unreadable.keys()
        problem = f"undelivered writes are kept in {outbox.folder}"
        delivered = [self.findings.found(problem, "delivered", trial=number) for number in sorted(waiting)]
        if any(delivered):
            with self.study.alone():
                deliver_leftover_writes(self.study, outbox, lambda _: None)

    def _states(self) -> None:
        states = TrainingStates(self.study.name)
        for number in sorted(states.numbers() - self.study.trials.unfinished()):
            problem = f"a leftover training state in {states.folder}"
            if self.findings.found(problem, "removed", trial=number):
                states.remove(number)
        if not self.dry_run:
            states.tidy()

    def _unevaluated(self) -> None:
        left = unevaluated(self.study, self.tracker)
        if self.study.trials.others_run(self._gone):  # which evaluate what they keep, once
            left = [record for record in left if NOT_DRAWN in record.tags]
        if not left:
            return
        config, reason = self.study.config, ""
        try:
            dataset = load_dataset(config.dataset, config.plugins)
            self.study.check_dataset(dataset.digest)
        except ProjectError as error:
            reason = str(error)
        for record in left:
            lacking = record.tags.get(NOT_DRAWN)
            problem = f"its evaluation lacks {lacking}" if lacking else "its model was kept and not evaluated"
            trial, run_id = int(record.tags["trial_number"]), record.run_id
            why = reason or why_not_evaluable(record, self.tracker)
            if not why and not self.dry_run:
                why = evaluate_again(record, self.tracker, dataset, figures=config.figures)
            if why:
                self.findings.unrepairable(problem, why, trial=trial, run_id=run_id)
            else:
                self.findings.found(problem, "evaluated", trial=trial, run_id=run_id)
                self._redrawn = self._redrawn or bool(lacking)

    def _report(self, parent: RunRecord) -> None:
        """Rewrite the report of a finished sweep if it, or an evaluation, is incomplete."""
        lacking = parent.tags.get(NOT_DRAWN)
        if parent.status != "FINISHED" or not (lacking or self._redrawn):
            return
        problem = f"its report lacks {lacking}" if lacking else "its report says that evaluations lack something"
        why = "" if self.dry_run else report_again(self.study, self.tracker)
        if why:
            self.findings.unrepairable(problem, why, run_id=parent.run_id)
        else:
            self.findings.found(problem, "written anew", run_id=parent.run_id)

    def _one_run_a_trial(self, trials: Sequence[FrozenTrial]) -> dict[int, RunRecord]:
        """Return the run of each trial that has one; delete others, which `mlflow runs restore` can undo."""
        by_trial: dict[int, list[RunRecord]] = {}
        parent = self.study.parent_run_id
        orphans = self.tracker.runs.orphans(parent, self.study.name)
        for record in [*self.tracker.runs.children(parent), *orphans]:
            self.runs.add(record.run_id)
            by_trial.setdefault(int(record.tags["trial_number"]), []).append(record)
        kept = {}
        for number, records in sorted(by_trial.items()):
            if number >= len(trials):
                superfluous = records
            elif trials[number].state == TrialState.RUNNING:  # its owner removes runs of other attempts
                kept[number] = max(records, key=lambda one: one.attempt)
                continue
            else:
                told = trials[number].user_attrs.get("run_id")
                best = max(records, key=lambda one: (one.run_id == told, one.status == "FINISHED", len(one.metrics)))
                kept[number] = best
                superfluous = [one for one in records if one is not best]
            problem = "a second run of it" if number in kept else "a run of a trial that the study does not hold"
            for record in superfluous:
                if self.findings.found(problem, "deleted", trial=number, run_id=record.run_id):
                    self.tracker.repair.delete_run(record.run_id)
        for number, record in kept.items():
            if record in orphans and self.findings.found(
                "its run names no parent", "it names the sweep's", trial=number, run_id=record.run_id
            ):
                self.tracker.repair.adopt_run(record.run_id, parent)
        return kept


def examine(
    storage: str,
    tracking_uri: str,
    *,
    study: str | None = None,
    takeover_after: int = SweepConfig.takeover_after,
    dry_run: bool = False,
) -> list[Finding]:
    """Compare one study, or all studies in a storage, with MLflow.

    Args:
        study: only this one.
        takeover_after: seconds without a heartbeat after which another host's trial counts as abandoned.
        dry_run: only report, change nothing.

    Raises:
        UsageError: for an unknown study.
        ProjectError: if the storage or MLflow cannot be reached.
    """
    tracker = Tracker(tracking_uri, create=False)
    running = tracker.runs.running(study)  # before the studies: a sweep may start meanwhile
    findings: list[Finding] = []
    known_runs: set[str] = set()
    for known in sweep_studies(storage, study):
        config = as_recorded(
            SweepConfig,
            tracking_uri=tracking_uri,
            study=known,
            storage=storage,
            takeover_after=takeover_after,
            given=(),
        )
        repair = StudyRepair(Study(config), tracker, dry_run=dry_run)
        repair.examine()
        findings += repair.findings.all
        known_runs |= repair.runs
    return findings + [_stray(record) for record in running if record.run_id not in known_runs]


def _stray(record: RunRecord) -> Finding:
    """Report a RUNNING run that belongs to no study here; a study of the same name in another storage may own it."""
    number = record.tags.get("trial_number", "")
    return Finding(
        record.tags["study"],
        int(number) if number.isdecimal() else None,
        record.run_id,
        "is RUNNING, but belongs to no study in this storage",
        "end it if no sweep with another --storage runs it: MlflowClient().set_terminated(run_id, 'KILLED')",
        mended=False,
    )
