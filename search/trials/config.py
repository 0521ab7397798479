"""The configuration of a single trial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from architectures.fields import PLUGINS, Choice, Name, validate
from architectures.knobs import Knob
from experiments.config import (
    ALLOWED_BATCH_SIZE,
    ALLOWED_DROPOUT,
    ALLOWED_EPOCHS,
    ALLOWED_FILTERS,
    ALLOWED_LEARNING_RATE,
    ALLOWED_SCHEDULE,
    ALLOWED_SEED,
    ALLOWED_TEACHER,
    ALLOWED_VIEWS,
    AUGMENTATIONS,
    PRECISIONS,
    REGISTERED,
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
    filters: Annotated[int, ALLOWED_FILTERS] | None = None
    dropout: Annotated[float, ALLOWED_DROPOUT] | None = None
    batch_size: Annotated[int, ALLOWED_BATCH_SIZE] | None = None  # None: 128, or less if there are few images
    # None: the optimizer's default for this schedule
    learning_rate: Annotated[float, ALLOWED_LEARNING_RATE] | None = None
    schedule: Annotated[str, ALLOWED_SCHEDULE] = RunConfig.schedule
    optimizer: Annotated[str, REGISTERED] = RunConfig.optimizer
    loss: Annotated[str, REGISTERED] = RunConfig.loss
    teacher: Annotated[str, ALLOWED_TEACHER] = RunConfig.teacher  # a run: id, unique prefix, or name
    augment: Annotated[str, Choice((ON, *AUGMENTATIONS))] = RunConfig.augment
    views: Annotated[int, ALLOWED_VIEWS] = 0
    knobs: tuple[tuple[str, Knob], ...] = ()  # knobs of the architecture; those not given have their first choice
    objective: Objective = RunConfig.objective  # decides which epoch is kept
    epochs: Annotated[int, ALLOWED_EPOCHS] = RunConfig.epochs
    seed: Annotated[int, ALLOWED_SEED] = 0
    precision: Annotated[str, Choice((AUTO, *PRECISIONS))] = AUTO
    compress: Compression = "none"  # of the file whose size is measured
    experiment: Annotated[str, Name(empty=True)] = ""  # empty: the data set's name
    register_as: Annotated[str, Name(empty=True)] = ""  # empty: <dataset>-classifier
    plugins: Annotated[tuple[str, ...], PLUGINS] = ()

    def __post_init__(self) -> None:
        validate(self)
