"""The search space: which values a sweep tries, and how a trial draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

    from search.engines.messages import Known


@dataclass(frozen=True)
class Values:
    """One point of the space."""

    architecture: str
    batch_size: int
    dropout: float
    filters: int
    learning_rate: float


@dataclass(frozen=True)
class SearchSpace:
    """Ranges and choices; the defaults' cost and result stand in README."""

    architectures: tuple[str, ...]
    batch_sizes: tuple[int, ...] = (64, 128, 256)
    dropout: tuple[float, float] = (0.0, 0.5)  # lowest and highest rate
    filters: tuple[int, ...] = (8, 16, 32)  # widths of the first stage
    learning_rate: tuple[float, float] | None = None  # searched on a log scale; None: Adam's default of 1e-3

    def suggest(self, trial: optuna.Trial) -> Values:
        """Draw a point; the same trial always gives the same one."""
        return Values(
            architecture=trial.suggest_categorical("architecture", self.architectures),
            batch_size=trial.suggest_categorical("batch_size", self.batch_sizes),
            dropout=trial.suggest_float("dropout", *self.dropout),
            filters=trial.suggest_categorical("filters", self.filters),
            learning_rate=(
                trial.suggest_float("learning_rate", *self.learning_rate, log=True) if self.learning_rate else 1e-3
            ),
        )

    def published(self, architecture: Known) -> dict[str, object]:
        """An architecture at its published width and rate, as far as they lie in the space."""
        values: dict[str, object] = {"architecture": architecture.name}
        low, high = self.dropout
        if low <= architecture.default_dropout <= high:
            values["dropout"] = architecture.default_dropout
        if architecture.default_filters in self.filters:
            values["filters"] = architecture.default_filters
        return values
