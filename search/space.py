"""The search space: which values a sweep tries, and how a trial draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from architectures.errors import UsageError
from architectures.knobs import Knob
from architectures.ranges import Range, numbers
from experiments.config import AUGMENT_BEFORE, AUGMENTATIONS, RunConfig, usual_learning_rate
from experiments.recipe import CHOICES, RECIPE, Recipe, RecipeRanges
from search.engines.messages import KnownArchitecture

if TYPE_CHECKING:
    import optuna


SEARCH, SEARCH_BEFORE = "search", "search off or digits"
AUGMENT_CHOICES: Mapping[str, tuple[str | bool, ...]] = {
    SEARCH: AUGMENTATIONS,
    SEARCH_BEFORE: tuple(AUGMENT_BEFORE),  # a study keeps the choices that it was created with
}
LEAST_STEPS = 4  # in an epoch at a default batch size: fewer teach too little (experiments/LOG.md, 2026-11-26)


def fitting_batch_sizes(default: tuple[int, ...], images: int) -> tuple[int, ...]:
    """Return the default batch sizes that suit this many training images, else a smaller power of two.

    >>> default = SearchSpace.batch_sizes
    >>> fitting_batch_sizes(default, 4_000), fitting_batch_sizes(default, 300), fitting_batch_sizes(default, 50)
    ((64, 128, 256), (64,), (8,))
    """
    largest = max(1, images // LEAST_STEPS)
    return tuple(size for size in default if size <= largest) or (2 ** (largest.bit_length() - 1),)


@dataclass(frozen=True)
class Values(Recipe):
    """One point of the space: the fields of a RunConfig that a trial draws."""

    architecture: str
    batch_size: int
    dropout: float
    filters: int | None  # None: fixed widths
    learning_rate: float
    schedule: str
    optimizer: str
    loss: str
    teacher: str
    augment: str
    knobs: tuple[tuple[str, Knob], ...]  # the architecture's own by name, sorted


@dataclass(frozen=True)
class SearchSpace(RecipeRanges):
    """Ranges and choices; the defaults are the sweep's in README."""

    architectures: tuple[str, ...]
    batch_sizes: tuple[int, ...] = (64, 128, 256)
    dropout: Range = (0.0, 0.5)
    filters: tuple[int, ...] = (8, 16, 32)  # widths of the first stage
    learning_rate: Range | None = None  # searched on a log scale; None: the optimizer's default for the schedule
    augment: str = "off"  # or digits, photo, search
    schedule: str = "cosine"
    optimizer: str = RunConfig.optimizer
    loss: str = RunConfig.loss
    teacher: str = RunConfig.teacher
    learning_rate_factor: float = 1.0  # the optimizer's usual rate as a multiple of Adam's

    def suggest(self, trial: optuna.trial.BaseTrial, known: Sequence[KnownArchitecture]) -> Values:
        """Draw a point; the same trial always gives the same point.

        A knob belongs to one architecture: it is drawn only for that one, under the name `<architecture>.<knob>`.
        """
        architecture = trial.suggest_categorical("architecture", self.architectures)
        found = next(one for one in known if one.name == architecture)
        drawn = Values(
            architecture=architecture,
            batch_size=trial.suggest_categorical("batch_size", self.batch_sizes),
            dropout=self._number(trial, "dropout"),
            filters=None if found.default_filters is None else trial.suggest_categorical("filters", self.filters),
            learning_rate=self._number(trial, "learning_rate")
            if self.learning_rate
            else 0.0,  # it depends on the knobs
            schedule=self.schedule,
            optimizer=self.optimizer,
            loss=self.loss,
            teacher=self.teacher,
            augment=self._augmentation(trial),
            knobs=tuple(
                (knob, trial.suggest_categorical(f"{architecture}.{knob}", choices))  # type: ignore[misc]  # not None
                for knob, choices in found.knobs
            ),
            **{name: self._number(trial, name) for name in self.recipe_ranges},  # type: ignore[arg-type]
            **{name: trial.suggest_categorical(name, choices) for name, choices in self.recipe_choices.items()},  # type: ignore[arg-type]
        )
        usual = usual_learning_rate(self.schedule, drawn.knobs, self.learning_rate_factor)
        return replace(drawn, learning_rate=drawn.learning_rate or usual)

    def _augmentation(self, trial: optuna.trial.BaseTrial) -> str:
        """Return the augmentation of a trial, drawn if there is a choice."""
        choices = AUGMENT_CHOICES.get(self.augment)
        if choices is None:
            return self.augment
        drawn = trial.suggest_categorical("augment", choices)
        return AUGMENT_BEFORE[drawn] if isinstance(drawn, bool) else str(drawn)

    def _number(self, trial: optuna.trial.BaseTrial, name: str) -> float:
        """Draw a number from a range: one of its steps, if it has any."""
        limits = self.ranges[name]
        if len(limits) > 2 and (choices := self.steps(name)):
            return float(trial.suggest_categorical(name, choices))
        return trial.suggest_float(name, limits[0], limits[1], log=name == "learning_rate")

    def steps(self, name: str) -> tuple[float, ...] | None:
        """Return all numbers of a range; None if it is continuous."""
        return numbers(self.ranges[name], logarithmic=name == "learning_rate")

    @property
    def ranges(self) -> dict[str, Range]:
        """The ranges of all numbers that are searched."""
        rate = {"learning_rate": self.learning_rate} if self.learning_rate else {}
        return {"dropout": self.dropout, **rate, **self.recipe_ranges}

    @property
    def continuous(self) -> dict[str, Range]:
        """The ranges without a step."""
        return {name: limits for name, limits in self.ranges.items() if self.steps(name) is None}

    def choices(self, architecture: KnownArchitecture) -> dict[str, tuple[object, ...]]:
        """Return the choices for a trial of an architecture, by a study's names, without continuous ranges."""
        widths = {} if architecture.default_filters is None else {"filters": self.filters}
        augment = {"augment": AUGMENT_CHOICES[self.augment]} if self.augment in AUGMENT_CHOICES else {}
        knobs = {f"{architecture.name}.{knob}": values for knob, values in architecture.knobs}
        steps = {name: found for name in self.ranges if (found := self.steps(name)) is not None}
        return {"batch_size": self.batch_sizes, **widths, **augment, **self.recipe_choices, **knobs, **steps}

    @property
    def recipe_ranges(self) -> dict[str, Range]:
        """The ranges of the recipe's numbers that are searched."""
        return {name: limits for name in RECIPE if name not in CHOICES and (limits := getattr(self, name))}

    @property
    def recipe_choices(self) -> dict[str, tuple[str, ...]]:
        """The choices of the recipe that are searched."""
        return {name: choices for name in CHOICES if (choices := getattr(self, name))}

    def published(self, architecture: KnownArchitecture) -> dict[str, object]:
        """Return an architecture's published width, dropout and knobs, as far as they are in the space."""
        values: dict[str, object] = {"architecture": architecture.name}
        if self._holds("dropout", architecture.default_dropout):
            values["dropout"] = architecture.default_dropout
        if architecture.default_filters in self.filters:
            values["filters"] = architecture.default_filters
        return values | {f"{architecture.name}.{knob}": choices[0] for knob, choices in architecture.knobs}

    def _holds(self, name: str, number: float) -> bool:
        """Return whether a trial may draw a number from a range."""
        low, high, *_ = self.ranges[name]
        steps = self.steps(name)
        return low <= number <= high if steps is None else number in steps

    def configuration(self, given: Mapping[str, object], known: Sequence[KnownArchitecture]) -> dict[str, object]:
        """Return a configuration as a person writes it, with a study's names; what is left out is drawn.

        Args:
            given: some of a trial's values by name, an architecture's knobs under their own names.

        Raises:
            UsageError: for a name or a value that is not in this space.

        >>> space = SearchSpace(("chollet", "pocket"), filters=(8, 16))
        >>> space.configuration({"architecture": "pocket", "filters": 16}, known=())
        {'architecture': 'pocket', 'filters': 16}
        >>> space.configuration({"filters": 12}, known=())
        Traceback (most recent call last):
        architectures.errors.UsageError: filters 12 is not among 8, 16.
        """
        choices: dict[str, Sequence[object]] = {
            "architecture": self.architectures,
            "batch_size": self.batch_sizes,
            "filters": self.filters,
            **self.recipe_choices,
        }
        ranges = self.ranges
        if self.augment in AUGMENT_CHOICES:
            choices["augment"] = AUGMENT_CHOICES[self.augment]
        names = {name: name for name in (*choices, *ranges)}
        for architecture in known:
            if architecture.name == given.get("architecture"):
                if architecture.default_filters is None:
                    del names["filters"]
                choices.update(architecture.knobs)
                names.update({knob: f"{architecture.name}.{knob}" for knob, _ in architecture.knobs})
        for name, value in given.items():
            if name not in names:
                raise UsageError(f"{name!r} is not searched. A configuration has {', '.join(names)}.")
            if name in choices and not any(value == choice and type(value) is type(choice) for choice in choices[name]):
                raise UsageError(f"{name} {value!r} is not among {', '.join(map(str, choices[name]))}.")
            if name in ranges:
                low, high, *_ = ranges[name]
                if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                    raise UsageError(f"{name} {value!r} is not a number from {low:g} to {high:g}.")
                if not self._holds(name, value):
                    steps = self.steps(name) or ()
                    raise UsageError(f"{name} {value!r} is not among {', '.join(f'{one:g}' for one in steps)}.")
        return {names[name]: value for name, value in given.items()}
