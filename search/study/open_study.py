"""An open study: its configuration, its storage, and Optuna's study object."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search.config import SweepConfig
from search.study.optuna_private import cached
from search.study.results import Results
from search.study.storage import PatientStorage, storage_errors


class OpenStudy:
    """What the parts of a study share."""

    study: optuna.Study  # once it exists

    def __init__(self, config: SweepConfig, patient: PatientStorage) -> None:
        self.config, self.patient = config, patient
        self.storage = cached(patient)

    @property
    def name(self) -> str:
        return self.config.study

    @property
    def study_id(self) -> int:
        """The id that the methods of the storage take."""
        return self.storage.get_study_id_from_name(self.name)

    def id_of(self, trial: FrozenTrial | optuna.Trial) -> int:
        """The id of a trial that the methods of the storage take."""
        return self.storage.get_trial_id_from_study_id_trial_number(self.study_id, trial.number)

    def seen_through(self, storage: Any, sampler: BaseSampler | None = None) -> optuna.Study:
        """The study with something in front of its storage, and with its own sampler or another one."""
        return optuna.load_study(
            study_name=self.name, storage=storage, sampler=sampler or self.study.sampler, pruner=self.study.pruner
        )

    @property
    def results(self) -> Results:
        """The results of the trials."""
        return Results(self.study, self.config)

    def errors(self) -> AbstractContextManager[None]:
        """Convert any error of the storage to a one-line error."""
        return storage_errors(self.config.storage)
