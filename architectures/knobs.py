"""Knobs: hyperparameters that one architecture has beside `filters` and `dropout`."""

from __future__ import annotations

import ast

from architectures.errors import PluginError

Knob = int | float | bool | str  # a knob's value
# What a run records beside an architecture's own knobs.
RUN_PARAMETERS = frozenset(
    [
        "architecture",
        "dataset",
        "fit",
        "background",
        "batch_size",
        "dropout",
        "filters",
        "learning_rate",
        "schedule",
        "optimizer",
        "epochs",
        "seed",
        "precision",
        "augment",
        "objective",
        "class_weight",
        "label_smoothing",
        "weight_decay",
        "mixup",
        "cutmix",
        "knobs",
        "compress",
    ]
)


def check_knob(what: str, name: str, choices: tuple[Knob, ...]) -> None:
    """Raise PluginError for a knob that a run's record could not hold."""
    if name in RUN_PARAMETERS:
        raise PluginError(f"{what} has the name of a parameter that every run has. Give it another name.")
    if not choices or any(not isinstance(choice, Knob) for choice in choices):
        raise PluginError(f"{what} has the choices {choices!r}. Give at least one number, boolean or word.")
    for choice in choices:
        if isinstance(choice, str) and knob_from_text(choice) != choice:  # a record could not tell "3" from 3
            raise PluginError(f"{what} has the choice {choice!r}, a number in quotes. Give the number.")


def knob_from_text(text: str) -> Knob:
    """A knob's value from how a record or a command line writes it.

    >>> knob_from_text("5"), knob_from_text("0.5"), knob_from_text("True"), knob_from_text("relu")
    (5, 0.5, True, 'relu')
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, Knob) else text
