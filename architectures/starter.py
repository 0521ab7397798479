"""The starting files of a new architecture: a builder to change, and its test."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from architectures.errors import ProjectError, UsageError

BUILDER = '''"""{title}: say here where the idea comes from."""

import keras
from keras import layers

from architectures import register


@register(default_filters=16, default_dropout=0.1)
def {name}(input_shape, num_classes, *, filters, dropout) -> keras.Model:
    """One line: why this network exists.

    Family: a few words
    Paper: authors and year, or leave the line out
    """
    return keras.Sequential(
        [
            keras.Input(input_shape),  # values in [0, 1]
            layers.Conv2D(filters, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(2 * filters, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(num_classes, activation="softmax"),
        ],
        name="{name}",
    )
'''

TEST = '''"""Run: python test_{name}.py, or under pytest."""

from pathlib import Path

from architectures import load_plugin
from architectures.contract import check_architecture


def test_{name}_keeps_the_contract():
    load_plugin(str(Path(__file__).with_name("{name}.py")))
    check_architecture("{name}")


if __name__ == "__main__":
    test_{name}_keeps_the_contract()
    print("{name} keeps the contract of architectures.")
'''


def write_starter(name: str, folder: Path) -> tuple[Path, Path]:
    """Write `NAME.py` and `test_NAME.py` into a folder.

    Raises:
        UsageError: for a name that cannot be a module's, or is taken by one that can be imported.
        ProjectError: if one of the files exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name) or keyword.iskeyword(name) or name == "new":
        raise UsageError(
            f"{name!r} is not a name for an architecture: a lower-case letter, then up to 63 lower-case letters, "
            f"digits or underscores, not Python's own words, not 'new'."
        )
    files = {folder / f"{name}.py": BUILDER, folder / f"test_{name}.py": TEST}
    for file in files:
        if file.exists() or file.is_symlink():
            raise ProjectError(f"{file} exists and is not overwritten: choose another name.")
    hidden = (name, f"architectures.{name}", f"architectures.families.{name}")
    if any(map(importlib.util.find_spec, hidden)):
        raise UsageError(f"{name!r} is the name of an installed module, which {name}.py would hide: choose another.")
    for file, text in files.items():
        with file.open("x") as opened:
            opened.write(text.format(name=name, title=name.replace("_", " ").capitalize()))
    builder, test = files
    return builder, test
