"""Locks between processes and hosts: released when their holder dies; waiting processes can see the holder.

Each is a context manager that yields a function to call just before a write: it raises `LockLost` if the lock was lost,
for example because the process was stopped for an hour, or a connection broke.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from architectures.display import say
from architectures.errors import ProjectError
from architectures.redaction import redact
from experiments.databases import LOCK_CLASS, keepalive

LOCK_POLL_SECONDS = 0.1
TOLD_AFTER = 5.0  # seconds of waiting, after which the holder of a lock is reported
LONGEST_NAME = 63  # bytes that PostgreSQL keeps of a connection's name

StillHeld = Callable[[], None]


class LockLost(ProjectError):
    """A lock was lost before the last write that it guards; the next command completes or undoes the operation."""


def this_process(purpose: str) -> str:
    """Return this process and its command, for processes that wait for it.

    >>> this_process("promotes").endswith(": promotes")
    True
    """
    return f"process {os.getpid()} on {platform.node()}: {purpose}"


def wait_until(acquired: Callable[[], bool], holder: Callable[[], str], what: str) -> None:
    """Poll until a lock is acquired, and report its holder on stderr. Ctrl-C ends the wait."""
    started, told = time.monotonic(), False
    while not acquired():
        if not told and time.monotonic() - started > TOLD_AFTER:
            by = holder() or "another process"
            say(redact(f"waiting for the {what}, held by {by}"), file=sys.stderr, flush=True)
            told = True
        time.sleep(LOCK_POLL_SECONDS)


@contextlib.contextmanager
def file_lock(path: Path, what: str, purpose: str) -> Iterator[StillHeld]:
    """Hold a lock on a file: between all processes that see it, on one host or on a shared file system.

    The file exists while the lock is held, and stays if the holder is killed: a leftover file does not block anyone.
    """
    held = -1

    def acquired() -> bool:
        nonlocal held
        file = _open(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, path):
                held = file
                return True
        except BlockingIOError:
            pass
        finally:
            if held < 0:
                os.close(file)
        return False

    def holder() -> str:
        try:
            return path.read_text(errors="replace").strip()
        except OSError:  # released in the meantime
            return ""

    def check() -> None:
        if not _is_at(held, path):
            raise LockLost(f"The {what} is lost: {path} was removed or replaced. Run the command again.")

    try:
        wait_until(acquired, holder, what)
        _write(held, this_process(purpose))
        yield check
    finally:
        if held >= 0:
            with contextlib.suppress(OSError):  # another user's folder
                if _is_at(held, path):
                    path.unlink()
            os.close(held)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's file can be locked, too
        return os.open(path, os.O_RDONLY)


def _write(file: int, text: str) -> None:
    with contextlib.suppress(OSError):  # another user's, or a full disk
        os.ftruncate(file, 0)
        os.pwrite(file, text.encode(), 0)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def postgres_lock(url: str, what: str, purpose: str) -> Iterator[StillHeld]:
    """Hold an advisory lock of a PostgreSQL database, across all hosts. It is released with the connection."""
    import sqlalchemy

    key = {"class": LOCK_CLASS, "key": zlib.crc32(what.encode()) - 2**31}  # a signed 32-bit number
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, connect_args=keepalive(url))
    name = this_process(purpose).encode()[:LONGEST_NAME].decode(errors="ignore")
    with engine.connect() as connection, contextlib.ExitStack() as stack:

        def asked(text: str, **values: object) -> object:
            return connection.scalar(sqlalchemy.text(text), values)

        def acquired() -> bool:
            if asked("SELECT pg_try_advisory_xact_lock(:class, :key)", **key):
                return True
            connection.rollback()
            return False

        def holder() -> str:
            found = asked(
                "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' "
                "AND granted AND classid = :class AND objid::bigint = (:key + 4294967296) % 4294967296",
                **key,
            )
            return str(found or "")

        def check() -> None:
            try:
                asked("SELECT 1")
            except sqlalchemy.exc.SQLAlchemyError as error:
                raise LockLost(f"The {what} is lost: {' '.join(str(error).split())[:200]}. Run it again.") from error

        stack.callback(_end, connection)
        asked("SELECT set_config('application_name', :name, false)", name=name)
        connection.commit()
        wait_until(acquired, holder, what)
        yield check


def _end(connection: object) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    with contextlib.suppress(SQLAlchemyError):  # the connection may already be broken
        connection.invalidate()  # type: ignore[attr-defined]
