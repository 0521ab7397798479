"""The validation figures that runs may be judged by: which epoch's weights are kept, and which run is better."""

from __future__ import annotations

from typing import Literal, get_args

Objective = Literal["val_accuracy", "val_balanced_accuracy", "val_loss"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
SHORT = {"val_accuracy": "val acc", "val_balanced_accuracy": "bal acc", "val_loss": "val loss"}  # in tables
WORDS = {"val_accuracy": "accuracy", "val_balanced_accuracy": "balanced accuracy", "val_loss": "loss"}
LONG = {name: f"validation {word}" for name, word in WORDS.items()}  # for Optuna's own pages
MINIMIZED: frozenset[str] = frozenset(["val_loss"])


def objective_named(text: str) -> Objective:
    """The objective that Optuna's pages call so; older studies use its own name.

    >>> objective_named("validation loss"), objective_named("val_loss"), objective_named("")
    ('val_loss', 'val_loss', 'val_accuracy')
    """
    return next((one for one in OBJECTIVES if text in (one, LONG[one])), "val_accuracy")


def tie_breaker(objective: str) -> Objective:
    """What decides between epochs that are equal in the objective."""
    return "val_accuracy" if objective in MINIMIZED else "val_loss"


def score(objective: str, value: float) -> float:
    """A value of an objective, or of its tie-breaker, such that higher is better.

    >>> score("val_accuracy", 0.9), score("val_loss", 0.25)
    (0.9, -0.25)
    """
    return -value if objective in MINIMIZED else value


def final(objective: str) -> str:
    """The metric of a run that holds an objective's value at the epoch whose weights were kept.

    >>> final("val_loss")
    'best_val_loss'
    """
    return f"best_{objective}"
