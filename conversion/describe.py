"""Show what a Core ML file contains.  Run: python -m conversion.describe FILE [--diff OTHER]

Exit codes: 0 done, 1 the two files differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.errors import UsageError
from experiments.views.tables import print_cells

if TYPE_CHECKING:
    from conversion.description import Description

LABELS_SHOWN = 20
TEXT_COLUMNS = frozenset({"layer", "kind", "stored as", "what", "file", "other"})


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


def show(described: Description) -> None:
    """Print what a file is, and the table of its parts."""
    ios = f"iOS {described.minimum_ios} or later" if described.minimum_ios else "of an unknown iOS"
    say(f"{described.file}: {described.kind}, specification {described.specification_version}, {ios}")
    for what, features in (("input", described.inputs), ("output", described.outputs)):
        for feature in features:
            say(f"  {what} {feature.name}: {feature.type}" + f"  {feature.description}" * bool(feature.description))
    for scaling in described.scalings:
        say(f"  {scaling.input}: {scaling.text}")
    if described.labels:
        shown = ", ".join(map(str, described.labels[:LABELS_SHOWN]))
        say(f"  {len(described.labels):,} labels: {shown}" + ", ..." * (len(described.labels) > LABELS_SHOWN))
    for name, text in described.metadata_texts.items():
        say(f"  {name}: {text}")
    say(f"  {described.weights:,} weights: {'; '.join(described.storage) or 'none'}")
    lines = [
        [
            part.name,
            part.kind,
            f"{part.weights:,}" if part.weights else "",
            "; ".join(part.storage),
            f"{part.bytes:,}",
            f"{part.bytes / described.size_bytes:.1%}",
        ]
        for part in described.parts
    ]
    lines.append(["total", "", f"{described.weights:,}", "", f"{described.size_bytes:,}", "100.0%"])
    print_cells(["layer", "kind", "weights", "stored as", "bytes", "share"], lines, words=TEXT_COLUMNS)
    for reason in described.not_executable:
        say(f"cannot be executed here: {reason}")
    if not described.not_executable:
        say("can be executed here, as far as can be seen without trying: python -m conversion.runtime")


def show_differences(found: Sequence[tuple[str, str, str]]) -> None:
    """Print what differs between two files."""
    if found:
        print_cells(["what", "file", "other"], found, words=TEXT_COLUMNS)
    else:
        say("no difference")


def _swift(arguments: argparse.Namespace) -> int:
    from conversion.swift_code import swift_code

    if arguments.diff:
        raise UsageError("--swift takes one file: leave out --diff.")
    made = swift_code(arguments.file)
    if arguments.json:
        print_json(made.as_json())
    else:
        for line in made.swift.splitlines():
            say(line)
    return 0


def _body(arguments: argparse.Namespace) -> int:
    from conversion.description import describe, differences

    if arguments.swift:
        return _swift(arguments)
    described = describe(arguments.file)
    if not arguments.diff:
        if arguments.json:
            print_json(described.as_json())
        else:
            show(described)
        return 0
    found = differences(described, describe(arguments.diff))
    if arguments.json:
        rows = [{"what": what, "file": ours, "other": theirs} for what, ours, theirs in found]
        print_json({"file": str(arguments.file), "other": str(arguments.diff), "differences": rows})
    else:
        show_differences(found)
    return int(bool(found))


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
