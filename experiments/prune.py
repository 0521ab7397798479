"""Remove model files that no registered version needs; runs stay.  Run: python -m experiments.prune --dry-run"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from architectures.command import Parser, print_json, run
from architectures.display import say
from experiments.config import default_tracking_uri


def parser() -> Parser:
    made = Parser(
        "experiments.prune",
        "Remove model files that no registered version, promotion or unfinished sweep needs. Runs, metrics and "
        "reports stay.",
    )
    add = made.add_argument
    add("--dry-run", action="store_true", help="list what would be removed, and change nothing")
    add("--experiment", metavar="NAME", help="only models of this MLflow experiment (default: all)")
    add("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    return made


def _body(arguments: argparse.Namespace) -> int:
    from experiments.model_files import prune_store, show

    uri = arguments.tracking_uri or default_tracking_uri()
    pruning = prune_store(uri, experiment=arguments.experiment, dry_run=arguments.dry_run)
    if arguments.json:
        print_json(pruning.as_json())
    else:
        show(pruning)
    for model, error in pruning.failed:
        say(f"error: {model.model_id} was not removed: {error}", file=sys.stderr)
    return 1 if pruning.failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
