"""Inspect a data set before training on it.  Run: python -m experiments.inspect DATASET"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from architectures import load_plugin
from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.fields import PluginName
from experiments.datasets.arguments import DATASET_HELP, add_image_options, dataset_given


def parser() -> Parser:
    made = Parser(
        "experiments.inspect",
        "Show what a data set contains, what was not read, copies and leaks.",
    )
    made.add_argument("dataset", metavar="DATASET", help=DATASET_HELP)
    add_image_options(made)
    made.add_argument("--html", type=Path, metavar="FILE", help="also write a page with pictures of every class")
    made.add_argument("--strict", action="store_true", help="exit with 1 if something is wrong")
    made.add_argument(
        "--plugin",
        dest="plugins",
        action="append",
        type=PluginName(),
        metavar="MODULE",
        help="module or .py file that registers data sets",
    )
    return made


def _body(arguments: argparse.Namespace) -> int:
    name = dataset_given(arguments, "")
    from experiments.datasets.inspection import inspect
    from experiments.views import inspection_page, inspection_table

    for plugin in arguments.plugins or ():
        load_plugin(plugin)
    inspection = inspect(name or arguments.dataset)
    if arguments.html:
        inspection_page.write_page(inspection, arguments.html, before_training=True)
        say(f"wrote {arguments.html}", file=sys.stderr)
    if arguments.json:
        print_json(inspection.as_json())
    else:
        inspection_table.show(inspection)
    return int(arguments.strict and bool(inspection.problems))


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
