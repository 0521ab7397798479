"""Find and mend disagreement between studies and MLflow.  Run: python -m search.doctor

A sweep that died leaves at most what the next one of its study mends by itself. This command does it without training
anything, also for what no sweep looks for: runs without a trial, trials without a run, two runs of one trial, epochs
that one side lacks. It is safe to run at any time, beside sweeps too, and to run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.fields import allowed, as_recorded
from experiments.config import default_tracking_uri
from search.config import SweepConfig
from search.repair.run_diff import EPOCH_METRICS, ONCE, compare_metrics, compare_parameters, figures, parameters

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from experiments.tracking import RunRecord, Tracker
    from search.study.study import Study


@dataclass(frozen=True)
class Finding:
    """A disagreement."""

    study: str
    trial: int | None
    run_id: str | None
    problem: str
    remedy: str  # what was done about it, or would be, or why nothing can be
    mended: bool


class Examination:
    """Looks at one study and its runs."""

    def __init__(self, study: Study, tracker: Tracker, *, dry_run: bool) -> None:
        self.study, self.tracker, self.dry_run = study, tracker, dry_run
        self.findings: list[Finding] = []
        self.runs = {study.parent_run_id}  # ids of all that are the study's
        self._redrawn = False  # an evaluation that lacked something, which the report says

    def _found(self, problem: str, remedy: str, *, trial: int | None = None, run_id: str | None = None) -> bool:
        """Note what will be mended now; returns whether it is to be."""
        self.findings.append(Finding(self.study.name, trial, run_id, problem, remedy, mended=not self.dry_run))
        return not self.dry_run

    def _hopeless(self, problem: str, remedy: str, *, trial: int | None = None, run_id: str | None = None) -> None:
        self.findings.append(Finding(self.study.name, trial, run_id, problem, remedy, mended=False))

    def examine(self) -> None:
        """Find everything and mend what can be mended."""
        from architectures.errors import UsageError
        from experiments.tracking import ExperimentDeleted

        try:
            parent = self.tracker.run(self.study.parent_run_id)
            self.tracker.check_not_deleted(parent.run_id)
        except UsageError:
            self._hopeless("its parent run is not in this MLflow store", "give the right one: --tracking-uri")
            return
        except ExperimentDeleted as error:
            self._hopeless("its runs are hidden", str(error), run_id=self.study.parent_run_id)
            return
        self._abandoned()
        self._left_on_disk()
        with self.study.alone():  # a sweep is not being finished meanwhile
            self._unevaluated()
            trials = self.study.optuna_study.get_trials(deepcopy=False)
            runs = self._one_run_a_trial(trials)
            run_ids = [record.run_id for _, record in sorted(runs.items())]
            self._course = self.tracker.courses(run_ids, (*EPOCH_METRICS, *ONCE))
            for trial in trials:
                self._trial(trial, trials, runs)
            self._report(parent)
            on_their_way = self.study.others_run()
            if parent.status == "RUNNING" and not on_their_way:
                again = f"python -m search.sweep --study {self.study.name} ends it properly"
                if self._found("the sweep is gone, its run is RUNNING", f"KILLED; {again}", run_id=parent.run_id):
                    self.tracker.end(parent.run_id, "KILLED", outcome="interrupted")

    def _abandoned(self) -> None:
        from search.trials.recovery import recover

        found = self.study.take_over(dry_run=True) if self.dry_run else recover(self.study, self.tracker)
        for trial in found:
            remedy = "back in the queue of the study; its run is KILLED until then"
            self._found("nobody runs it any more", remedy, trial=trial.number, run_id=trial.user_attrs.get("run_id"))

    def _left_on_disk(self) -> None:
        from experiments.tracking import Outbox
        from search.trials.recovery import deliver_left_over

        outbox = Outbox(self.tracker, self.study.name, self.study.parent_run_id, owns=self.study.owns)
        unreadable = outbox.unreadable()
        for number, reason in unreadable.items():
            problem = f"what is kept of it in {outbox.folder} cannot be read: {reason}"
            if self._found(problem, "set aside, under another name", trial=number):
                outbox.set_aside(number, reason)
        waiting = self.study.waiting_and_finished()[0].intersection(outbox.left_over()) - unreadable.keys()
        problem = f"writes that MLflow has not got are kept in {outbox.folder}"
        delivered = [self._found(problem, "delivered", trial=number) for number in sorted(waiting)]
        if any(delivered):
            with self.study.alone():
                deliver_left_over(self.study, outbox, lambda _: None)

    def _unevaluated(self) -> None:
        from architectures.errors import ProjectError
        from experiments.tracking import NOT_DRAWN
        from search.orchestrate import load_dataset
        from search.trials.recovery import answers_lost, evaluate_again, unevaluated

        left = unevaluated(self.study, self.tracker)
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
            why = reason or answers_lost(record, self.tracker)
            if not why and not self.dry_run:
                why = evaluate_again(record, self.tracker, dataset, figures=config.figures)
            if why:
                self._hopeless(problem, why, trial=trial, run_id=run_id)
            else:
                self._found(problem, "evaluated", trial=trial, run_id=run_id)
                self._redrawn = self._redrawn or bool(lacking)

    def _report(self, parent: RunRecord) -> None:
        """Write the report of a sweep that has ended anew where it lacks something, or says that an evaluation does."""
        from experiments.tracking import NOT_DRAWN
        from search.orchestrate import report_again

        lacking = parent.tags.get(NOT_DRAWN)
        if parent.status != "FINISHED" or not (lacking or self._redrawn):
            return
        problem = f"its report lacks {lacking}" if lacking else "its report says that evaluations lack something"
        why = "" if self.dry_run else report_again(self.study, self.tracker)
        if why:
            self._hopeless(problem, why, run_id=parent.run_id)
        else:
            self._found(problem, "written anew", run_id=parent.run_id)

    def _one_run_a_trial(self, trials: Sequence[FrozenTrial]) -> dict[int, RunRecord]:
        """The run of each trial that has one; others are deleted, which `mlflow runs restore` can undo."""
        from optuna.trial import TrialState

        by_trial: dict[int, list[RunRecord]] = {}
        parent = self.study.parent_run_id
        orphans = self.tracker.orphans(parent, self.study.name)
        for record in [*self.tracker.children(parent), *orphans]:
            self.runs.add(record.run_id)
            by_trial.setdefault(int(record.tags["trial_number"]), []).append(record)
        kept = {}
        for number, records in sorted(by_trial.items()):
            if number >= len(trials):
                superfluous = records
            elif trials[number].state == TrialState.RUNNING:  # its owner removes those of other attempts
                kept[number] = max(records, key=lambda one: one.attempt)
                continue
            else:
                told = trials[number].user_attrs.get("run_id")
                best = max(records, key=lambda one: (one.run_id == told, one.status == "FINISHED", len(one.metrics)))
                kept[number] = best
                superfluous = [one for one in records if one is not best]
            problem = "a second run of it" if number in kept else "a run of a trial that the study does not hold"
            for record in superfluous:
                if self._found(problem, "deleted", trial=number, run_id=record.run_id):
                    self.tracker.delete_run(record.run_id)
        for number, record in kept.items():
            if record in orphans and self._found(
                "its run names no parent", "it names the sweep's", trial=number, run_id=record.run_id
            ):
                self.tracker.adopt_run(record.run_id, parent)
        return kept

    def _trial(self, trial: FrozenTrial, trials: Sequence[FrozenTrial], runs: Mapping[int, RunRecord]) -> None:
        from optuna.trial import TrialState

        from search.study.results import DUPLICATE_OF

        number = trial.number
        record = runs.get(number)
        source = trials[trial.user_attrs.get(DUPLICATE_OF, number)]
        if trial.state == TrialState.RUNNING:
            return  # on its way
        if not trial.params and trial.state.is_finished():
            self._hopeless("ended without a configuration", "it was told by hand: nothing is known of it", trial=number)
            return
        if trial.state == TrialState.WAITING:
            if record and record.status == "RUNNING":
                problem = "waits to be tried again, its run is RUNNING"
                if self._found(problem, "KILLED until then", trial=number, run_id=record.run_id):
                    self.tracker.end(record.run_id, "KILLED", outcome="interrupted")
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
            if self._found(problem, status, trial=number, run_id=record.run_id):
                self.tracker.end(record.run_id, status, outcome=reason)

    def _deleted(self, trial: FrozenTrial) -> RunRecord | None:
        """The run of a trial that was deleted, brought back where MLflow holds it still."""
        from architectures.errors import UsageError

        try:
            record = self.tracker.run(trial.user_attrs["run_id"])
        except (KeyError, UsageError):
            return None
        of = record.tags.get("mlflow.parentRunId"), record.tags.get("trial_number")
        if of != (self.study.parent_run_id, str(trial.number)):
            return None
        if self._found("its run was deleted", "brought back", trial=trial.number, run_id=record.run_id):
            self.tracker.undelete_run(record.run_id)
        return record

    def _restore(self, trial: FrozenTrial, source: FrozenTrial, status: str, reason: str | None) -> None:
        """Make the run that a trial lacks, with what the study knows of it; `source` as for `_figures`."""
        from search.study.results import REPLICATE_OF, val_accuracies

        remedy = "made anew with what the study holds: parameters, val_accuracy, bytes (tag restored)"
        if not self._found("has no run in MLflow", remedy, trial=trial.number):
            return
        tags = {
            "study": self.study.name,
            "trial_number": str(trial.number),
            "dataset_digest": self.study.optuna_study.user_attrs["dataset_digest"],
            "restored": "from the study",
        }
        if source is not trial:
            tags["duplicate_of"] = source.user_attrs["run_id"]
        if (repeated := trial.user_attrs.get(REPLICATE_OF)) is not None:
            tags["replicate_of"] = str(repeated)
        run_id = self.tracker.restore_run(
            self.study.parent_run_id,
            f"{trial.params['architecture']}-{trial.number}",
            params=parameters(self.study.config, trial),
            tags=tags,
            course=dict(enumerate(val_accuracies(source), 1)),
            figures=figures(source, val_losses={}),
        )
        self.tracker.end(run_id, status, outcome=reason)

    def _parameters(self, trial: FrozenTrial, record: RunRecord) -> None:
        """Hold a run's parameters against the trial's, and write those that it lacks."""
        number, run_id = trial.number, record.run_id
        found = compare_parameters(self.study.config, trial, record)
        if found.wrong:
            remedy = "MLflow cannot change parameters: put them right in its database"
            self._hopeless(f"its run has {'; '.join(found.wrong)}", remedy, trial=number, run_id=run_id)
        if found.missing:
            problem = f"its run lacks the parameters {', '.join(sorted(found.missing))}"
            if self._found(problem, "written as the study holds them", trial=number, run_id=run_id):
                self.tracker.log_params(run_id, found.missing)

    def _figures(self, trial: FrozenTrial, source: FrozenTrial, record: RunRecord) -> bool:
        """Hold a run's figures against the study's, and write those that it lacks; False where they contradict.

        `source` is the trial that was trained: this one, or the one that it was answered from.
        """
        number, run_id = trial.number, record.run_id
        once = (key for key in ONCE if key in record.metrics)
        points = {key: self._course(run_id, key) for key in (*EPOCH_METRICS, *once)}
        found = compare_metrics(trial, source, record, points)
        if found.doubled:
            problem = f"{found.doubled} stand twice"
            self._hopeless(problem, "MLflow cannot delete metrics", trial=number, run_id=run_id)
        if found.strange:
            problem = f"its run has {found.strange}, the study does not"
            self._hopeless(problem, "MLflow cannot delete metrics", trial=number, run_id=run_id)
        if found.contradicting:
            problem = f"{', '.join(found.contradicting)} differ between study and run"
            remedy = "train it again in another study: one of the two was written by hand, or by other code"
            self._hopeless(problem, remedy, trial=number, run_id=run_id)
            return False
        if found.missing_course:
            problem = f"its run lacks val_accuracy of epochs {', '.join(map(str, found.missing_course))}"
            if self._found(problem, "written as the study holds them", trial=number, run_id=run_id):
                self.tracker.log_course(run_id, found.missing_course)
        if found.missing_figures:
            problem = f"its run lacks {', '.join(found.missing_figures)}"
            if self._found(problem, "written as the study and its epochs tell", trial=number, run_id=run_id):
                self.tracker.log_figures(run_id, found.missing_figures)
        if found.lost:
            self._hopeless(f"its run lacks {found.lost}", "the study does not hold it", trial=number, run_id=run_id)
        return True


def _end_of(trial: FrozenTrial) -> tuple[str, str | None]:
    """Status and `outcome` of the run of a trial that has ended."""
    from search.study.results import outcome

    match outcome(trial):
        case "complete":
            return "FINISHED", None
        case "fail":
            return "FAILED", None
        case reason:
            return "KILLED", reason


def examine(
    storage: str,
    tracking_uri: str,
    *,
    study: str | None = None,
    takeover_after: int = SweepConfig.takeover_after,
    dry_run: bool = False,
) -> list[Finding]:
    """Hold one study, or all of a storage, against MLflow.

    Args:
        storage: Optuna's.
        tracking_uri: MLflow's.
        study: only this one.
        takeover_after: seconds without a sign of life after which another host's trial counts as abandoned.
        dry_run: find only, change nothing.

    Raises:
        UsageError: for an unknown study.
        ProjectError: if the storage or MLflow cannot be reached.
    """
    from experiments.tracking import Tracker
    from search.study.study import Study, sweep_studies

    tracker = Tracker(tracking_uri, create=False)
    running = tracker.running(study)  # read first: the study of a sweep that starts meanwhile is found below
    findings: list[Finding] = []
    known_runs: set[str] = set()
    for known in sweep_studies(storage, study):
        config = as_recorded(
            SweepConfig, tracking_uri=tracking_uri, study=known, storage=storage, takeover_after=takeover_after
        )
        examination = Examination(Study(config, {}), tracker, dry_run=dry_run)
        examination.examine()
        findings += examination.findings
        known_runs |= examination.runs
    return findings + [_stray(record) for record in running if record.run_id not in known_runs]


def _stray(record: RunRecord) -> Finding:
    """A run that is RUNNING for none of the studies; one of the same name in another storage may have it."""
    number = record.tags.get("trial_number", "")
    return Finding(
        record.tags["study"],
        int(number) if number.isdecimal() else None,
        record.run_id,
        "is RUNNING, and no study of this storage has it",
        "end it if no sweep with another --storage runs it: MlflowClient().set_terminated(run_id, 'KILLED')",
        mended=False,
    )


def parser() -> Parser:
    made = Parser("search.doctor", "Find and mend disagreement between studies and MLflow. Safe to run twice.")
    add = made.add_argument
    add(
        "--study",
        type=allowed(SweepConfig, "study"),
        metavar="NAME",
        help="only this one (default: all of the storage)",
    )
    add("--storage", default=SweepConfig.storage, metavar="URL", help=f"Optuna storage (default {SweepConfig.storage})")
    add("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    add("--dry-run", action="store_true", help="find only, and change nothing; exit 1 where there is something to mend")
    add(
        "--takeover-after",
        type=allowed(SweepConfig, "takeover_after"),
        default=SweepConfig.takeover_after,
        metavar="SECONDS",
        help=f"when another host's trial without a sign of life is abandoned (default {SweepConfig.takeover_after})",
    )
    return made


def _lines(findings: Sequence[Finding], *, dry_run: bool) -> Iterator[str]:
    for finding in findings:
        place = f"{finding.study}, trial {finding.trial}" if finding.trial is not None else finding.study
        run_id = f" (run {finding.run_id})" if finding.run_id else ""
        mark = "mended" if finding.mended else "would be" if dry_run else "remains"
        yield f"  {mark:<8} {place}: {finding.problem}{run_id}: {finding.remedy}"
    mended = sum(finding.mended for finding in findings)
    yield f"{len(findings)} disagreement{'' if len(findings) == 1 else 's'}, {mended} mended."


def _body(arguments: argparse.Namespace) -> int:
    findings = examine(
        arguments.storage,
        arguments.tracking_uri or default_tracking_uri(),
        study=arguments.study,
        takeover_after=arguments.takeover_after,
        dry_run=arguments.dry_run,
    )
    mended = sum(finding.mended for finding in findings)
    if arguments.json:
        print_json({"study": arguments.study, "findings": [asdict(one) for one in findings], "mended": mended})
    else:
        for line in _lines(findings, dry_run=arguments.dry_run):
            say(line)
    return 0 if mended == len(findings) else 1


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
