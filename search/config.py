"""What a sweep was asked for, and which of it a study fixes for good."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from architectures.errors import UsageError
from conversion.compress import Compression
from experiments.datasets import title
from search.space import SearchSpace

# What makes the trials of a study comparable: recorded with it, and not to be changed when it is continued.
FIXED = (
    "dataset",
    "architectures",
    "batch_sizes",
    "dropout",
    "filters",
    "learning_rate",
    "schedule",
    "label_smoothing",
    "augment",
    "epochs",
    "objectives",
    "max_coreml_bytes",
    "compress",
    "pruner",
    "seed",
    "precision",
    "experiment",
    "plugins",
)
BEFORE = {"schedule": "constant", "augment": "off"}  # what a study means that was recorded before there was the option
AUTO = "auto"  # the precision and pruner that a study records are what this stood for where it was made
OBJECTIVES = (("val_accuracy",), ("val_accuracy", "coreml_bytes"))  # the latter: accuracy up, bytes down
PRUNERS = ("median", "hyperband", "front", "none")
CHANGEABLE = ("trials", "keep", "register_as", "replicates")  # recorded, too: what a continuation means without them


@dataclass(frozen=True)
class SweepConfig:
    """One sweep. The defaults take some minutes on two cores and reach 0.98 on mnist5k."""

    tracking_uri: str
    study: str
    storage: str = "sqlite:///optuna.db"
    dataset: str = "mnist5k"  # a name, or files: folder:DIR, idx:DIR, npz:FILE
    architectures: tuple[str, ...] = ()  # empty: all that fit the data
    batch_sizes: tuple[int, ...] = SearchSpace.batch_sizes
    dropout: tuple[float, float] = SearchSpace.dropout
    filters: tuple[int, ...] = SearchSpace.filters
    learning_rate: tuple[float, float] | None = None  # of the highest rate; None: the schedule's own
    schedule: str = SearchSpace.schedule
    label_smoothing: tuple[float, float] | None = None
    augment: str = "on"  # off, or search: a trial's choice
    objectives: tuple[str, ...] = OBJECTIVES[0]
    max_coreml_bytes: int | None = None  # a trial whose file would be larger is infeasible and not trained
    compress: Compression = "none"  # of the file whose bytes are the objective and the limit
    trials: int = 12  # in the study, those of earlier sweeps included
    timeout: float | None = None  # seconds after which no new trial starts
    epochs: int = 15  # a trial at most
    pruner: str = AUTO  # median with one objective, front with two
    workers: int = 1
    engine: str = "local"  # or ray
    ray_address: str = ""  # empty: a cluster of this machine that is started and ended
    cpus_per_trial: int = 1  # of a Ray cluster, and TensorFlow's threads
    gpus_per_trial: float = 0.0
    takeover_after: int = 60  # seconds without a sign of life after which another host's trial is taken over
    seed: int = 0
    precision: str = AUTO
    experiment: str = ""  # empty: the data set's name
    register_as: str = ""  # empty: <dataset>-classifier
    keep: int = 3  # models kept and registered
    plugins: tuple[str, ...] = ()
    replicates: int = 0  # further seeds for each of the best configurations
    enqueue: tuple[Mapping[str, object], ...] = ()  # configurations to try first, not the published ones then
    figures: bool = True  # draw the study and the kept models, beside their numbers

    @property
    def chosen(self) -> dict[str, object]:
        """The options that are not the defaults, and those that a continuation may change.

        >>> SweepConfig("sqlite:///mlflow.db", "night", epochs=20).chosen["epochs"]
        20
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            field.name: values[field.name]
            for field in fields(self)
            if field.name in CHANGEABLE or values[field.name] != field.default
        }

    @property
    def experiment_name(self) -> str:
        return self.experiment or title(self.dataset)

    @property
    def registered_name(self) -> str:
        return self.register_as or f"{title(self.dataset)}-classifier"

    @property
    def resolved_pruner(self) -> str:
        """The pruner that `auto` stands for.

        Raises:
            UsageError: for one that does not fit the objectives.

        >>> SweepConfig("sqlite:///mlflow.db", "night", objectives=OBJECTIVES[1]).resolved_pruner
        'front'
        """
        fitting = ("front", "none") if len(self.objectives) > 1 else ("median", "hyperband", "none")
        if self.pruner == AUTO:
            return fitting[0]
        if self.pruner not in fitting:
            raise UsageError(
                f"--pruner {self.pruner} does not fit --objective {_shown(self.objectives)}: median and hyperband "
                f"compare one figure, front needs two. Choose {' or '.join(fitting)}."
            )
        return self.pruner

    def recorded(self) -> str:
        """What a continuation needs as JSON, for the study's own record."""
        return json.dumps({key: value for key, value in asdict(self).items() if key in FIXED + CHANGEABLE})

    def continuing(self, recorded: str, given: Mapping[str, object]) -> SweepConfig:
        """This configuration with the fixed part of an existing study.

        Raises:
            UsageError: if one of the `given` options contradicts the record.
        """
        held: dict[str, Any] = {field.name: field.default for field in fields(self) if field.name in FIXED + CHANGEABLE}
        held |= BEFORE
        held |= {key: _tuples(value) for key, value in json.loads(recorded).items()}  # an older record has fewer
        for key, value in given.items():
            if key in CHANGEABLE:
                held[key] = value
            elif key in FIXED and value not in (held[key], AUTO):
                raise UsageError(
                    f"Study {self.study!r} was made with {key} {_shown(held[key])}, not {_shown(value)}: its trials "
                    f"would not be comparable. Leave the option out, or choose another --study."
                )
        return replace(self, **held)

    @property
    def space(self) -> SearchSpace:
        return SearchSpace(
            self.architectures,
            self.batch_sizes,
            self.dropout,
            self.filters,
            self.learning_rate,
            self.label_smoothing,
            self.augment,
            self.schedule,
        )


def new_study_name(dataset: str) -> str:
    """A dated name, to the second."""
    return f"{title(dataset)}-{datetime.now():%Y%m%d-%H%M%S}"


def given_options(options: Mapping[str, object]) -> dict[str, object]:
    """The options that were given on the command line and that a SweepConfig holds."""
    known = {field.name for field in fields(SweepConfig)}
    return {key: value for key, value in options.items() if key in known and value is not None}


def _tuples(value: object) -> object:
    """JSON's lists back to tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _shown(value: object) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
