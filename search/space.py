"""The search space: which values a sweep tries, and how a trial draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from architectures.knobs import Knob

if TYPE_CHECKING:
    import optuna

    from search.engines.messages import Known


@dataclass(frozen=True)
class Values:
    """One point of the space: the fields of a RunConfig that a trial decides."""

    architecture: str
    batch_size: int
    dropout: float
    filters: int
    learning_rate: float
    label_smoothing: float
    augment: bool
    knobs: tuple[tuple[str, Knob], ...]  # the architecture's own by name, sorted


@dataclass(frozen=True)
class SearchSpace:
    """Ranges and choices; the defaults' cost and result stand in README."""

    architectures: tuple[str, ...]
    batch_sizes: tuple[int, ...] = (64, 128, 256)
    dropout: tuple[float, float] = (0.0, 0.5)  # lowest and highest rate
    filters: tuple[int, ...] = (8, 16, 32)  # widths of the first stage
    learning_rate: tuple[float, float] | None = None  # searched on a log scale; None: Adam's default of 1e-3
    label_smoothing: tuple[float, float] | None = None  # None: none
    augment: str = "off"  # or on, or search

    def suggest(self, trial: optuna.trial.BaseTrial, known: Sequence[Known]) -> Values:
        """Draw a point; the same trial always gives the same one.

        A knob belongs to one architecture: it is drawn for that one alone, under the architecture's name and its own.
        """
        architecture = trial.suggest_categorical("architecture", self.architectures)
        knobs = next(one.knobs for one in known if one.name == architecture)
        return Values(
            architecture=architecture,
            batch_size=trial.suggest_categorical("batch_size", self.batch_sizes),
            dropout=trial.suggest_float("dropout", *self.dropout),
            filters=trial.suggest_categorical("filters", self.filters),
            learning_rate=(
                trial.suggest_float("learning_rate", *self.learning_rate, log=True) if self.learning_rate else 1e-3
            ),
            label_smoothing=(
                trial.suggest_float("label_smoothing", *self.label_smoothing) if self.label_smoothing else 0.0
            ),
            augment=(
                trial.suggest_categorical("augment", (False, True))
                if self.augment == "search"
                else self.augment == "on"
            ),
            knobs=tuple(
                (knob, trial.suggest_categorical(f"{architecture}.{knob}", choices))  # type: ignore[misc]  # not None
                for knob, choices in knobs
            ),
        )

    def published(self, architecture: Known) -> dict[str, object]:
        """An architecture at its published width, rate and knobs, as far as they lie in the space."""
        values: dict[str, object] = {"architecture": architecture.name}
        low, high = self.dropout
        if low <= architecture.default_dropout <= high:
            values["dropout"] = architecture.default_dropout
        if architecture.default_filters in self.filters:
            values["filters"] = architecture.default_filters
        return values | {f"{architecture.name}.{knob}": choices[0] for knob, choices in architecture.knobs}
