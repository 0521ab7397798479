"""The configuration of a sweep, and which options a study fixes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Annotated, Any, Literal, cast

from architectures.errors import UsageError
from architectures.fields import (
    PLUGINS,
    Allowed,
    Choice,
    Instance,
    InvalidValue,
    Name,
    Number,
    NumberRange,
    Several,
    Whole,
    Wholes,
    as_recorded,
    validate,
)
from architectures.knobs import Knob
from architectures.ranges import Range
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
    RunResult,
)
from experiments.datasets import title
from experiments.objective import (
    FIGURES,
    MINIMIZED,
    MOST_OBJECTIVES,
    OBJECTIVES,
    OF_THE_NETWORK,
    OTHER_NAMES,
    Objective,
)
from experiments.recipe import RECIPE, RecipeRanges
from search.space import SEARCH, SEARCH_BEFORE, SearchSpace
from search.study.pruning import rungs

# Options that make the trials of a study comparable: recorded with it, and fixed when it is continued.
FIXED = (
    "dataset",
    "architectures",
    "batch_sizes",
    "dropout",
    "filters",
    "knobs",
    "learning_rate",
    "learning_rate_factor",
    "schedule",
    "optimizer",
    "loss",
    "teacher",
    *RECIPE,
    "augment",
    "views",
    "epochs",
    "objectives",
    "max_coreml_bytes",
    "compress",
    "pruner",
    "sampler",
    "warm_start",
    "seed",
    "precision",
    "experiment",
    "plugins",
)
BEFORE = {"schedule": "constant", "augment": "off", "warm_start": "off"}  # values of older studies
AUTO = "auto"  # precision and pruner: studies record the resolved value
FROM_COMPLETE = ("gp", "cmaes")  # samplers that learn from complete trials only, which halving completes late
PRUNERS = ("halving", "median", "hyperband", "front", "none")
SAMPLERS = ("tpe", "gp", "cmaes", "random", "grid", "bruteforce")
EXHAUSTIVE = ("grid", "bruteforce")  # which try each combination once
OFF = "off"
PORTFOLIO = "portfolio"
ON = "on"  # the augmentation that suits the data, which a study and a run record
AUGMENT_OPTIONS = (ON, *AUGMENTATIONS, SEARCH)
ENGINES = ("local", "ray")
ARCHITECTURES = Several(Instance(str, "a text"), distinct=True)
CHANGEABLE = ("trials", "keep", "register_as", "replicates")  # recorded, too: the defaults of a continuation

RAY_OPTIONS = ("ray_address", "cpus_per_trial", "gpus_per_trial")


class Objectives(Allowed):
    """The objectives of a sweep, as text separated by commas. The one that ranks comes first.

    >>> Objectives()("macs, best_val_loss")
    ('val_loss', 'macs')
    """

    def read(self, text: str) -> object:
        return tuple(part.strip() for part in text.split(","))

    def check(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, tuple | list):
            raise InvalidValue(f"{value!r} is not an objective: give names, such as {OBJECTIVES[0]}")
        shown = ",".join(map(str, value))
        names = [OTHER_NAMES.get(one, one) if isinstance(one, str) else one for one in value]
        for name in names:
            if name not in FIGURES:
                raise InvalidValue(f"{name!r} is not an objective: choose from {', '.join(FIGURES)}")
            if names.count(name) > 1:
                raise InvalidValue(f"{shown!r} holds {name} twice")
        if not set(names) & set(OBJECTIVES):
            raise InvalidValue(
                f"{shown!r} does not say which epoch and which model is the best: one of {', '.join(OBJECTIVES)} must "
                "be among them"
            )
        if len(names) > MOST_OBJECTIVES:
            raise InvalidValue(f"{shown!r}: at most {MOST_OBJECTIVES} objectives, not {len(names)}")
        return tuple(sorted(names, key=lambda name: name not in OBJECTIVES))


class Gpus(Number):
    """A fraction of a GPU, or a number of whole GPUs.

    >>> Gpus(0, 1_000)("0.5"), Gpus(0, 1_000)("2")
    (0.5, 2.0)
    """

    def check(self, value: object) -> float:
        gpus = super().check(value)
        if gpus > 1 and gpus != int(gpus):
            raise InvalidValue(f"{gpus:g} is neither a share of one GPU, such as 0.5, nor a number of whole ones")
        return gpus


class Workers(Allowed):
    """A number of worker processes, or auto.

    >>> Workers()("2"), Workers()("auto")
    (2, 'auto')
    """

    def read(self, text: str) -> object:
        return Whole(1).read(text)

    def check(self, value: object) -> int | str:
        if isinstance(value, str) and value == AUTO:
            return AUTO
        try:
            return Whole(1).check(value)
        except InvalidValue as error:
            raise InvalidValue(f"{error} (or {AUTO})") from None


@dataclass(frozen=True)
class SweepConfig(RecipeRanges):
    """One sweep. The defaults take some minutes on two cores and reach 0.98 on mnist5k.

    Raises:
        UsageError: for a value that is not allowed, or an option of Ray with another engine.
    """

    tracking_uri: str
    study: Annotated[str, Name()]
    storage: str = "sqlite:///optuna.db"
    dataset: str = "mnist5k"  # a name, or files: folder:DIR, idx:DIR, npz:FILE
    architectures: Annotated[tuple[str, ...], ARCHITECTURES] = ()  # empty: all that fit the data
    batch_sizes: Annotated[tuple[int, ...], Wholes(ALLOWED_BATCH_SIZE, minimum=1)] = SearchSpace.batch_sizes
    dropout: Annotated[Range, NumberRange(ALLOWED_DROPOUT)] = SearchSpace.dropout
    filters: Annotated[tuple[int, ...], Wholes(ALLOWED_FILTERS, minimum=1)] = SearchSpace.filters
    # values of architectures' own hyperparameters, instead of all their choices
    knobs: tuple[tuple[str, tuple[Knob, ...]], ...] = ()
    # highest rate; None: the optimizer's default for this schedule
    learning_rate: Annotated[Range, NumberRange(ALLOWED_LEARNING_RATE, logarithmic=True)] | None = None
    learning_rate_factor: Annotated[float, Number(0, 1_000)] = 1.0  # the optimizer's, recorded by the study
    schedule: Annotated[str, ALLOWED_SCHEDULE] = SearchSpace.schedule
    optimizer: Annotated[str, REGISTERED] = SearchSpace.optimizer
    loss: Annotated[str, REGISTERED] = SearchSpace.loss
    # a run: id, prefix or name; recorded with id and digest
    teacher: Annotated[str, ALLOWED_TEACHER] = SearchSpace.teacher
    augment: Annotated[str, Choice((*AUGMENT_OPTIONS, SEARCH_BEFORE))] = ON  # search: each trial draws one
    # augmented views of each image for a frozen backbone; 0: a new view in every epoch
    views: Annotated[int, ALLOWED_VIEWS] = 0
    objectives: Annotated[tuple[str, ...], Objectives()] = ("val_accuracy",)
    # a trial whose file would be larger is infeasible and not trained
    max_coreml_bytes: Annotated[int, Whole(1)] | None = None
    compress: Compression = "none"  # of the file whose bytes are the objective and the limit
    trials: Annotated[int, Whole(1)] = 12  # in the study, those of earlier sweeps included
    timeout: Annotated[float, Number(1, 1e9)] | None = None  # seconds after which no new trial starts
    epochs: Annotated[int, ALLOWED_EPOCHS] = 15  # maximum of a trial
    pruner: Annotated[str, Choice((AUTO, *PRUNERS))] = AUTO  # see `resolved_pruner`
    sampler: Annotated[str, Choice(SAMPLERS)] = "tpe"  # Optuna's
    # the first trials are the best configurations of earlier studies (auto, or the name of one) or the portfolio's
    warm_start: Annotated[str, Name()] = PORTFOLIO
    workers: Annotated[int | Literal["auto"], Workers()] = 1
    engine: Annotated[str, Choice(ENGINES)] = "local"
    ray_address: str = ""  # empty: a cluster on this machine for this sweep only
    cpus_per_trial: Annotated[int, Whole(1)] = 1  # on a Ray cluster; also TensorFlow's threads
    gpus_per_trial: Annotated[float, Gpus(0, 1_000)] = 0.0
    # seconds without a heartbeat after which another host's trial is taken over
    takeover_after: Annotated[int, Whole(2)] = 60
    seed: Annotated[int, ALLOWED_SEED] = 0
    precision: Annotated[str, Choice((AUTO, *PRECISIONS))] = AUTO
    experiment: Annotated[str, Name(empty=True)] = ""  # empty: the data set's name
    register_as: Annotated[str, Name(empty=True)] = ""  # empty: <dataset>-classifier
    keep: Annotated[int, Whole(1)] = 3  # models kept and registered
    plugins: Annotated[tuple[str, ...], PLUGINS] = ()
    replicates: Annotated[int, Whole(0)] = 0  # further seeds for each of the best configurations
    enqueue: tuple[
        Mapping[str, object], ...
    ] = ()  # configurations to try first, instead of the portfolio and the published ones
    figures: bool = True  # draw figures of the study and of the kept models
    # fields that were given: when a study is continued, they replace CHANGEABLE options and must agree with FIXED ones;
    # None: see `asked`
    given: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        validate(self)
        if unknown := sorted({*(self.given or ())} - {field.name for field in fields(self)}):
            raise UsageError(f"given holds {', '.join(map(repr, unknown))}: it takes names of fields of SweepConfig.")
        for option in RAY_OPTIONS:
            if self.engine != "ray" and getattr(self, option) != getattr(type(self), option):
                raise UsageError(f"--{option.replace('_', '-')} needs --engine ray.")

    @property
    def asked(self) -> tuple[str, ...]:
        """The options that were given; by default those that a continuation may change or that are not the default.

        >>> "epochs" in SweepConfig("sqlite:///mlflow.db", "night", epochs=20).asked
        True
        """
        if self.given is not None:
            return self.given
        return tuple(
            field.name
            for field in fields(self)
            if field.name in CHANGEABLE or getattr(self, field.name) != field.default
        )

    @property
    def suits_portfolio(self) -> bool:
        """Whether the search may start from the portfolio, which was learned for accuracy alone.

        A limit of bytes or a further objective needs smaller networks. Exhaustive samplers have an order of their own,
        and --enqueue replaces the first configurations.
        """
        for_accuracy = self.max_coreml_bytes is None and len(self.objectives) == 1
        return for_accuracy and self.sampler not in EXHAUSTIVE and not self.enqueue

    def values_of(self, result: RunResult) -> tuple[float, ...]:
        """Return the objectives of a run."""
        return tuple(map(result.value, self.objectives))

    @property
    def objective(self) -> Objective:
        """The figure by which the best epoch, trial and model are chosen."""
        return cast(Objective, self.objectives[0])

    @property
    def minimized(self) -> bool:
        """Whether a lower value of the objective is better."""
        return self.objective in MINIMIZED

    @property
    def halves(self) -> bool:
        """Whether trials are paused at rungs."""
        return self.pruner == "halving"

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
            UsageError: for a pruner that does not fit the objectives.

        >>> SweepConfig("sqlite:///mlflow.db", "night").resolved_pruner
        'halving'
        >>> two = ("val_accuracy", "coreml_bytes")
        >>> SweepConfig("sqlite:///mlflow.db", "night", objectives=two, epochs=3).resolved_pruner
        'front'
        """
        late = [name for name in self.objectives[1:] if name not in OF_THE_NETWORK]
        reason = "median and hyperband compare one figure, front needs two"
        fitting: tuple[str, ...] = ("halving", "median", "hyperband", "none")
        if late:
            reason, fitting = f"{late[0]} is not known before a trial has ended", ("none",)
        elif len(self.objectives) > 1:
            fitting = ("halving", "front", "none")
        if self.pruner == AUTO:
            may_pause = rungs(self.epochs) and self.sampler not in FROM_COMPLETE
            return next(name for name in fitting if name != "halving" or may_pause)
        if self.pruner not in fitting:
            raise UsageError(
                f"--pruner {self.pruner} does not fit --objective {_shown(self.objectives)}: {reason}. Choose "
                f"{' or '.join(filter(None, (', '.join(fitting[:-1]), fitting[-1])))}."
            )
        if self.halves and not rungs(self.epochs):
            raise UsageError(f"--pruner halving pauses no trial of {self.epochs} epochs: give --epochs 5 or more.")
        return self.pruner

    def recorded(self) -> str:
        """Return what a continuation needs, as JSON for the study."""
        return json.dumps({key: value for key, value in asdict(self).items() if key in FIXED + CHANGEABLE})

    def continuing(self, recorded: str) -> SweepConfig:
        """Return this configuration with the fixed options of an existing study.

        Raises:
            UsageError: if an option that was asked for contradicts the record.
        """
        held: dict[str, Any] = {field.name: field.default for field in fields(self) if field.name in FIXED + CHANGEABLE}
        held |= BEFORE
        record = {key: _tuples(value) for key, value in json.loads(recorded).items()}  # an older one has fewer
        held |= record
        if "mixup" not in record:  # nor was there more than one kind of augmentation
            held["augment"] = {ON: "digits", SEARCH: SEARCH_BEFORE}.get(held["augment"], held["augment"])
        for key in self.asked:
            value = getattr(self, key)
            if key in CHANGEABLE:
                held[key] = value
            elif key in FIXED and not _agree(key, value, held[key]):
                raise UsageError(
                    f"Study {self.study!r} was made with {key} {_shown(held[key])}, not {_shown(value)}: its trials "
                    f"would not be comparable. Leave the option out, or choose another --study."
                )
        # Recorded values are not validated again; given ones have been.
        return as_recorded(SweepConfig, **{field.name: getattr(self, field.name) for field in fields(self)} | held)

    @property
    def space(self) -> SearchSpace:
        own: dict[str, Any] = {name: getattr(self, name) for name in ("dropout", "learning_rate", *RECIPE)}
        if self.sampler in EXHAUSTIVE:  # a single number is one choice; a range without a step cannot be enumerated
            single = {name: limits for name, limits in own.items() if limits and limits[1:] == limits[:1]}
            own |= {name: (*limits, 1.0) for name, limits in single.items() if not isinstance(limits[0], str)}
        return SearchSpace(
            self.architectures,
            self.batch_sizes,
            filters=self.filters,
            augment=self.augment,
            schedule=self.schedule,
            optimizer=self.optimizer,
            loss=self.loss,
            teacher=self.teacher,
            learning_rate_factor=self.learning_rate_factor,
            **own,
        )


def new_study_name(dataset: str) -> str:
    """Return a name with date and time, to the second."""
    return f"{title(dataset)}-{datetime.now():%Y%m%d-%H%M%S}"


def given_options(options: Mapping[str, object]) -> dict[str, object]:
    """Return the options of a SweepConfig that were given on the command line, and their names as `given`."""
    known = {field.name for field in fields(SweepConfig)}
    found = {key: value for key, value in options.items() if key in known and value is not None}
    return found | {"given": tuple(found)}


def _agree(key: str, given: object, held: object) -> bool:
    """Return whether an option is compatible with what a study has recorded."""
    return given in (held, AUTO) or (key == "augment" and given == ON and held != "off")


def _tuples(value: object) -> object:
    """Convert JSON's lists to tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _shown(value: object) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
