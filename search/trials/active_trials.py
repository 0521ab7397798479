"""The unfinished trials of this process: running, waiting for a duplicate, or not yet reported to the study."""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from architectures.errors import UsageError
from experiments.config import EpochMetrics, ModelSize, RunConfig
from experiments.tracking import Ended, Outbox, OwnershipLost, Tracker, TrackingUnavailable
from experiments.tracking.entries import End
from search.engines import Engine
from search.study.ranking import Scored
from search.study.study import Study
from search.trials.progress import TrialProgress
from search.trials.recovery import state_of
from search.trials.training_states import TrainingStates


@dataclass
class ActiveTrial:
    """An unfinished trial."""

    trial: optuna.Trial
    config: RunConfig
    attempt: int  # from 1
    fenced: int = 0  # the last attempt whose run must not be continued
    awaits_verdict: bool = False  # its worker waits to hear whether to continue
    has_run: bool = False  # or will have one when MLflow is back
    taken_over: bool = False  # by another sweep
    stopped_to_pause: bool = False  # its worker was stopped so that the trial pauses
    size: ModelSize | None = None
    values: tuple[float, ...] = ()  # of the objectives, once it is complete
    last_metrics: EpochMetrics | None = None

    def reply(self, engine: Engine, go_on: bool) -> None:
        """Answer its worker."""
        self.awaits_verdict = False
        engine.reply(self.trial.number, go_on)


class ActiveTrials:
    """The trials of a study that this process owns."""

    def __init__(self, study: Study, tracker: Tracker, outbox: Outbox, states: TrainingStates) -> None:
        self._study, self._tracker, self._outbox, self._states = study, tracker, outbox, states
        self.running: dict[int, ActiveTrial] = {}
        self.duplicates: dict[int, ActiveTrial] = {}  # those waiting for a trial with the same configuration
        self.ask_at = 0.0  # when to ask the study for a trial again, on the monotonic clock
        self.unreported: dict[int, tuple[ActiveTrial, Scored | None]] = {}  # ended, but their end is not yet in MLflow

    def holds(self, number: int) -> bool:
        """Return whether a trial is running or waiting here."""
        return number in self.running or number in self.duplicates

    def same(self, trial: optuna.Trial) -> FrozenTrial | None:
        """Return the trial with the same configuration whose results this one gets, now or when it ends."""
        for one in self._study.results.same(trial):
            if not one.state.is_finished() or self._has_run(one):
                return one
        return None

    def _has_run(self, trial: FrozenTrial) -> bool:
        """Return whether MLflow still has the run of an ended trial; assume so while MLflow is unavailable."""
        try:
            self._tracker.runs.get(trial.user_attrs["run_id"])
        except UsageError:
            return False
        except TrackingUnavailable:
            pass
        return True

    def next_unblocked_duplicate(self, progress: TrialProgress) -> tuple[ActiveTrial, FrozenTrial | None] | None:
        """Return a trial that no longer has to wait, and the ended duplicate whose results it gets, if any."""
        for number, running in list(self.duplicates.items()):
            if not self._study.trials.owns(number):
                del self.duplicates[number]
                self.lose(running, progress)
                continue
            same = self.same(running.trial)
            if same and same.state == TrialState.WAITING and not self._study.trials.has_more():
                same = None  # beyond the requested number of trials, so nobody will run it
            if same is None or same.state.is_finished():
                self.running[number] = self.duplicates.pop(number)
                return running, same
        return None

    def end(self, running: ActiveTrial, scored: Scored | None) -> None:
        """Record that a trial has ended: complete, with the figures `scored`, or otherwise."""
        number = running.trial.number
        del self.running[number]
        self.unreported[number] = (running, scored)

    def tell(self, progress: TrialProgress) -> list[Ended]:
        """Report ended trials to the study once MLflow has them; return those whose models were kept."""
        kept = []
        for ended in self._outbox.ended():
            if ended.number not in self.unreported:
                continue  # requeued
            running, scored = self.unreported[ended.number]
            state = TrialState.COMPLETE if scored else state_of(ended)
            model = ended.model.model_id if ended.model else None
            if ended.outcome == "paused":
                self._study.trials.requeue(ended.number, ran=True, run_id=ended.run_id)
                del self.unreported[ended.number]
                self.ask_at = 0.0
                continue
            try:
                self._study.trials.tell(ended.number, state, *running.values, run_id=ended.run_id, model_id=model)
            except OwnershipLost:
                self._lose_unreported(ended.number, progress)
                continue
            del self.unreported[ended.number]
            self._states.remove(ended.number)
            if ended.model:
                kept.append(ended)
        for number in self._outbox.lost():
            self._lose_unreported(number, progress)
        return kept

    def _lose_unreported(self, number: int, progress: TrialProgress) -> None:
        if running := self.running.get(number) or self.unreported.get(number, (None,))[0]:
            self.lose(running, progress)
        else:
            self._outbox.forget(number)  # requeued: the next attempt writes everything

    def lose(self, running: ActiveTrial, progress: TrialProgress) -> None:
        """Leave a trial to the sweep that has taken it over."""
        number = running.trial.number
        running.taken_over = True
        self.unreported.pop(number, None)
        self._outbox.abandon(number)
        progress.lost(number, f"trial {number}: taken over by another sweep")

    def give_back(self, running: ActiveTrial) -> None:
        """Requeue an interrupted trial, and end its run as KILLED.

        If this fails, the next sweep of the study finds the trial without a living owner and requeues it.
        """
        number = running.trial.number
        ran = self.running.pop(number, None) is not None
        self.duplicates.pop(number, None)
        if running.taken_over:
            return
        try:
            if running.has_run and self._outbox.run_id(number):
                self._outbox.write(number, End("KILLED", "interrupted"))  # until the next attempt
        except OwnershipLost:
            self._outbox.abandon(number)
            return
        self._study.trials.requeue(number, ran=ran)
        self.ask_at = 0.0

    def requeue_all(self) -> None:
        """Requeue all unfinished trials."""
        for running in [*self.running.values(), *self.duplicates.values()]:
            self.give_back(running)
