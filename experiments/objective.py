"""The figures that can be objectives: they select the best epoch and rank runs."""

from __future__ import annotations

from typing import Literal, get_args

Objective = Literal["val_accuracy", "val_balanced_accuracy", "val_loss"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
OF_THE_NETWORK = ("parameters", "macs", "coreml_bytes")  # known before the first epoch
OF_THE_END = ("keras_bytes", "host_latency_ms", "images_per_second")  # measured once a run has been trained
FIGURES = (*OBJECTIVES, *OF_THE_NETWORK, *OF_THE_END)  # all may be objectives, together with one of the first three
MOST_OBJECTIVES = 3
OTHER_NAMES = {**{f"best_{name}": name for name in OBJECTIVES}, "latency_ms": "host_latency_ms"}
SHORT = {"val_accuracy": "val acc", "val_balanced_accuracy": "bal acc", "val_loss": "val loss"}  # in tables
SPELLED_OUT = {
    "val_accuracy": "accuracy",
    "val_balanced_accuracy": "balanced accuracy",
    "val_loss": "loss",
    "parameters": "parameters",
    "macs": "multiply-accumulates",
    "coreml_bytes": "bytes",
    "keras_bytes": "Keras bytes",
    "host_latency_ms": "latency on the host",
    "images_per_second": "training images a second",
}
MINIMIZED: frozenset[str] = frozenset(FIGURES) - {"val_accuracy", "val_balanced_accuracy", "images_per_second"}
# On Optuna's pages.
LONG = {"coreml_bytes": "Core ML bytes"} | {name: f"validation {SPELLED_OUT[name]}" for name in OBJECTIVES}


def shown_name(objective: str) -> str:
    """Return the name of an objective on Optuna's own pages.

    >>> shown_name("val_loss"), shown_name("macs")
    ('validation loss', 'multiply-accumulates')
    """
    return LONG.get(objective, SPELLED_OUT[objective])


def objective_named(text: str) -> str:
    """Return the objective with this name on Optuna's pages; older studies use the objective's own name.

    >>> objective_named("validation loss"), objective_named("val_loss"), objective_named("")
    ('val_loss', 'val_loss', 'val_accuracy')
    """
    return next((one for one in FIGURES if text in (one, shown_name(one))), "val_accuracy")


def tie_breaker(objective: str) -> Objective:
    """Return the figure that decides between epochs with the same objective."""
    return "val_accuracy" if objective in MINIMIZED else "val_loss"


def score(objective: str, value: float) -> float:
    """Return a value of an objective or its tie-breaker with the sign for which higher is better.

    >>> score("val_accuracy", 0.9), score("val_loss", 0.25)
    (0.9, -0.25)
    """
    return -value if objective in MINIMIZED else value


def final(objective: str) -> str:
    """Return the metric of a run with the final value of an objective, at the epoch whose weights were kept.

    >>> final("val_loss"), final("macs")
    ('best_val_loss', 'macs')
    """
    return f"best_{objective}" if objective in OBJECTIVES else objective
