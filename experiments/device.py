"""Write what the app measured on a phone to the run of its model.  Run: python -m experiments.device REPORT.json"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from architectures.command import Parser, print_json, run
from architectures.display import say
from experiments.config import default_tracking_uri
from experiments.views.tables import print_cells


def parser() -> Parser:
    made = Parser(
        "experiments.device",
        "Add what the app measured on a phone, and shared as JSON, to the run of its model.",
    )
    made.add_argument("report", type=Path, metavar="REPORT", help="the JSON file that the app's model screen shares")
    made.add_argument("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    return made


def _body(arguments: argparse.Namespace) -> int:
    from experiments.device_report import record_file

    measured = record_file(arguments.tracking_uri or default_tracking_uri(), arguments.report)
    report = measured.report
    if arguments.json:
        print_json(measured.as_json())
        return 0
    promotion = measured.promotion
    say(f"{report.title}: promotion {promotion.number} of {promotion.name}, SHA-256 {promotion.sha256[:12]}...")
    print_cells(["metric", "ms"], [[name, f"{value:.2f}"] for name, value in report.figures.items()])
    say(f"Written to run {measured.run} ({report.run_id}).")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
