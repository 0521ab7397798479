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
from typing import Any

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.fields import Whole
from conversion.runtime import load_model

TOP = 3  # labels per answer


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
    from conversion.runtime.texts import examples, output_text

    model = load_model(arguments.file)
    answers = [(title, model.predict(values)) for title, values in examples(model, arguments.inputs)]
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
            say(f"{title}  {name}: {output_text(value, top=arguments.top)}")
    return 0


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in found.items()}


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    # Before NumPy is imported: the executor has its own threads, and idle BLAS threads cost time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())
