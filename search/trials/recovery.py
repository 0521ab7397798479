"""Recover from dead sweeps: deliver queued writes, evaluate kept models, drop superseded ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from optuna.trial import FrozenTrial, TrialState

from experiments.attempts import Attempts
from experiments.datasets import Dataset
from experiments.evaluation.metrics import EVALUATED
from experiments.evaluation.report import EVALUATION_FOLDER, write_evaluation
from experiments.tracking import (
    NOT_DRAWN,
    Ended,
    Outbox,
    OwnershipLost,
    RunRecord,
    Tracker,
    TrackingError,
    TrackingUnavailable,
)
from search.study.claims import FENCED
from search.study.owner import attempt_of
from search.study.results import is_at_pause
from search.study.study import Study

T = TypeVar("T")

PREDICTIONS_LOST = "its predictions on the validation images were not kept"


def state_of(ended: Ended) -> TrialState:
    """Return a trial's state, given how its run ended."""
    return {"FINISHED": TrialState.COMPLETE, "FAILED": TrialState.FAIL}.get(ended.status, TrialState.PRUNED)


def recover(study: Study, tracker: Tracker) -> list[FrozenTrial]:
    """Requeue trials whose owner is gone; their runs are KILLED until the next attempt.

    If the owner may still be alive, its run is abandoned, and the next attempt starts a new one. A trial that was being
    paused is queued, not paused: MLflow may lack its last epoch, which the next attempt reports again.
    """
    dead = study.trials.take_over()
    for trial in dead:
        given_up = is_at_pause(trial)
        with suppress(TrackingUnavailable, OwnershipLost):  # the next attempt checks its runs too
            for run in tracker.runs.of_trial(study.parent_run_id, trial.number):
                if run.attempt <= trial.user_attrs.get(FENCED, 0):
                    tracker.writer.discard_run(run.run_id)
                    given_up |= run.run_id == trial.user_attrs.get("run_id")
                else:
                    write_if_owned(
                        study, trial.number, partial(tracker.writer.end, run.run_id, "KILLED", outcome="interrupted")
                    )
        study.trials.requeue(trial.number, run_id="" if given_up else None)
    return dead


def end_pruned(study: Study, tracker: Tracker, trial: FrozenTrial) -> bool:
    """Prune a paused trial of this process, first in MLflow, then in the study.

    Returns:
        False if its run is gone: then it is trained again.

    Raises:
        TrackingUnavailable: if MLflow is unavailable.
        OwnershipLost: if another sweep has taken over the trial.
    """
    found = [run.run_id for run in tracker.runs.of_trial(study.parent_run_id, trial.number)]
    run_id = trial.user_attrs["run_id"]
    if run_id not in found:
        study.trials.requeue(trial.number, run_id="")
        return False
    write_if_owned(study, trial.number, partial(tracker.writer.end, run_id, "KILLED", outcome="pruned"))
    study.trials.tell(trial.number, TrialState.PRUNED, run_id=run_id)
    return True


def write_if_owned(study: Study, number: int, write: Callable[[], T]) -> T:
    """Write to the run of a trial of this process.

    Raises:
        OwnershipLost: if another sweep has taken over the trial, even if that is only noticed by MLflow's refusal.
    """
    if not study.trials.owns(number):
        raise OwnershipLost(f"Trial {number} was taken over by another sweep.")
    try:
        return write()
    except TrackingUnavailable:
        raise
    except TrackingError as error:  # MLflow refuses writes to a deleted run
        if study.trials.owns(number):
            raise
        raise OwnershipLost(str(error)) from error


def deliver_leftover_writes(study: Study, outbox: Outbox, say: Callable[[str], None]) -> list[Ended]:
    """Deliver writes that dead processes have left on disk to MLflow; record the trials that ended in the study.

    Trials that another sweep is running are left alone. Unreadable files are set aside, and reported to `say`. Call
    this inside `study.alone()`.

    Raises:
        TrackingUnavailable: if MLflow is unavailable.
    """
    for number, reason in outbox.unreadable().items():
        say(f"warning: {outbox.set_aside(number, reason)}")
    waiting, finished = study.trials.waiting_and_finished()
    left = outbox.left_over()
    for number in finished.intersection(left):
        outbox.forget(number)  # another attempt has ended in the meantime
    told = []
    for number in sorted(waiting.intersection(left)):
        trial = study.trials.adopt(number)
        if trial is None:
            continue
        run_id = None
        try:
            outbox.take_up(number, attempt=attempt_of(trial), fenced=trial.user_attrs.get(FENCED, 0))
            for ended in outbox.ended():
                run_id = ended.run_id
                # Interrupted and paused trials run again, and so do those with another trial's results.
                answered = ended.status == "FINISHED" and ended.result is None
                again = answered or ended.outcome in ("interrupted", "paused")
                if not again:
                    values = study.config.values_of(ended.result) if ended.result else ()
                    model = ended.model.model_id if ended.model else None
                    study.trials.tell(ended.number, state_of(ended), *values, run_id=ended.run_id, model_id=model)
                    told.append(ended)
        except OwnershipLost:
            outbox.abandon(number)
        finally:
            study.trials.requeue(number, run_id=run_id)  # no effect if it was told
    return told


def unevaluated(study: Study, tracker: Tracker) -> list[RunRecord]:
    """Return the runs of the best trials whose evaluation is missing or incomplete.

    Their sweep ended before it evaluated them, or some figures could not be drawn (tag `not_drawn`).
    """
    kept = study.results.kept().values()
    runs = tracker.runs.children(study.parent_run_id, list(kept))
    return [run for run in runs if run.status == "FINISHED" and (EVALUATED not in run.metrics or NOT_DRAWN in run.tags)]


def evaluate_leftover_models(study: Study, tracker: Tracker, dataset: Dataset, say: Callable[[str], None]) -> None:
    """Evaluate kept models that no sweep has tried to evaluate. Call this inside `study.alone()`."""
    for run in unevaluated(study, tracker):
        if NOT_DRAWN not in run.tags and (
            missing := evaluate_again(run, tracker, dataset, figures=study.config.figures)
        ):
            say(f"warning: {run.name}: not drawn: {missing}")


def why_not_evaluable(run: RunRecord, tracker: Tracker) -> str:
    """Return why a run cannot be evaluated; empty if it can."""
    attempts = Attempts()
    with attempts.part("answers"):
        return "" if tracker.models.val_probabilities(run.run_id) is not None else PREDICTIONS_LOST
    return str(attempts)


def evaluate_again(run: RunRecord, tracker: Tracker, dataset: Dataset, *, figures: bool) -> str:
    """Evaluate the kept model of an ended run; return what could not be made and why, empty if everything was."""
    attempts = Attempts()
    with attempts.part("evaluation"):  # its file of predictions may be damaged
        probabilities = tracker.models.val_probabilities(run.run_id)
        if probabilities is not None:
            return write_evaluation(tracker, run.run_id, probabilities, dataset, figures=figures)
        attempts.reasons["evaluation"] = PREDICTIONS_LOST
    tracker.writer.tag_not_drawn(run.run_id, str(attempts), EVALUATION_FOLDER)
    return str(attempts)


def end_parent(study: Study, tracker: Tracker, status: str) -> None:
    """End the run of a sweep as FINISHED, KILLED (interrupted) or FAILED, unless other sweeps of the study are running.

    If another sweep has already ended it as FINISHED, it stays so.
    """
    with study.alone():
        if study.trials.others_run():
            return
        if (
            status != "FINISHED"
            and study.trials.is_done()
            and tracker.runs.get(study.parent_run_id).status == "FINISHED"
        ):
            return
        tracker.writer.end(study.parent_run_id, status, outcome="interrupted" if status == "KILLED" else None)


def drop_superseded(study: Study, tracker: Tracker) -> None:
    """Drop the kept models of a study that are no longer among the best, unless they are registered."""
    for model_id, run_id in study.results.superseded(study.settled).items():
        if tracker.registry.registered_name(run_id) is None:
            tracker.models.drop_model(model_id)  # unless it is being promoted
        study.settled.add(model_id)
