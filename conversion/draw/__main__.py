"""Draw a digit in the browser; the promoted Core ML file answers.  Run: python -m conversion.draw [FILE]"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from architectures.command import Parser, print_json, run
from architectures.display import say
from architectures.errors import ProjectError
from architectures.fields import Whole
from conversion.promotion.place import DEFAULT_OUTPUT

DEFAULT_PORT = 8765
LOCAL_UI = "http://127.0.0.1:5000"  # where `make ui` shows a store that is a file


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


def promoted_file() -> Path:
    """The promoted file in its place, in either form; raises ProjectError where there is none."""
    from conversion.coreml.writing import standing

    found = standing(DEFAULT_OUTPUT)
    if not found:
        raise ProjectError(f"There is no {DEFAULT_OUTPUT}: promote a model first, python -m conversion.promote.")
    return found[0]


def run_link(run_id: str | None, tracking_uri: str | None) -> str | None:
    """Address of a run in the MLflow UI.

    >>> run_link("3f" * 16, "http://mlflow.example:8080/")
    'http://mlflow.example:8080/#/runs/3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f'
    >>> run_link("3f" * 16, "http://ann:s3cret@mlflow.example")
    'http://mlflow.example/#/runs/3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f'
    >>> run_link("3f" * 16, "http://ann:s3/cret@mlflow.example")
    'http://mlflow.example/#/runs/3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f'
    """
    if not run_id or not re.fullmatch("[0-9a-f]{32}", run_id):
        return None
    server = tracking_uri if tracking_uri and re.match("https?://", tracking_uri) else LOCAL_UI
    server = re.sub(r"(?<=://)\S*@|[?#].*", "", server)  # a link holds no login: the browser asks for it
    return f"{server.rstrip('/')}/#/runs/{run_id}"


def _body(arguments: argparse.Namespace) -> int:
    from conversion.draw.collection import collection_in
    from conversion.draw.reader import open_reader
    from conversion.draw.server import HOST, application, bind, serve

    reader = open_reader(arguments.file or promoted_file())
    try:
        listener = bind(arguments.port)
    except OSError as error:
        raise ProjectError(f"Port {arguments.port}: {error.strerror}. Choose another with --port.") from error
    collection = collection_in(arguments.collect, reader.labels) if arguments.collect else None
    port = listener.getsockname()[1]
    run_id = reader.executable.interface.metadata.user_defined.get("run_id")
    link = run_link(run_id, arguments.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"))
    address = f"http://{HOST}:{port}/"
    if arguments.json:
        print_json({"address": address, "file": str(reader.path), "run_id": run_id, "run_link": link})
    else:
        say(f"Draw at {address} (Ctrl-C ends). {reader.path} answers, run {run_id}.")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        serve(application(reader, port=port, run_link=link, collection=collection), listener)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
