"""Return to the promotion before the current one, alias and file.  Run: python -m conversion.rollback

Run again, it goes further back; the next promotion continues from there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from architectures.command import Parser, print_json, run
from architectures.display import say
from conversion.promotion.config import DEFAULT_MODEL
from conversion.promotion.place import DEFAULT_OUTPUT, OutputPlace
from experiments.config import default_tracking_uri


def parser() -> Parser:
    made = Parser(
        "conversion.rollback",
        "Return to the previous promotion: make it the champion again, and restore its file with the same bytes.",
    )
    add = made.add_argument
    add("--model", metavar="NAME", default=DEFAULT_MODEL, help=f"registered model (default {DEFAULT_MODEL})")
    add(
        "--output",
        type=OutputPlace(),
        metavar="PATH",
        help=f"file or folder (default as for a promotion: {DEFAULT_OUTPUT})",
    )
    add("--dry-run", action="store_true", help="show what would be restored and change nothing")
    add("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    return made


def _body(arguments: argparse.Namespace) -> int:
    from conversion.promotion.restore import rollback

    done = rollback(
        arguments.tracking_uri or default_tracking_uri(),
        model=arguments.model,
        output=arguments.output,
        dry_run=arguments.dry_run,
    )
    if arguments.json:
        print_json(done.as_json())
        return 0
    facts = done.as_json()
    verb = "Would return" if arguments.dry_run else "Returned"
    say(
        f"{verb} from promotion {done.left.number} (version {done.left.source} of {done.version.registered_name}) to "
        f"promotion {done.restored.number} of {facts['promoted_at']} (version {done.version.version}, run "
        f"{done.version.run_id})"
    )
    say(f"  {done.path}: {facts['coreml_bytes']:,} bytes, SHA-256 {done.restored.sha256}, as it was promoted")
    if not arguments.dry_run:
        say(f"Alias champion on version {done.version.version} of {done.version.registered_name}.")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
