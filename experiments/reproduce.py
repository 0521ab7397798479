"""Train a recorded run again and compare every figure.  Run: python -m experiments.reproduce RUN_ID"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from architectures.command import Parser, print_json, run
from architectures.fields import PluginName
from experiments.config import default_tracking_uri


def parser() -> Parser:
    made = Parser(
        "experiments.reproduce",
        "Train a recorded run again, from its record alone, and compare every epoch's metrics and the weights. "
        "Exit code 0: identical, 1: they differ, 3: there is nothing to compare.",
    )
    made.add_argument("run_id", metavar="RUN_ID", help="MLflow run of a trial: its id, a prefix of it, or its name")
    made.add_argument("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    made.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        type=PluginName(),
        metavar="MODULE",
        help="a module or .py file that has moved, or that the run did not record; repeatable",
    )
    return made


def _body(arguments: argparse.Namespace) -> int:
    from experiments.reproduction import reproduce_run, show

    uri = arguments.tracking_uri or default_tracking_uri()
    result = reproduce_run(uri, arguments.run_id, plugins=tuple(arguments.plugins or ()))
    if arguments.json:
        print_json(result.as_json())
    else:
        show(result)
    return 0 if result.identical else 1


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
