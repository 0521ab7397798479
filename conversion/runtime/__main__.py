"""Run a Core ML file of any kind.  Run: python -m conversion.runtime FILE [IMAGE ...] [NAME=VALUE ...]

Needs neither Keras nor TensorFlow nor MLflow. Without inputs, it prints what the file takes and returns.

Exit codes: 0 done, 1 the file or an input is damaged, 3 the file cannot be run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.errors import UsageError
from architectures.fields import Whole

if TYPE_CHECKING:
    from conversion.runtime.features import Feature
    from conversion.runtime.model import Model

TOP = 3  # labels per answer
SHOWN = 8  # numbers of an array; --json prints all


def parser() -> Parser:
    made = Parser("conversion.runtime", "Run a Core ML file of any kind on images, arrays, numbers and text.")
    made.add_argument("file", type=Path, metavar="FILE", help="a Core ML file (.mlmodel, .mlpackage, or a .zip of one)")
    made.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="for a file with one input: images, .npy arrays or numbers, each with its own answer; "
        "else NAME=VALUE for each input, which are answered together",
    )
    made.add_argument("--top", type=Whole(1), default=TOP, metavar="K", help=f"labels per answer (default {TOP})")
    return made


def _body(arguments: argparse.Namespace) -> int:
    from conversion.runtime import load_model

    model = load_model(arguments.file)
    answers = [(title, model.predict(values)) for title, values in _examples(model, arguments.inputs)]
    if arguments.json:
        print_json(
            {
                "file": str(arguments.file),
                "kind": model.kind,
                "inputs": [str(each) for each in model.inputs],
                "outputs": [str(each) for each in model.outputs],
                "answers": [{"input": title, "outputs": _plain(found)} for title, found in answers],
            }
        )
        return 0
    if not answers:
        say(f"{arguments.file}: {model.kind}")
        for what, features in (("input", model.inputs), ("output", model.outputs)):
            for each in features:
                say(f"  {what} {each}")
    for title, found in answers:
        for name, value in found.items():
            say(f"{title}  {name}: {_shown(value, top=arguments.top)}")
    return 0


def _examples(model: Model, given: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
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
        from conversion.runtime import reading  # Pillow

        return reading.read_one(Path(text), wanted.shape, model.metadata)
    if text.endswith(".npy"):
        import numpy as np

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


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in found.items()}


def _shown(value: Any, *, top: int) -> str:
    if isinstance(value, dict):
        best = sorted(value.items(), key=lambda pair: -pair[1])[:top]
        return ", ".join(f"{label} {share:.4f}" for label, share in best)
    if hasattr(value, "shape"):
        numbers = ", ".join(f"{each:.6g}" for each in value.ravel()[:SHOWN].tolist())
        return f"{' x '.join(map(str, value.shape))}: {numbers}" + ", ..." * (value.size > SHOWN)
    return str(value)


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    # Before NumPy is imported: the executor has its own threads, and idle BLAS threads cost time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())
