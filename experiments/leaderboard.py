"""The best runs of an experiment or a study, or versions.  Run: python -m experiments.leaderboard --study NAME"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from architectures.command import Parser, print_json, run, several
from architectures.display import say
from architectures.errors import UsageError
from architectures.fields import Whole
from experiments.config import default_tracking_uri
from experiments.datasets.arguments import add_arguments, dataset_given
from experiments.views.tables import markdown

DEFAULT_EXPERIMENT = "mnist5k"
ROWS = 10  # shown
FILE_ROWS = 50  # written as JSON or CSV


def parser() -> Parser:
    made = Parser("experiments.leaderboard", "Show the best runs of an experiment, or versions of a registered model.")
    add = made.add_argument
    add("--csv", action="store_true", help="print the rows as CSV, with the same fields as --json")
    add("--markdown", action="store_true", help="print the table in Markdown")
    add("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    add(
        "--experiment",
        metavar="NAME",
        help="MLflow experiment (default: that of the data set or study, mnist5k, or that of the latest run)",
    )
    add("--study", metavar="NAME", help="only runs of this study")
    add(
        "--architecture",
        dest="architectures",
        action="extend",
        type=several,
        metavar="NAME,NAME",
        help="only these architectures; repeatable",
    )
    add_arguments(made, "only runs on this data set, named as for search.sweep")
    add("--model", metavar="NAME", help="versions of this registered model instead of runs")
    add(
        "--limit",
        type=Whole(0),
        metavar="N",
        help=f"number of rows, 0 for all (default {ROWS}; {FILE_ROWS} with --json and --csv)",
    )
    return made


def _body(arguments: argparse.Namespace) -> int:
    if sum((arguments.json, arguments.csv, arguments.markdown)) > 1:
        raise UsageError("Choose one of --json, --csv and --markdown.")
    limit = arguments.limit
    if limit is None:
        limit = FILE_ROWS if arguments.json or arguments.csv else ROWS
    dataset = dataset_given(arguments, DEFAULT_EXPERIMENT)
    from experiments.views import leaderboard, leaderboard_table

    found = leaderboard.board(
        arguments.tracking_uri or default_tracking_uri(),
        usual=DEFAULT_EXPERIMENT,
        experiment=arguments.experiment,
        study=arguments.study,
        architectures=tuple(arguments.architectures or ()),
        dataset=dataset,
        model=arguments.model,
        limit=limit or None,
    )
    if arguments.json:
        asked_for = {"experiment": found.experiment, "study": arguments.study, "model": arguments.model}
        rows = leaderboard_table.as_json(found.rows)
        print_json(asked_for | {"leaderboard": rows, "more": found.more})
    elif arguments.csv:
        leaderboard_table.write_csv(found.rows, sys.stdout)
    elif arguments.markdown:
        titles, lines = leaderboard_table.cells(found.rows, versions=bool(arguments.model))
        note = leaderboard_table.note(found.rows, titles, found.more)
        for line in (*markdown(titles, lines).splitlines(), "", f"\\* {note}"):
            say(line)
    else:
        one_study = found.name == arguments.study
        leaderboard_table.print_table(
            found.rows, found.name, one_study=one_study, more=found.more, versions=bool(arguments.model)
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
