"""The unfinished trials of this process: running, waiting for a duplicate, or ended and not yet told to the study."""

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
from search.trials.states import States


@dataclass
class OnItsWay:
    """An unfinished trial."""

    trial: optuna.Trial
    config: RunConfig
    attempt: int  # from 1
    fenced: int = 0  # the last attempt whose run must not be continued
    asks: bool = False  # its worker waits to hear whether it goes on
    placed: bool = False  # it has a run, or will have one when MLflow is back
    lost: bool = False  # another sweep has taken it over
    paused: bool = False  # its worker was stopped to wait
    size: ModelSize | None = None
    values: tuple[float, ...] = ()  # of the objectives, once it is complete
    last_metrics: EpochMetrics | None = None

    def reply(self, engine: Engine, go_on: bool) -> None:
        """Answer its worker."""
        self.asks = False
        engine.reply(self.trial.number, go_on)


class Flight:
    """What this process owns of a study."""

    def __init__(self, study: Study, tracker: Tracker, outbox: Outbox, states: States) -> None:
        self._study, self._tracker, self._outbox, self._states = study, tracker, outbox, states
        self.running: dict[int, OnItsWay] = {}
        self.twins: dict[int, OnItsWay] = {}  # wait for a trial of the same configuration
        self.ask_at = 0.0  # on the monotonic clock: when the study is asked for a trial again
        self.untold: dict[int, tuple[OnItsWay, Scored | None]] = {}  # MLflow lacks their end

    def holds(self, number: int) -> bool:
        """Whether a trial is on its way here."""
        return number in self.running or number in self.twins

    def same(self, trial: optuna.Trial) -> FrozenTrial | None:
        """The trial of the same configuration that answers this one, or will."""
        for one in self._study.results.same(trial):
            if not one.state.is_finished() or self._has_run(one):
                return one
        return None

    def _has_run(self, trial: FrozenTrial) -> bool:
        """Whether MLflow still holds the run of an ended trial; assumed while MLflow is away."""
        try:
            self._tracker.runs.get(trial.user_attrs["run_id"])
        except UsageError:
            return False
        except TrackingUnavailable:
            pass
        return True

    def next_unblocked_duplicate(self, progress: TrialProgress) -> tuple[OnItsWay, FrozenTrial | None] | None:
        """A trial that no longer waits, and the ended duplicate that answers it, if there is one."""
        for number, running in list(self.twins.items()):
            if not self._study.trials.owns(number):
                del self.twins[number]
                self.lose(running, progress)
                continue
            same = self.same(running.trial)
            if same and same.state == TrialState.WAITING and not self._study.trials.has_more():
                same = None  # one of more trials than are asked for now
            if same is None or same.state.is_finished():
                self.running[number] = self.twins.pop(number)
                return running, same
        return None

    def end(self, running: OnItsWay, scored: Scored | None) -> None:
        """Note that a trial has ended: as complete, which is `scored`, or otherwise."""
        number = running.trial.number
        del self.running[number]
        self.untold[number] = (running, scored)

    def tell(self, progress: TrialProgress) -> list[Ended]:
        """Tell the study of the trials whose ends MLflow holds; returns those whose models were kept."""
        kept = []
        for ended in self._outbox.ended():
            if ended.number not in self.untold:
                continue  # requeued
            running, scored = self.untold[ended.number]
            state = TrialState.COMPLETE if scored else state_of(ended)
            model = ended.model.model_id if ended.model else None
            if ended.outcome == "paused":
                self._study.trials.requeue(ended.number, ran=True, run_id=ended.run_id)
                del self.untold[ended.number]
                self.ask_at = 0.0
                continue
            try:
                self._study.trials.tell(ended.number, state, *running.values, run_id=ended.run_id, model_id=model)
            except OwnershipLost:
                self._lose_untold(ended.number, progress)
                continue
            del self.untold[ended.number]
            self._states.remove(ended.number)
            if ended.model:
                kept.append(ended)
        for number in self._outbox.lost():
            self._lose_untold(number, progress)
        return kept

    def _lose_untold(self, number: int, progress: TrialProgress) -> None:
        if running := self.running.get(number) or self.untold.get(number, (None,))[0]:
            self.lose(running, progress)
        else:
            self._outbox.forget(number)  # requeued: the next attempt writes all of it

    def lose(self, running: OnItsWay, progress: TrialProgress) -> None:
        """Leave a trial to the sweep that has taken it over."""
        number = running.trial.number
        running.lost = True
        self.untold.pop(number, None)
        self._outbox.abandon(number)
        progress.lost(number, f"trial {number}: another sweep has taken it over")

    def give_back(self, running: OnItsWay) -> None:
        """Requeue an interrupted trial, and end its run as KILLED.

        Where that fails, the next sweep of the study finds it without a living owner and does the same.
        """
        number = running.trial.number
        ran = self.running.pop(number, None) is not None
        self.twins.pop(number, None)
        if running.lost:
            return
        try:
            if running.placed and self._outbox.run_id(number):
                self._outbox.write(number, End("KILLED", "interrupted"))  # until it is tried again
        except OwnershipLost:
            self._outbox.abandon(number)
            return
        self._study.trials.requeue(number, ran=ran)
        self.ask_at = 0.0

    def put_back(self) -> None:
        """Requeue all unfinished trials."""
        for running in [*self.running.values(), *self.twins.values()]:
            self.give_back(running)
