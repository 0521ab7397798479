"""Who may write promotions: one process at a time for each MLflow store, whichever host it runs on.

- SQLite: `flock` on a file beside the database, which holds where SQLite's own locks hold. Free at its holder's death.
- PostgreSQL: an advisory lock of the database. Free when the database sees the holder's connection end.
- A server: the lowest ticket, a version of the registered model `promotion-lock`. MLflow's interface has no lock and no
  compare-and-set; what it gives out once only, and in order, are version numbers. Free at once after a death on the
  same machine, else after LEASE_SECONDS.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.databases import sqlite_path
from experiments.locks import LockLost, StillHeld, file_lock, postgres_lock, this_process, wait_until

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

WHAT = "promotion lock"
TICKETS = "promotion-lock"  # registered model whose versions are the tickets
SOURCE = "lock:/promotions"  # a version must name one
MACHINE_TAG = "machine"  # of a ticket: whose own lock its process holds
LEASE_SECONDS = 60.0  # without a sign of life, after which another machine's ticket is removed
SIGN_SECONDS = 10.0  # between two signs of life


@contextlib.contextmanager
def promotion_lock(client: MlflowClient, uri: str, purpose: str) -> Iterator[StillHeld]:
    """Hold the promotion lock of a store; yields a function that raises LockLost once the lock was lost.

    Args:
        uri: of the store, absolute.
        purpose: of the holder, shown to processes that wait.
    """
    if path := sqlite_path(uri):
        place = path.resolve()
        with file_lock(place.with_name(f"{place.name}-promotions"), f"{WHAT} of {place}", purpose) as check:
            yield check
    elif uri.startswith("postgresql"):
        with postgres_lock(uri, WHAT, purpose) as check:
            yield check
    else:
        machine = _machines_lock(uri)
        with file_lock(machine, f"{WHAT} of {uri}", purpose) as local, _ticket(client, machine, purpose) as served:

            def both() -> None:
                local()
                served()

            yield both


def _machines_lock(uri: str) -> Path:
    """The file by which a user's processes on this machine take turns: of several at most one has a ticket."""
    home = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache") / "pocketnets" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / hashlib.sha256(uri.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _ticket(client: MlflowClient, machine: Path, purpose: str) -> Iterator[StillHeld]:
    """Draw a ticket and wait until it is the lowest."""
    from mlflow.exceptions import MlflowException

    name = _name_of(machine)
    with contextlib.suppress(MlflowException):  # it is there
        client.create_registered_model(TICKETS, description="Held while promotions are written: leave it alone.")
    drawn = client.create_model_version(TICKETS, SOURCE, tags={MACHINE_TAG: name}, description=this_process(purpose))
    number, done = int(drawn.version), threading.Event()
    seen: tuple[tuple[str, int | None], float] | None = None  # the lowest ticket and its last sign of life; since when

    def live() -> None:
        while not done.wait(SIGN_SECONDS):
            with contextlib.suppress(Exception):
                client.update_model_version(TICKETS, str(number), this_process(purpose))

    def lowest() -> ModelVersion:
        found = client.search_model_versions(f"name = '{TICKETS}'", max_results=1000)
        if all(int(ticket.version) != number for ticket in found):
            raise LockLost(f"The {WHAT} is lost: it was taken over after {LEASE_SECONDS:g} s without a heartbeat.")
        return min(found, key=lambda ticket: int(ticket.version))

    def acquired() -> bool:
        nonlocal seen
        first = lowest()
        if int(first.version) == number:
            return True
        sign = (first.version, first.last_updated_timestamp)
        if seen is None or seen[0] != sign:
            seen = sign, time.monotonic()
        if first.tags.get(MACHINE_TAG) == name or time.monotonic() - seen[1] > LEASE_SECONDS:
            with contextlib.suppress(MlflowException):  # another one was first
                client.delete_model_version(TICKETS, first.version)
        return False

    def check() -> None:
        if int(lowest().version) != number:
            raise LockLost(f"The {WHAT} is lost: run the command again.")

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        wait_until(acquired, lambda: lowest().description or "", WHAT)
        yield check
    finally:
        done.set()
        with contextlib.suppress(MlflowException):  # taken over, or the server is away: then it runs out
            client.delete_model_version(TICKETS, str(number))


def _name_of(machine: Path) -> str:
    """What all tickets have in common whose processes held this lock file: they are dead where another one holds it.

    The host's name is part of it: not every shared file system knows the locks of other hosts.
    """
    beside = machine.with_suffix(".id")
    if not beside.exists():
        beside.write_text(uuid.uuid4().hex)
    return f"{platform.node()} {beside.read_text()}"
