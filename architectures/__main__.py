"""List registered architectures, show one's layers, or start a new one.  Run: python -m architectures [NAME]"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from architectures import registry, table
from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.errors import UsageError
from architectures.fields import Whole
from architectures.starter import write_starter


def _shape(text: str) -> tuple[int, int, int]:
    """Parse HEIGHTxWIDTHxCHANNELS; an argparse type.

    >>> _shape("28x28x1")
    (28, 28, 1)
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTHxCHANNELS, such as 28x28x1")
    height, width, channels = map(int, found.groups())
    return height, width, channels


def parser() -> Parser:
    made = Parser("architectures", "List registered architectures, show the layers of one, or start a new one.")
    made.add_argument("name", nargs="?", help="an architecture: show its layer table; or `new`")
    made.add_argument("new_name", nargs="?", metavar="NEW", help="after `new`: write NEW.py and test_NEW.py here")
    made.add_argument("--input", type=_shape, default=(28, 28, 1), metavar="HxWxC", help="image (default 28x28x1)")
    made.add_argument("--classes", type=Whole(2), default=10, metavar="N", help="outputs (default 10)")
    made.add_argument("--filters", type=Whole(1), metavar="N", help="width of the first stage (default as published)")
    made.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="module or .py file; repeatable")
    return made


def _body(arguments: argparse.Namespace) -> int:
    if arguments.name == "new":
        return _new(arguments)
    if arguments.new_name:
        raise UsageError(f"One architecture at a time: {arguments.name!r} or {arguments.new_name!r}.")
    for plugin in arguments.plugin:
        registry.load_plugin(plugin)
    if arguments.name is None:
        rows = [
            table.summarize(registry.get(name), arguments.input, arguments.classes, filters=arguments.filters)
            for name in registry.names()
        ]
        if arguments.json:
            print_json({"architectures": rows})
        else:
            table.print_list(rows)
        return 0
    architecture = registry.get(arguments.name)
    shown = table.describe(architecture, arguments.input, arguments.classes, filters=arguments.filters)
    if arguments.json:
        print_json(shown)
    else:
        table.print_layers(shown)
    return 0


def _new(arguments: argparse.Namespace) -> int:
    if arguments.new_name is None:
        raise UsageError("Give the new architecture a name: python -m architectures new NAME.")
    builder, test = write_starter(arguments.new_name, Path())
    if arguments.json:
        print_json({"builder": str(builder), "test": str(test)})
    else:
        say(f"Wrote {builder} and {test}. Next:")
        say(f"  python {test}")
        say(f"  python -m search.sweep --plugin {builder} --architecture {arguments.new_name} --trials 4")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
