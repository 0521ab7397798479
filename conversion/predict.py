"""Run a Core ML classifier on pictures.  Run: python -m conversion.predict FILE IMAGE|FOLDER|DATASET ...

Exit codes: 0 done, 1 a picture could not be read, 3 the file cannot be run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from architectures import load_plugin
from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.errors import UsageError
from architectures.fields import Whole
from experiments.datasets.source import FITS
from experiments.views.tables import print_cells

if TYPE_CHECKING:
    from conversion.predictions import Predictions

TOP = 3  # labels of a picture
SHOWN = 50  # pictures and mistakes in the terminal; --json, --csv and --html have more
MOST_CROSSED = 20  # classes whose confusion matrix is printed
COMPUTE_HELP = "float16: simulate a phone's Neural Engine, and show what that changes (default float32)"
TEXT_COLUMNS = frozenset({"picture", "truth", "label", "second", "true\\predicted"})


def parser() -> Parser:
    made = Parser("conversion.predict", "Run a Core ML classifier on pictures, folders of pictures, or data sets.")
    add = made.add_argument
    add("file", type=Path, metavar="FILE", help="a Core ML classifier (.mlmodel, .mlpackage, or a .zip of one)")
    add(
        "sources",
        nargs="+",
        metavar="IMAGE|FOLDER|DATASET",
        help="images, folders of images (answers are checked if there is a folder per label), or data sets (mnist5k, "
        "folder:DIR)",
    )
    add("--fit", choices=FITS, help="how pictures are resized (default: as the file's metadata say, else crop)")
    add(
        "--background",
        metavar="COLOR",
        help="of transparent pixels and margins (default: as the metadata say, else white)",
    )
    add("--split", choices=("train", "val"), default="val", help="split of a data set (default val)")
    add("--top", type=Whole(1), default=TOP, metavar="K", help=f"labels per picture (default {TOP})")
    add("--compute", choices=("float32", "float16"), default="float32", help=COMPUTE_HELP)
    add(
        "--accumulate",
        choices=("float32", "float16"),
        help="with float16, the precision of sums within a layer (default float32)",
    )
    add("--csv", type=Path, metavar="PATH", help="also write one line per picture")
    add("--html", type=Path, metavar="PATH", help="also write a page with the pictures by confidence")
    add(
        "--plugin",
        dest="plugins",
        action="append",
        default=[],
        metavar="MODULE",
        help="module or .py file that registers data sets; repeatable",
    )
    return made


def show(found: Predictions) -> None:
    """Print the answers and, if the labels are known, how many are right."""
    several = len(found.answers) > SHOWN
    if not found.evaluation or not several:
        titles = ["picture", "truth", "label", "probability", "second", "probability"]
        lines = [
            [answer.picture.name, found.truth_of(answer) or "", *_told(answer.top[:2])]
            for answer in found.answers[:SHOWN]
        ]
        print_cells(titles, lines, words=TEXT_COLUMNS)
        if several:
            say(f"and {len(found.answers) - SHOWN:,} more: --csv, --json and --html have them")
    if found.evaluation:
        _show_evaluation(found)
    if found.threshold:
        say(
            f'"I do not know", with a confidence below {found.threshold:.4f}: '
            f"{len(found.unknown):,} of {len(found.answers):,}"
        )
    if found.half:
        say(found.half.text)


def _told(top: Sequence[tuple[str, float]]) -> list[str]:
    cells = [text for label, probability in top for text in (label, f"{probability:.4f}")]
    return (cells + [""] * 4)[:4]


def _show_evaluation(found: Predictions) -> None:
    worth = found.evaluation
    assert worth
    names = [each.name for each in worth.classes]
    if len(names) <= MOST_CROSSED:
        rows = zip(names, worth.confusion_matrix, strict=True)
        print_cells(
            ["true\\predicted", *names], [[name, *(f"{n:,}" for n in row)] for name, row in rows], words=TEXT_COLUMNS
        )
    if found.mistakes:
        lines = [
            [answer.picture.name, found.truth_of(answer) or "", *_told(answer.top[:1])[:2]]
            for answer in found.mistakes[:SHOWN]
        ]
        print_cells(
            ["picture", "truth", "label", "probability"],
            lines,
            words=TEXT_COLUMNS,
            title="Mistakes, most confident first",
        )
        if len(found.mistakes) > SHOWN:
            say(f"and {len(found.mistakes) - SHOWN:,} more: --csv, --json and --html have them")
    say(
        f"{worth.correct:,} of {worth.images:,} right: accuracy {worth.accuracy:.4f}, 95 % interval "
        f"{worth.accuracy_low:.4f} to {worth.accuracy_high:.4f}"
    )


def _body(arguments: argparse.Namespace) -> int:
    from conversion.predictions import predict

    if arguments.accumulate and arguments.compute != "float16":
        raise UsageError("--accumulate needs --compute float16.")
    for plugin in arguments.plugins:
        load_plugin(plugin)
    found = predict(
        arguments.file,
        arguments.sources,
        fit=arguments.fit,
        background=arguments.background,
        split=arguments.split,
        top=arguments.top,
        compute=arguments.compute,
        accumulation=arguments.accumulate or "float32",
    )
    if arguments.csv:
        found.write_csv(arguments.csv)
    if arguments.html:
        from conversion.predictions_page import write_page

        write_page(found, arguments.html)
    for path in filter(None, (arguments.csv, arguments.html)):
        say(f"wrote {path}", file=sys.stderr)
    for note in found.notes:
        say(f"note: {note}", file=sys.stderr)
    if arguments.json:
        print_json(found.as_json())
    else:
        show(found)
    for reason in found.unread:
        say(f"error: {reason}", file=sys.stderr)
    return int(bool(found.unread))


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
