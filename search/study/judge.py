"""Whether a trial goes on after an epoch, waits, or is pruned."""

from __future__ import annotations

from copy import copy
from enum import Enum
from typing import cast

import optuna
from optuna.trial import FrozenTrial

from search.config import SweepConfig
from search.study.halving import Halving
from search.study.lifecycle import Lifecycle
from search.study.opened import Opened
from search.study.pruning import PAUSED_AT, RANDOM_TRIALS, WARMUP_EPOCHS, LateMarks, cannot_enter_front
from search.study.results import COURSE, REPLICATE_OF, values_by_epoch

PRUNED_AT = "pruned_at"  # user attribute of a trial that was found hopeless: the epoch


class PruningVerdict(Enum):
    """What becomes of a trial after an epoch."""

    GO_ON = "go on"
    PAUSE = "pause"
    PRUNE = "prune"


class Judge:
    """Records the objective after each epoch of a study's trials, and says which ones to pause or prune."""

    def __init__(self, opened: Opened, lifecycle: Lifecycle) -> None:
        self._open, self._lifecycle = opened, lifecycle

    def report(self, trial: optuna.Trial, value: float, epoch: int) -> PruningVerdict:
        """Report the objective after an epoch; returns what becomes of the trial.

        Epochs that an earlier attempt has reported were judged then, and after the last one nothing would be saved.

        Raises:
            OwnershipLost: where another sweep has taken it over.
        """

        def act(held: FrozenTrial) -> PruningVerdict:
            if epoch > len(before := values_by_epoch(held)):
                course = (*before, value)
                marks = LateMarks(self._open.storage)
                # Before the value, with which the epoch counts as judged.
                if self._is_hopeless(held, course, marks):
                    trial.set_user_attr(PRUNED_AT, epoch)
                if self._open.config.halves and REPLICATE_OF not in held.user_attrs:
                    paused = Halving(self._open.results).pauses(held, course)
                    if paused or held.user_attrs.get(PAUSED_AT):
                        trial.set_user_attr(PAUSED_AT, epoch if paused else 0)
                for mark in marks.made:
                    self._open.storage.set_trial_system_attr(*mark)
                # A replicate sets no bar, and Optuna keeps intermediate values of one objective only.
                if REPLICATE_OF in held.user_attrs or len(self._open.config.objectives) > 1:
                    trial.set_user_attr(COURSE, course)
                else:
                    trial.report(value, epoch)
            elif before[epoch - 1] != value:  # an earlier attempt's, on other threads or another processor
                self._correct(held, epoch, value)
            attributes = trial.user_attrs
            if attributes.get(PAUSED_AT) == epoch:
                return PruningVerdict.PAUSE
            return PruningVerdict.PRUNE if attributes.get(PRUNED_AT) == epoch else PruningVerdict.GO_ON

        return cast(PruningVerdict, self._lifecycle.owned(trial.number, act))

    def _is_hopeless(self, held: FrozenTrial, course: tuple[float, ...], marks: LateMarks) -> bool:
        """Whether a trial with these values is to be pruned; a replicate is trained to its end."""
        if (
            REPLICATE_OF in held.user_attrs
            or len(course) == self._open.config.epochs
            or self._open.config.pruner in ("none", "halving")
        ):
            return False
        if len(self._open.config.objectives) > 1:  # Optuna judges one
            results = self._open.results
            return cannot_enter_front(results.course(held, course), results.courses())
        held.intermediate_values = dict(enumerate(course, 1))
        study = copy(self._open.study)
        study._storage = marks  # type: ignore[assignment]
        return study.pruner.prune(study, held)

    def _correct(self, held: FrozenTrial, epoch: int, value: float) -> None:
        if COURSE in held.user_attrs:
            course = [*held.user_attrs[COURSE]]
            course[epoch - 1] = value
            self._open.storage.set_trial_user_attr(held._trial_id, COURSE, course)
        else:
            self._open.storage.set_trial_intermediate_value(held._trial_id, epoch, value)


def pruner_of(config: SweepConfig) -> optuna.pruners.BasePruner:
    """Optuna's pruner for one objective; several are judged by the front."""
    if config.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
    if config.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=config.epochs)
    return optuna.pruners.NopPruner()
