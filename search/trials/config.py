"""The configuration of a single trial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from architectures.fields import PLUGINS, Choice, Name, validate
from architectures.knobs import Knob
from experiments.config import (
    AUGMENTATIONS,
    BATCH_SIZE,
    DROPOUT,
    EPOCHS,
    FILTERS,
    LEARNING_RATE,
    PRECISIONS,
    REGISTERED,
    SCHEDULE,
    SEED,
    TEACHER,
    VIEWS,
    Compression,
    RunConfig,
)
from experiments.objective import Objective
from experiments.recipe import ASKED, RECIPE_OPTIONS, Recipe
from search.config import AUTO, ON


def _asked_or_none(config: type) -> type:
    """Give the hyperparameters that a builder takes the default None, which stands for the builder's own."""
    for name, asked in RECIPE_OPTIONS.items():
        if asked.taken_by:
            config.__annotations__[name] = Annotated[float, ASKED[name]] | None
            setattr(config, name, field(default=None, kw_only=True))
    return config


@dataclass(frozen=True)
@_asked_or_none
class TrialConfig(Recipe):
    """One trial. None stands for the value that the architecture was published with.

    Raises:
        UsageError: for an invalid value.
    """

    tracking_uri: str
    architecture: str
    dataset: str = "mnist5k"
    filters: Annotated[int, FILTERS] | None = None
    dropout: Annotated[float, DROPOUT] | None = None
    batch_size: Annotated[int, BATCH_SIZE] | None = None  # None: 128, or less if there are few images
    learning_rate: Annotated[float, LEARNING_RATE] | None = None  # None: the optimizer's default for this schedule
    schedule: Annotated[str, SCHEDULE] = RunConfig.schedule
    optimizer: Annotated[str, REGISTERED] = RunConfig.optimizer
    loss: Annotated[str, REGISTERED] = RunConfig.loss
    teacher: Annotated[str, TEACHER] = RunConfig.teacher  # a run: id, unique prefix, or name
    augment: Annotated[str, Choice((ON, *AUGMENTATIONS))] = RunConfig.augment
    views: Annotated[int, VIEWS] = 0
    knobs: tuple[tuple[str, Knob], ...] = ()  # knobs of the architecture; those not given have their first choice
    objective: Objective = RunConfig.objective  # decides which epoch is kept
    epochs: Annotated[int, EPOCHS] = RunConfig.epochs
    seed: Annotated[int, SEED] = 0
    precision: Annotated[str, Choice((AUTO, *PRECISIONS))] = AUTO
    compress: Compression = "none"  # of the file whose size is measured
    experiment: Annotated[str, Name(empty=True)] = ""  # empty: the data set's name
    register_as: Annotated[str, Name(empty=True)] = ""  # empty: <dataset>-classifier
    plugins: Annotated[tuple[str, ...], PLUGINS] = ()

    def __post_init__(self) -> None:
        validate(self)
