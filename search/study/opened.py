"""A study that is open: its configuration, its storage, and Optuna's own object."""

from __future__ import annotations

from contextlib import AbstractContextManager

import optuna

from search.config import SweepConfig
from search.study.results import Standing
from search.study.storage import PatientStorage, one_line


class Opened:
    """What the parts of a study share."""

    study: optuna.Study  # once it exists

    def __init__(self, config: SweepConfig, patient: PatientStorage) -> None:
        self.config, self.patient = config, patient
        self.storage = optuna.storages.get_storage(patient)

    @property
    def name(self) -> str:
        return self.config.study

    @property
    def standing(self) -> Standing:
        """What the trials have come to."""
        return Standing(self.study, self.config)

    def one_line(self) -> AbstractContextManager[None]:
        """Whatever the storage raises becomes one line."""
        return one_line(self.config.storage)
