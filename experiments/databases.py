"""Databases that several processes open: SQLite files that appear whole, and a lock for one process at a time."""

from __future__ import annotations

import errno
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.display import say
from architectures.scratch import scratch_beside
from experiments.interruption import pause

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

PATIENCE_SECONDS = 5.0  # after which a wait for a lock is reported
LOCK_SECONDS = 0.02  # between two looks whether it is free
LOCK_CLASS = 7077  # of PostgreSQL's advisory locks: sets ours apart from those of other programs

# A host or a database that vanishes without a word is noticed on both sides, and what it has locked is free again.
KEEPALIVE: dict[str, int | str] = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}


def keepalive(url: str) -> dict[str, int | str]:
    """Return arguments of a connection to a PostgreSQL database, in addition to those of the URL.

    >>> keepalive("postgresql+psycopg://localhost/x?connect_timeout=3&options=-csearch_path%3Dmine")["options"][:20]
    '-csearch_path=mine -'
    >>> keepalive("sqlite:///optuna.db")
    {}
    """
    import sqlalchemy

    made = sqlalchemy.make_url(url)
    if not made.get_driver_name().startswith("psycopg"):
        return {}
    added = {name: value for name, value in KEEPALIVE.items() if name not in made.query}
    if "options" in made.query:
        added["options"] = f"{made.query['options']} {KEEPALIVE['options']}"
    return added


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for another database.

    >>> str(sqlite_path("sqlite:///mlflow.db"))
    'mlflow.db'
    >>> sqlite_path("postgresql://localhost/x") is None
    True
    """
    if not url.startswith("sqlite:///"):
        return None
    return Path(url.removeprefix("sqlite:///").partition("?")[0])


def make_database(path: Path, make_tables: Callable[[str], None]) -> None:
    """Create a database under a temporary name and rename it once `make_tables(url)` has returned.

    A process that is killed meanwhile leaves no half-migrated file, which no later start could open. If two processes
    create the same database, the first wins and the other's is dropped.
    """
    with scratch_beside(path) as folder:
        beside = folder / path.name
        make_tables(f"sqlite:///{beside}")
        try:
            os.link(beside, path)
        except FileExistsError:
            if not path.stat().st_size:  # an empty file left by a reader
                beside.replace(path)
        except OSError:  # a file system without hard links
            if not path.exists():
                beside.rename(path)


def raise_if_full(url: str, error: BaseException) -> None:
    """Raise OSError, as writing a file does, if SQLite reports a full disk."""
    seen: BaseException | None = error
    while seen is not None:
        if "database or disk is full" in str(seen):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(sqlite_path(url))) from error
        seen = seen.__cause__


def _closed(connection: Connection) -> None:
    """Close a connection, which releases its locks; it may already be broken."""
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(SQLAlchemyError):
        connection.close()


@contextmanager
def exclusive(url: str, name: str, engine: Engine | None = None, *, lock: str = "lock") -> Iterator[None]:
    """Make other processes that use the same name on the same database wait while the block runs.

    The lock is released with its process and its database connection: nothing has to be cleaned up after a kill -9.
    A process that waits longer than a few seconds reports the holder; Ctrl-C ends the wait.

    Args:
        name: what is locked; a SQLite file has one `lock` for all names.
        engine: PostgreSQL's, if there is one already.
        lock: which of the locks of that name.
    """
    path = sqlite_path(url)
    if path is not None:
        with _locked_file(path.with_name(f"{path.name}-{lock}")):
            yield
        return
    import sqlalchemy

    held = engine or sqlalchemy.create_engine(url)
    try:
        with ExitStack() as stack:
            connection = held.connect()
            stack.callback(_closed, connection)
            key = zlib.crc32((name if lock == "lock" else f"{name} {lock}").encode()) - 2**31  # signed, of 32 bits
            attempt = sqlalchemy.text(f"SELECT pg_try_advisory_xact_lock({LOCK_CLASS}, {key})")
            _wait(lambda: bool(connection.scalar(attempt)), lambda: _holder_in_postgresql(connection, name, key))
            yield
    finally:
        if engine is None:
            held.dispose()


@contextmanager
def _locked_file(path: Path) -> Iterator[None]:
    """Hold a lock on a file, which contains its holder.

    It is not the database itself: closing that would release the locks that SQLite holds on it in this process.
    """
    import fcntl

    with path.open("ab") as file:

        def taken() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        _wait(taken, lambda: f"{path.name}, held by {_holder_of(path)}")
        with suppress(OSError):  # a full disk; the text is optional
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


def _wait(taken: Callable[[], bool], holder: Callable[[], str]) -> None:
    """Wait until a lock is acquired, and report its holder if that takes long."""
    since, told = time.monotonic(), False
    while not taken():
        if not told and time.monotonic() - since > PATIENCE_SECONDS:
            told = True
            say(f"warning: waiting for {holder()}", file=sys.stderr)
        pause(LOCK_SECONDS)


def _holder_of(path: Path) -> str:
    """Return the process that holds the lock of a file, if known."""
    import psutil

    text = path.read_text(encoding="utf-8").strip()
    try:
        process = psutil.Process(int(text))
        stopped = process.status() == psutil.STATUS_STOPPED
    except (ValueError, psutil.Error):  # on another host, or not written yet
        return f"process {text}" if text else "another process"
    return f"process {text}, which is stopped (kill -CONT {text} resumes it)" if stopped else f"process {text}"


def _holder_in_postgresql(connection: Connection, name: str, key: int) -> str:
    """Return the session of PostgreSQL that holds a lock, if known."""
    import sqlalchemy

    found = connection.execute(
        sqlalchemy.text(
            "SELECT pid, client_addr FROM pg_locks JOIN pg_stat_activity USING (pid) "
            f"WHERE locktype = 'advisory' AND granted AND classid = {LOCK_CLASS} AND objid = {key % 2**32}"
        )
    ).first()
    where = f"PostgreSQL's session {found[0]} from {found[1] or 'this host'}" if found else "another session"
    return f"the lock of {name}, held by {where}"
