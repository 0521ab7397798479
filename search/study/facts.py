"""What the owner of a trial records in the study besides the value of each epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial

from search.engines.messages import LARGEST_UNASKED
from search.study.lifecycle import Lifecycle
from search.study.open_study import OpenStudy
from search.study.results import RESAMPLED


class Facts:
    """Records facts about the trials of a study.

    Each method raises OwnershipLost if another sweep has taken over the trial.
    """

    def __init__(self, opened: OpenStudy, lifecycle: Lifecycle) -> None:
        self._open, self._lifecycle = opened, lifecycle

    def record_size(self, trial: optuna.Trial, sizes: Mapping[str, int], **more: object) -> None:
        """Record the size of a trial's file, and any other property of its network that is an objective or a cost.

        The size limit is a constraint of the study, so the sampler learns from it. An oversized trial reports no epoch,
        so it does not affect pruning. `more` are further attributes of the trial.
        """
        names = {"coreml_bytes", *self._open.config.objectives, *(["macs"] if self._open.config.halves else [])}
        wanted = {name: size for name, size in sizes.items() if name in names}
        limit = self._open.config.max_coreml_bytes
        excess = None if limit is None else ("coreml_bytes", wanted["coreml_bytes"] - limit)
        self._record(trial, {**wanted, **more}, excess)

    def record_oversize(self, trial: optuna.Trial, parameters: int, at_least: int) -> None:
        """Record a lower bound of the size of a trial's file whose network was too large to be converted."""
        limit = self._open.config.max_coreml_bytes
        unasked = "parameters", parameters - LARGEST_UNASKED
        excess = unasked if limit is None else ("coreml_bytes", at_least - limit)
        self._record(trial, {"coreml_bytes_at_least": at_least}, excess)

    def _record(self, trial: optuna.Trial, attributes: Mapping[str, object], excess: tuple[str, int] | None) -> None:
        def act(_: FrozenTrial) -> None:
            for key, value in attributes.items():
                trial.set_user_attr(key, value)
            if excess and not trial.constraints:
                trial.set_constraint(*excess)

        self._lifecycle.owned(trial.number, act)

    def record_resampled(self, trial: optuna.Trial, resampled: Sequence[Sequence[int]]) -> None:
        """Record 200 counts for the expected accuracy, as a system attribute, which Optuna's dashboard hides."""
        write = self._open.storage.set_trial_system_attr
        self._lifecycle.owned(trial.number, lambda held: write(self._open.id_of(held), RESAMPLED, resampled))
