"""The lock for promotions: one process at a time for each MLflow store, on any host.

- SQLite: `flock` on a file next to the database, which works wherever SQLite's own locks do. Released at the holder's
  death.
- PostgreSQL: an advisory lock of the database. Released when the database sees the holder's connection end.
- A server: the lowest ticket, a version of the registered model `promotion-lock`. MLflow's interface has no lock and no
  compare-and-set; only version numbers are unique and in order. Released at once if the holder dies on the same
  machine, else after LEASE_SECONDS.
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
MACHINE_TAG = "machine"  # of a ticket: the machine whose own lock its process holds
LEASE_SECONDS = 60.0  # without a heartbeat, after which another machine's ticket is removed
SIGN_SECONDS = 10.0  # between heartbeats


@contextlib.contextmanager
def promotion_lock(client: MlflowClient, uri: str, purpose: str) -> Iterator[StillHeld]:
    """Hold the promotion lock of a store; yield a function that raises LockLost if the lock was lost.

    Args:
        uri: of the store, absolute.
        purpose: of the holder, shown to waiting processes.
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
    """Return the lock file for a user's processes on this machine: at most one of them has a ticket at a time."""
    home = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache") / "pocketnets" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / hashlib.sha256(uri.encode()).hexdigest()[:16]


@contextlib.contextmanager
def _ticket(client: MlflowClient, machine: Path, purpose: str) -> Iterator[StillHeld]:
    """Draw a ticket and wait until it is the lowest."""
    from mlflow.exceptions import MlflowException

    name = _name_of(machine)
    with contextlib.suppress(MlflowException):  # it exists
        client.create_registered_model(TICKETS, description="Held while promotions are written: leave it alone.")
    drawn = client.create_model_version(TICKETS, SOURCE, tags={MACHINE_TAG: name}, description=this_process(purpose))
    number, done = int(drawn.version), threading.Event()
    seen: tuple[tuple[str, int | None], float] | None = None  # the lowest ticket and its last heartbeat; since when

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
            with contextlib.suppress(MlflowException):  # another process was first
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
        with contextlib.suppress(MlflowException):  # taken over, or the server is unavailable: then the lease expires
            client.delete_model_version(TICKETS, str(number))


def _name_of(machine: Path) -> str:
    """Return the tag value of all tickets whose processes held this lock file: they are dead if another one holds it.

    It includes the host's name, because not every shared file system knows the locks of other hosts.
    """
    beside = machine.with_suffix(".id")
    if not beside.exists():
        beside.write_text(uuid.uuid4().hex)
    return f"{platform.node()} {beside.read_text()}"
