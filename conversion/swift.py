"""Write the Swift code that your app needs to read images with a Core ML file.  Run: python -m conversion.swift FILE"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from architectures.command import Parser, print_json, run
from architectures.display import say
from experiments.views.page import save


def parser() -> Parser:
    made = Parser(
        "conversion.swift",
        "Print the Swift code that your app needs for a Core ML classifier: load it, resize an image, run it through "
        "Vision or Core ML.",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="a Core ML classifier (.mlmodel, .mlpackage, or a .zip)")
    made.add_argument("--output", type=Path, metavar="PATH", help="write it to this file instead")
    return made


def _body(arguments: argparse.Namespace) -> int:
    from conversion.swift_code import swift_code

    made = swift_code(arguments.file)
    if arguments.output:
        save(made.swift, arguments.output)
        say(f"wrote {arguments.output}", file=sys.stderr)
    if arguments.json:
        print_json(made.as_json())
    elif not arguments.output:
        for line in made.swift.splitlines():
            say(line)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
