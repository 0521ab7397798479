"""Run a saved Core ML file and compare it with its model.  Run: python -m conversion.verify FILE --run RUN_ID

Exit codes: 0 verified, 1 differs, 3 not checkable.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from architectures.command import Parser, print_json, run
from architectures.display import say
from conversion import runtime
from conversion.options import add_common
from experiments.config import default_tracking_uri


def parser() -> Parser:
    made = Parser("conversion.verify", "Run a saved Core ML file and compare it with the model of a run.")
    made.add_argument("file", type=Path, help="a Core ML file (.mlmodel or .mlpackage)")
    made.add_argument(
        "--run",
        required=True,
        metavar="RUN_ID",
        help="the MLflow run of the model to compare with: its id, a prefix of it, or its name",
    )
    made.add_argument(
        "--compute",
        choices=("float32", "float16"),
        default="float32",
        help="float16: simulate a phone's arithmetic on all validation images instead of 200",
    )
    made.add_argument(
        "--accumulate",
        choices=("float32", "float16"),
        default="float32",
        help="with float16, the precision of sums within a layer",
    )
    add_common(made)
    return made


def _body(arguments: argparse.Namespace) -> int:
    runtime.load(arguments.file)  # reports a damaged file before TensorFlow is imported
    from conversion.verification import evidence, show

    candidate, found = evidence.verify_run(
        arguments.file,
        arguments.run,
        tracking_uri=arguments.tracking_uri or default_tracking_uri(),
        plugins=tuple(arguments.plugins),
        half_images=None if arguments.compute == "float16" else evidence.HALF_IMAGES,
        accumulation=arguments.accumulate,
    )
    if arguments.json:
        print_json(
            {
                "run_id": candidate.run.run_id,
                "file": str(arguments.file),
                "verified": found.verified,
                "faults": found.faults,
                **asdict(found),
            }
        )
    else:
        say(f"{arguments.file}: {'verified' if found.verified else 'DIFFERS'} against run {candidate.run.run_id}")
        show.show(found)
    for fault in found.faults:
        say(f"error: {fault}", file=sys.stderr)
    return 0 if found.verified else 1


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
