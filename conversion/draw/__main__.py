"""Draw a digit in the browser; the promoted Core ML file answers.  Run: python -m conversion.draw [FILE]"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.fields import Whole
from conversion.promotion.place import DEFAULT_OUTPUT

DEFAULT_PORT = 8765


def parser() -> Parser:
    made = Parser(
        "conversion.draw", "Serve a page on this machine: draw a digit, and the promoted Core ML file itself answers."
    )
    add = made.add_argument
    add("file", nargs="?", type=Path, metavar="FILE", help=f"a Core ML file (default {DEFAULT_OUTPUT})")
    add(
        "--port", type=Whole(0, 65535), default=DEFAULT_PORT, metavar="N", help=f"default {DEFAULT_PORT}; 0: a free one"
    )
    add(
        "--collect",
        type=Path,
        metavar="FOLDER",
        help="keep corrected drawings here, a folder per label, as image_dataset_from_directory reads them",
    )
    add("--tracking-uri", metavar="URI", help="where the link to the run leads, if a server; default make ui's address")
    return made


def _body(arguments: argparse.Namespace) -> int:
    from conversion.draw.session import open_session

    session = open_session(
        arguments.file, port=arguments.port, collect=arguments.collect, tracking_uri=arguments.tracking_uri
    )
    file, run_id = session.reader.path, session.run_id
    if arguments.json:
        print_json({"address": session.address, "file": str(file), "run_id": run_id, "run_link": session.run_link})
    else:
        say(f"Draw at {session.address} (Ctrl-C ends). {file} answers, run {run_id}.")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to stop
        session.serve()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
