"""Frozen records of what MLflow holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from architectures.errors import ProjectError
from architectures.fields import as_recorded
from architectures.knobs import RUN_PARAMETERS, knob_from_text
from experiments.config import AUGMENT_BEFORE, CROSS_ENTROPY, RunConfig
from experiments.recipe import CHOICES, RECIPE

HOST_LATENCY, LATENCY_BEFORE = "host_latency_ms", "latency_ms"  # metric, and its name in older runs
ATTEMPT = "attempt"  # tag of a trial's run: which attempt at the trial writes to it
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class RunRecord:
    """A run as MLflow holds it."""

    run_id: str
    name: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def attempt(self) -> int:
        """The number of the attempt that writes to it; 1 if it is older than this tag."""
        return int(self.tags.get(ATTEMPT, 1))

    @property
    def config(self) -> RunConfig:
        """The recorded configuration; raises ProjectError if there is none or it cannot be read."""
        try:
            return as_recorded(
                RunConfig,
                architecture=self.params["architecture"],
                dataset=self.params["dataset"],
                filters=self._number("filters", int) if "filters" in self.params else None,
                dropout=self._number("dropout", float),
                batch_size=self._number("batch_size", int),
                learning_rate=self._number("learning_rate", float),
                schedule=self.params.get("schedule", "constant"),  # of all runs that did not record it
                epochs=self._number("epochs", int),
                seed=self._number("seed", int),
                precision=self.params["precision"],
                optimizer=self.params["optimizer"],
                loss=self.params.get("loss", CROSS_ENTROPY),
                teacher=self.params.get("teacher", ""),
                augment=_augmentation(self.params["augment"]),
                views=self._number("views", int) if "views" in self.params else 0,
                compress=self.params.get("compress", "none"),
                objective=self.params.get("objective", "val_accuracy"),
                **{
                    name: self.params[name] if name in CHOICES else self._number(name, float)
                    for name in RECIPE
                    if name in self.params
                },
                knobs=tuple(
                    (name, knob_from_text(text))
                    for name, text in sorted(self.params.items())
                    if name not in RUN_PARAMETERS
                ),
            )
        except KeyError as error:
            raise ProjectError(f"Run {self.run_id} has no parameter {error}: it is not a training run.") from None

    def _number(self, name: str, kind: type[_Number]) -> _Number:
        """Return a parameter as a number; raise ProjectError for anything else."""
        text = self.params[name]
        try:
            if math.isfinite(value := kind(text)):
                return value
        except ValueError:
            pass
        what = "a whole number" if kind is int else "a number"
        raise ProjectError(f"Run {self.run_id} ({self.name}) records {name}={text[:40]!r}, which is not {what}.")


def _augmentation(text: str) -> str:
    return {str(value): kind for value, kind in AUGMENT_BEFORE.items()}.get(text, text)


@dataclass(frozen=True)
class RunStart:
    """The start of a run: everything that is known before it trains."""

    experiment_id: str
    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    dataset: Mapping[str, str]  # MLflow's dataset input

    @property
    def of_the_same_bits(self) -> dict[str, str]:
        """The tags that must be equal for an interrupted run to continue bit for bit."""
        return {key: value for key, value in self.tags.items() if key not in ("host", "mlflow.user", ATTEMPT)}


@dataclass(frozen=True)
class ModelRecord:
    """A model that was kept."""

    model_id: str  # of its MLflow LoggedModel
    run_id: str
    keras_sha256: str


@dataclass(frozen=True)
class VersionRecord(ModelRecord):
    """A kept model with its version in the registry."""

    registered_name: str
    version: int


@dataclass(frozen=True)
class VersionFacts(VersionRecord):
    """A registered version with what the registry says about it."""

    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def expected_coreml_bytes(self) -> int:
        """The size of its Core ML file, measured by its trial; raises KeyError for a promoted file's version."""
        return int(self.tags["expected_coreml_bytes"])


def named_today(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a run's metrics by their current names.

    >>> named_today({"latency_ms": 0.9, "macs": 300.0})
    {'host_latency_ms': 0.9, 'macs': 300.0}
    """
    return {HOST_LATENCY if key == LATENCY_BEFORE else key: value for key, value in metrics.items()}


def run_record(run) -> RunRecord:  # type: ignore[no-untyped-def]  # mlflow.entities.Run
    metrics = named_today(run.data.metrics)
    return RunRecord(run.info.run_id, run.info.run_name, run.info.status, run.data.params, metrics, run.data.tags)
