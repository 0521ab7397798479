"""A drawing page before it is served: its file, its address, and the folder for drawings."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from architectures.errors import ProjectError
from conversion.coreml.writing import files_in_place
from conversion.draw.collection import Collection, collection_in
from conversion.draw.reader import Reader, open_reader
from conversion.draw.server import LOOPBACK, application, bind, serve_until_interrupted
from conversion.promotion.place import DEFAULT_OUTPUT
from experiments.views.page import run_link


@dataclass(frozen=True)
class Session:
    """A page on this machine, bound to its port and not yet served."""

    reader: Reader
    listener: socket.socket
    collection: Collection | None
    run_id: str | None  # of the file
    run_link: str | None

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/"

    def serve(self) -> None:
        """Serve until Ctrl-C."""
        page = application(self.reader, port=self.port, run_link=self.run_link, collection=self.collection)
        serve_until_interrupted(page, self.listener)


def open_session(file: Path | None, *, port: int, collect: Path | None, tracking_uri: str | None) -> Session:
    """Load a file and bind the port.

    Args:
        file: a Core ML file; None: the promoted one in its place.
        port: 0 for a free one.
        collect: the folder for corrected drawings, if any.
        tracking_uri: target of the run's link, if it is a server's.

    Raises:
        ProjectError: if there is no promoted file, the file does not take drawings, or the port is taken.
    """
    reader = open_reader(file or promoted_file())
    try:
        listener = bind(port)
    except OSError as error:
        raise ProjectError(f"Port {port}: {error.strerror}. Choose another with --port.") from error
    collection = collection_in(collect, reader.labels) if collect else None
    run_id = reader.executable.interface.metadata.user_defined.get("run_id")
    link = run_link(run_id, tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"))
    return Session(reader, listener, collection, run_id, link)


def promoted_file() -> Path:
    """Return the promoted file in its place, in either form; raise ProjectError if there is none."""
    found = files_in_place(DEFAULT_OUTPUT)
    if not found:
        raise ProjectError(f"There is no {DEFAULT_OUTPUT}: promote a model first, python -m conversion.promote.")
    return found[0]
