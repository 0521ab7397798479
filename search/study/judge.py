"""Decide after each epoch whether a trial continues, pauses, or is pruned."""

from __future__ import annotations

from enum import Enum
from typing import cast

import optuna
from optuna.trial import FrozenTrial

from search.config import SweepConfig
from search.study.halving import Halving
from search.study.lifecycle import Lifecycle
from search.study.open_study import OpenStudy
from search.study.pruning import PAUSED_AT, RANDOM_TRIALS, WARMUP_EPOCHS, LateMarks, cannot_enter_front
from search.study.results import COURSE, REPLICATE_OF, values_by_epoch

PRUNED_AT = "pruned_at"  # user attribute of a pruned trial: the epoch


class PruningVerdict(Enum):
    """What happens to a trial after an epoch."""

    GO_ON = "go on"
    PAUSE = "pause"
    PRUNE = "prune"


class Judge:
    """Records the objective after each epoch, and decides which trials to pause or prune."""

    def __init__(self, opened: OpenStudy, lifecycle: Lifecycle) -> None:
        self._open, self._lifecycle = opened, lifecycle

    def report(self, trial: optuna.Trial, value: float, epoch: int, *, may_pause: bool = True) -> PruningVerdict:
        """Report the objective after an epoch, and return what happens to the trial.

        Epochs reported by an earlier attempt have already been judged. After the last epoch there is nothing to save.

        Args:
            may_pause: False if the end of an attempt could not be recorded, which the next attempt waits for.

        Raises:
            OwnershipLost: if another sweep has taken over the trial.
        """

        def act(held: FrozenTrial) -> PruningVerdict:
            if epoch > len(before := values_by_epoch(held)):
                course = (*before, value)
                marks = LateMarks(self._open.storage)
                # Written before the value, because an epoch with a value counts as judged.
                if self._should_prune(held, course, marks):
                    trial.set_user_attr(PRUNED_AT, epoch)
                if self._open.config.halves and REPLICATE_OF not in held.user_attrs:
                    paused = may_pause and Halving(self._open.results).pauses(held, course)
                    if paused or held.user_attrs.get(PAUSED_AT):
                        trial.set_user_attr(PAUSED_AT, epoch if paused else 0)
                for mark in marks.made:
                    self._open.storage.set_trial_system_attr(*mark)
                # Replicates do not affect pruning. Optuna has intermediate values for a single objective only.
                if REPLICATE_OF in held.user_attrs or len(self._open.config.objectives) > 1:
                    trial.set_user_attr(COURSE, course)
                else:
                    trial.report(value, epoch)
            elif before[epoch - 1] != value:  # from an earlier attempt, with other threads or on another processor
                self._correct(held, epoch, value)
            attributes = trial.user_attrs
            if attributes.get(PAUSED_AT) == epoch:
                return PruningVerdict.PAUSE
            return PruningVerdict.PRUNE if attributes.get(PRUNED_AT) == epoch else PruningVerdict.GO_ON

        return cast(PruningVerdict, self._lifecycle.owned(trial.number, act))

    def _should_prune(self, held: FrozenTrial, course: tuple[float, ...], marks: LateMarks) -> bool:
        """Return whether to prune a trial with these values. Replicates are never pruned."""
        if (
            REPLICATE_OF in held.user_attrs
            or len(course) == self._open.config.epochs
            or self._open.config.pruner in ("none", "halving")
        ):
            return False
        if len(self._open.config.objectives) > 1:  # Optuna prunes single-objective studies only
            results = self._open.results
            return cannot_enter_front(results.course(held, course), results.courses())
        held.intermediate_values = dict(enumerate(course, 1))
        study = self._open.seen_through(marks)
        return study.pruner.prune(study, held)

    def _correct(self, held: FrozenTrial, epoch: int, value: float) -> None:
        if COURSE in held.user_attrs:
            course = [*held.user_attrs[COURSE]]
            course[epoch - 1] = value
            self._open.storage.set_trial_user_attr(self._open.id_of(held), COURSE, course)
        else:
            self._open.storage.set_trial_intermediate_value(self._open.id_of(held), epoch, value)


def pruner_of(config: SweepConfig) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner for one objective. With several objectives, the front is used instead."""
    if config.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
    if config.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=config.epochs)
    return optuna.pruners.NopPruner()
