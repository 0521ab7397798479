"""Which trials of a study are queued, running, paused or finished."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from optuna.trial import FrozenTrial, TrialState

from search.grid import Grid
from search.study.claims import Claims
from search.study.halving import Halving
from search.study.open_study import OpenStudy
from search.study.results import REPLICATE_OF, is_paused


class Queue:
    """The trials of a study by state, read anew by each method."""

    def __init__(self, opened: OpenStudy) -> None:
        self._open = opened
        self.grid: Grid | None = None  # all combinations, if each is tried once
        self.claims = Claims(opened)

    def has_more(self) -> bool:
        """Return whether `ask` would return a trial now."""
        with self._open.errors():
            trials = self._open.study.get_trials(deepcopy=False)
            return self._may_start(trials, self._open.config.trials) or self._to_resume() is not None

    def _to_resume(self) -> FrozenTrial | None:
        return Halving(self._open.results).to_resume() if self._open.config.halves else None

    def _gathers(self) -> bool:
        return self._open.config.halves and Halving(self._open.results).gathers()

    def _may_start(self, trials: Sequence[FrozenTrial], wanted: int) -> bool:
        """Return whether another trial may start, new or queued, if so many are wanted."""
        waiting = to_ask(trials)
        searched = sum(REPLICATE_OF not in trial.user_attrs for trial in trials)
        started = searched - sum(REPLICATE_OF not in trial.user_attrs for trial in waiting)
        replicates_alone = bool(waiting) and all(REPLICATE_OF in trial.user_attrs for trial in waiting)
        left = bool(waiting) or not self._is_exhausted(trials)
        return (started < wanted and left) or replicates_alone

    def is_exhausted(self) -> bool:
        """Return whether every combination of a grid has been started."""
        with self._open.errors():
            return self.grid is not None and self._is_exhausted(self._open.study.get_trials(deepcopy=False))

    def _is_exhausted(self, trials: Sequence[FrozenTrial]) -> bool:
        return self.grid is not None and len(tried(self.grid, trials)) == self.grid.size

    def paused(self) -> list[int]:
        """Return the numbers of the trials paused at a rung."""
        with self._open.errors():
            return [trial.number for trial in self._open.study.get_trials(deepcopy=False) if is_paused(trial)]

    def others_run(self, gone: Collection[int] = ()) -> bool:
        """Return whether other processes are running trials, besides those whose owners are `gone`."""
        with self._open.errors():
            running = self._open.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(trial.number not in self.claims.numbers and trial.number not in gone for trial in running)

    def waiting_and_finished(self) -> tuple[set[int], set[int]]:
        """Return the numbers of the queued and of the finished trials."""
        with self._open.errors():
            trials = self._open.study.get_trials(deepcopy=False)
        waiting = {trial.number for trial in trials if trial.state == TrialState.WAITING}
        return waiting, {trial.number for trial in trials if trial.state.is_finished()}

    def unfinished(self) -> set[int]:
        """Return the numbers of the unfinished trials."""
        with self._open.errors():
            trials = self._open.study.get_trials(deepcopy=False)
        return {trial.number for trial in trials if not trial.state.is_finished()}

    def is_done(self) -> bool:
        """Return whether all requested trials have ended."""
        waiting, finished = self.waiting_and_finished()
        all_ended = len(finished) >= self._open.config.trials or self.is_exhausted()
        return not waiting and all_ended and not self.others_run()

    def interrupted(self) -> list[FrozenTrial]:
        """Return the queued trials that a worker had started."""
        waiting = to_ask(self._open.study.get_trials(deepcopy=False))
        return [trial for trial in waiting if "owner" in trial.user_attrs]


def to_ask(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the queued trials that are not paused."""
    return [trial for trial in trials if trial.state == TrialState.WAITING and not is_paused(trial)]


def tried(grid: Grid, trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the combinations that have been started."""
    begun = {grid.number(trial.params) for trial in trials if trial.state != TrialState.WAITING or is_paused(trial)}
    return {number for number in begun if number is not None}
