"""Show what a Core ML file contains.  Run: python -m conversion.describe FILE [--diff OTHER]

Exit codes: 0 done, 1 the two files differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.errors import UsageError


def parser() -> Parser:
    made = Parser(
        "conversion.describe", "Show what any Core ML file contains: interface, metadata, bytes by layer or operation."
    )
    made.add_argument("file", type=Path, metavar="FILE", help="a Core ML file (.mlmodel, .mlpackage, or a .zip of one)")
    made.add_argument(
        "--diff", type=Path, metavar="OTHER", help="show the differences from another file; exit 1 if there are any"
    )
    made.add_argument("--swift", action="store_true", help="only print what conversion.swift prints")
    return made


def _body(arguments: argparse.Namespace) -> int:
    from conversion import description, description_table, swift_code

    if arguments.swift:
        if arguments.diff:
            raise UsageError("--swift takes one file: leave out --diff.")
        made = swift_code.swift_code(arguments.file)
        if arguments.json:
            print_json(made.as_json())
        else:
            for line in made.swift.splitlines():
                say(line)
        return 0
    described = description.describe(arguments.file)
    if not arguments.diff:
        if arguments.json:
            print_json(described.as_json())
        else:
            description_table.show(described)
        return 0
    found = description.differences(described, description.describe(arguments.diff))
    if arguments.json:
        rows = [{"what": what, "file": ours, "other": theirs} for what, ours, theirs in found]
        print_json({"file": str(arguments.file), "other": str(arguments.diff), "differences": rows})
    else:
        description_table.show_differences(found)
    return int(bool(found))


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
