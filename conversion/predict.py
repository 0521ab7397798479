"""Run a Core ML classifier on pictures.  Run: python -m conversion.predict FILE IMAGE|FOLDER|DATASET ...

Exit codes: 0 done, 1 a picture could not be read, 3 the file cannot be run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from architectures import load_plugin
from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.errors import UsageError
from architectures.fields import Whole
from experiments.datasets.source import FITS

TOP = 3  # labels of a picture
COMPUTE_HELP = "float16: simulate a phone's Neural Engine, and show what that changes (default float32)"


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


def _body(arguments: argparse.Namespace) -> int:
    from conversion import predictions, predictions_page, predictions_table

    if arguments.accumulate and arguments.compute != "float16":
        raise UsageError("--accumulate needs --compute float16.")
    for plugin in arguments.plugins:
        load_plugin(plugin)
    found = predictions.predict_pictures(
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
        predictions_page.write_page(found, arguments.html)
    for path in filter(None, (arguments.csv, arguments.html)):
        say(f"wrote {path}", file=sys.stderr)
    for note in found.notes:
        say(f"note: {note}", file=sys.stderr)
    if arguments.json:
        print_json(found.as_json())
    else:
        predictions_table.show(found)
    for reason in found.unread:
        say(f"error: {reason}", file=sys.stderr)
    return int(bool(found.unread))


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
