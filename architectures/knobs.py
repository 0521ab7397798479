"""Knobs: hyperparameters that one architecture has in addition to `filters` and `dropout`."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from architectures.errors import PluginError

Knob = int | float | bool | str  # a knob's value
PIN = "#sha256="  # in a knob's value, between a file and its required digest
# The parameters of a run besides an architecture's own knobs.
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
        "loss",
        "teacher",
        "temperature",
        "distillation_weight",
        "epochs",
        "seed",
        "precision",
        "augment",
        "objective",
        "class_weight",
        "views",
        "label_smoothing",
        "weight_decay",
        "momentum",
        "mixup",
        "cutmix",
        "knobs",
        "compress",
    ]
)


class Setting(tuple[Knob, ...]):
    """Choices of which a sweep uses only the first, unless --knob lists others: a setting, not a hyperparameter.

    If the setting has `files`, suffixes of file names, a file's path is a valid value, too. A choice or path may have
    the required SHA-256 of its file appended (architectures/weights.py).

    >>> pretrained = Setting(("none", "imagenet"), files=(".pth",))
    >>> pretrained.allows("mine.pth"), pretrained.allows("mine.txt"), pretrained.allows("imagenet")
    (True, False, True)
    """

    files: tuple[str, ...]

    def __new__(cls, choices: Iterable[Knob], files: tuple[str, ...] = ()) -> Setting:
        made = super().__new__(cls, choices)
        made.files = files
        return made

    def allows(self, value: Knob) -> bool:
        """Return whether a value is among the choices or the path of such a file."""
        if self.files and isinstance(value, str):
            value = value.partition(PIN)[0]
            return _among(value, self) or value.endswith(self.files)
        return _among(value, self)


def allows(choices: tuple[Knob, ...], value: Knob) -> bool:
    """Return whether a knob with these choices allows a value; 1 is neither 1.0 nor True."""
    return choices.allows(value) if isinstance(choices, Setting) else _among(value, choices)


def described(choices: tuple[Knob, ...]) -> str:
    """Return the values of a knob as text for messages.

    >>> described((5, 3)), described(Setting(("none", "imagenet"), files=(".pth", ".h5")))
    ('5, 3', 'none, imagenet, a .pth or .h5 file')
    """
    files = f"a {' or '.join(choices.files)} file" if isinstance(choices, Setting) and choices.files else ""
    return ", ".join([*map(str, choices), *([files] if files else [])])


def _among(value: Knob, choices: tuple[Knob, ...]) -> bool:
    return any(value == choice and type(value) is type(choice) for choice in choices)


def check_knob(what: str, name: str, choices: tuple[Knob, ...]) -> None:
    """Raise PluginError for a knob that runs could not record."""
    if name in RUN_PARAMETERS:
        raise PluginError(f"{what} has the name of a parameter that every run has. Give it another name.")
    if not choices or any(not isinstance(choice, Knob) for choice in choices):
        raise PluginError(f"{what} has the choices {choices!r}. Give at least one number, boolean or word.")
    for choice in choices:
        if isinstance(choice, str) and knob_from_text(choice) != choice:  # a record could not tell "3" from 3
            raise PluginError(f"{what} has the choice {choice!r}, a number in quotes. Give the number.")


def knob_from_text(text: str) -> Knob:
    """Parse a knob's value from a record or a command line.

    >>> knob_from_text("5"), knob_from_text("0.5"), knob_from_text("True"), knob_from_text("relu")
    (5, 0.5, True, 'relu')
    """
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, Knob) else text
