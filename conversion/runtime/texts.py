"""Inputs and outputs of a Core ML file as texts: what is given on a command line, and what is printed there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from architectures.errors import UsageError
from conversion.runtime import reading
from conversion.runtime.features import Feature
from conversion.runtime.model import Model

SHOWN = 8  # numbers of an array; --json prints all


def examples(model: Model, given: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return the examples to run, each with its title."""
    named = dict(text.split("=", 1) for text in given if text.partition("=")[0] in {each.name for each in model.inputs})
    by_name = {each.name: each for each in model.inputs}
    if named:
        if len(named) < len(given):
            raise UsageError("Give each input once as NAME=VALUE, or for a file with one input the values alone.")
        return [(" ".join(given), {name: _value(text, by_name[name], model) for name, text in named.items()})]
    if given and len(model.inputs) != 1:
        asked = ", ".join(map(str, model.inputs[:SHOWN])) + ", ..." * (len(model.inputs) > SHOWN)
        raise UsageError(f"The file has {len(model.inputs)} inputs: give NAME=VALUE for {asked}.")
    return [(text, {model.inputs[0].name: _value(text, model.inputs[0], model)}) for text in given]


def _value(text: str, wanted: Feature, model: Model) -> Any:
    """Parse an input from the command line: the path of an image or array, a number, or text."""
    if wanted.kind == "string":
        return text
    if wanted.kind == "image":
        return reading.read_one(Path(text), wanted.shape, model.metadata)
    if text.endswith(".npy"):
        try:
            return np.load(text, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UsageError(f"{text}: no array can be read from it: {error}.") from error
    if wanted.kind == "dictionary":
        raise UsageError(f"The input {wanted} is a dictionary, which this command cannot give.")
    try:
        numbers = [float(each) for each in text.split(",")]
    except ValueError:
        raise UsageError(f"The input {wanted} is neither a .npy file nor numbers: {text!r}.") from None
    return numbers if wanted.kind == "array" else numbers[0] if len(numbers) == 1 else numbers


def output_text(value: Any, *, top: int) -> str:
    """An output as one line: of probabilities the `top` labels, of an array its shape and its first numbers."""
    if isinstance(value, dict):
        best = sorted(value.items(), key=lambda pair: -pair[1])[:top]
        return ", ".join(f"{label} {share:.4f}" for label, share in best)
    if hasattr(value, "shape"):
        numbers = ", ".join(f"{each:.6g}" for each in value.ravel()[:SHOWN].tolist())
        return f"{' x '.join(map(str, value.shape))}: {numbers}" + ", ..." * (value.size > SHOWN)
    return str(value)
