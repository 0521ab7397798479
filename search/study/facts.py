"""What the owner of a trial records besides its values by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial

from search.study.lifecycle import Lifecycle
from search.study.opened import Opened
from search.study.results import RESAMPLED


class Facts:
    """Records the facts of a study's trials.

    Each method raises OwnershipLost where another sweep has taken over the trial.
    """

    def __init__(self, opened: Opened, lifecycle: Lifecycle) -> None:
        self._open, self._lifecycle = opened, lifecycle

    def record_size(self, trial: optuna.Trial, sizes: Mapping[str, int], **more: object) -> None:
        """Record the size of a trial's file, and what else of its network is an objective.

        The limit is a constraint of the study: Optuna's sampler learns from it, and an oversized trial, which never
        reports an epoch, sets no bar for others. `more` are further attributes of the trial.
        """
        wanted = {name: size for name, size in sizes.items() if name in ("coreml_bytes", *self._open.config.objectives)}
        self._record_bytes(trial, wanted["coreml_bytes"], {**wanted, **more})

    def record_oversize(self, trial: optuna.Trial, at_least: int) -> None:
        """Record how large the file of a trial would be at least, which is more than it may be."""
        self._record_bytes(trial, at_least, {"coreml_bytes_at_least": at_least})

    def _record_bytes(self, trial: optuna.Trial, known: int, attributes: Mapping[str, object]) -> None:
        def act(_: FrozenTrial) -> None:
            for key, value in attributes.items():
                trial.set_user_attr(key, value)
            if self._open.config.max_coreml_bytes is not None and not trial.constraints:
                trial.set_constraint("coreml_bytes", known - self._open.config.max_coreml_bytes)

        self._lifecycle.owned(trial.number, act)

    def record_resampled(self, trial: optuna.Trial, resampled: Sequence[Sequence[int]]) -> None:
        """Record what tells luck from skill: 200 numbers, which Optuna's dashboard does not show among the others."""
        write = self._open.storage.set_trial_system_attr
        self._lifecycle.owned(trial.number, lambda held: write(held._trial_id, RESAMPLED, resampled))
