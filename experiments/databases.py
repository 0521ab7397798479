"""Databases that several processes open: SQLite files that appear whole, and a lock for one process at a time."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.scratch import scratch_beside

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

LOCK_CLASS = 7077  # of PostgreSQL's advisory locks: sets ours apart from those of other programs

# A host or a database that vanishes without a word is noticed on both sides, and what it has locked is free again.
KEEPALIVE = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "options": "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL; None for another database.

    >>> str(sqlite_path("sqlite:///mlflow.db"))
    'mlflow.db'
    >>> sqlite_path("postgresql://localhost/x") is None
    True
    """
    if not url.startswith("sqlite:///"):
        return None
    return Path(url.removeprefix("sqlite:///").partition("?")[0])


def make_database(path: Path, make_tables: Callable[[str], None]) -> None:
    """Make a database under another name and give it its own once `make_tables(url)` is through.

    A process that is killed meanwhile leaves no half-migrated file, which no later start could open. Where two make
    the same one, the first wins and the other's is dropped.
    """
    with scratch_beside(path) as folder:
        beside = folder / path.name
        make_tables(f"sqlite:///{beside}")
        try:
            os.link(beside, path)
        except FileExistsError:
            if not path.stat().st_size:  # left by who only looked
                beside.replace(path)
        except OSError:  # a file system without hard links
            if not path.exists():
                beside.rename(path)


def raise_if_full(url: str, error: BaseException) -> None:
    """Raise OSError, as writing a file does, where an error comes from SQLite's of a disk that is full."""
    seen: BaseException | None = error
    while seen is not None:
        if "database or disk is full" in str(seen):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(sqlite_path(url))) from error
        seen = seen.__cause__


def _closed(connection: Connection) -> None:
    """Close a connection, and with it what it has locked; it may be broken, and the lock gone, already."""
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(SQLAlchemyError):
        connection.close()


@contextmanager
def exclusive(url: str, name: str, engine: Engine | None = None) -> Iterator[None]:
    """Keep other processes that use the same name on the same database waiting while the block runs.

    The lock goes with its process, and with the database's connection: nothing has to be cleared after a kill -9.

    Args:
        url: of SQLite or PostgreSQL.
        name: what is locked; a SQLite file has one lock for all names.
        engine: PostgreSQL's, where there is one already.
    """
    path = sqlite_path(url)
    if path is None:
        import sqlalchemy

        held = engine or sqlalchemy.create_engine(url)
        try:
            with ExitStack() as stack:
                connection = held.connect()
                stack.callback(_closed, connection)
                key = zlib.crc32(name.encode()) - 2**31  # a signed 32-bit number
                connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {key})"))
                yield
        finally:
            if engine is None:
                held.dispose()
        return
    import fcntl

    # A file of its own: closing the database's would drop the locks that SQLite holds on it in this process.
    with path.with_name(f"{path.name}-lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
