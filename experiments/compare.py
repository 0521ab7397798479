"""Compare runs side by side: parameters, results and curves.  Run: python -m experiments.compare RUN RUN"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from architectures.command import Parser, print_json, run
from architectures.display import say
from experiments.config import default_tracking_uri


def parser() -> Parser:
    made = Parser("experiments.compare", "Show parameters, results and curves of runs side by side.")
    add = made.add_argument
    add(
        "run_ids",
        nargs="+",
        metavar="RUN",
        help="an MLflow run of any experiment: its id, a prefix of it, or its name; two or more",
    )
    add("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    add(
        "--html", type=Path, metavar="FILE", help="also write a page with the tables and curves, which needs no network"
    )
    return made


def _body(arguments: argparse.Namespace) -> int:
    from experiments.views import comparison, comparison_page

    found = comparison.compare_runs(arguments.tracking_uri or default_tracking_uri(), arguments.run_ids)
    if arguments.html:
        comparison_page.write_page(found, arguments.html)
        say(f"wrote {arguments.html}", file=sys.stderr)
    if arguments.json:
        print_json(found.as_json())
    else:
        comparison.show(found)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
