"""An open study: its configuration, its storage, and Optuna's study object."""

from __future__ import annotations

from contextlib import AbstractContextManager

import optuna

from search.config import SweepConfig
from search.study.results import Results
from search.study.storage import PatientStorage, storage_errors


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
    def results(self) -> Results:
        """The results of the trials."""
        return Results(self.study, self.config)

    def errors(self) -> AbstractContextManager[None]:
        """Convert any error of the storage to a one-line error."""
        return storage_errors(self.config.storage)
