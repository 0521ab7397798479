"""Folders for files in preparation: removed after use, or by the next process if one was killed.

A running process holds a lock on a file in its folder, which the kernel releases when the process ends in any way. So
reused process ids, and processes in other containers or on other hosts, cause no mistakes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "pocketnets-scratch-"  # of folders among a machine's temporary files
LOCK, FILES = "lock", "files"  # the only contents of such a folder
RANDOM = re.compile("[a-z0-9_]{8}")  # what `mkdtemp` appends


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield an empty temporary folder, and remove it at the end.

    >>> with scratch_folder() as folder:
    ...     _ = (folder / "model.keras").write_bytes(b"weights")
    >>> folder.exists()
    False
    """
    with _locked(Path(tempfile.gettempdir()), PREFIX) as folder:
        yield folder


@contextlib.contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """Yield an empty hidden folder next to a file, on the same file system, so that a rename can replace the file.

    Raises:
        OSError: if it cannot be created.
    """
    with _locked(path.absolute().parent, f".{path.name}.") as folder:
        yield folder


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders of dead processes; doubtful ones and those that cannot be removed stay."""
    with contextlib.suppress(OSError):
        for left in list(parent.iterdir()):
            if left.name.startswith(prefix) and RANDOM.fullmatch(left.name.removeprefix(prefix)):
                _remove_if_abandoned(left)


@contextlib.contextmanager
def _locked(parent: Path, prefix: str) -> Iterator[Path]:
    remove_abandoned(parent, prefix)
    made = None
    while made is None:
        made = _make(parent, prefix)
    folder, lock = made
    try:
        yield folder / FILES
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make(parent: Path, prefix: str) -> tuple[Path, int] | None:
    """Make a folder and lock it; None if another process removed it before it was locked.

    Returns:
        The folder and the descriptor of its lock.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    try:
        with contextlib.suppress(OSError):  # a file system without locks: no process considers the folder abandoned
            fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / FILES).mkdir()
    except FileNotFoundError:
        os.close(lock)
        return None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        raise
    return folder, lock


def _remove_if_abandoned(folder: Path) -> None:
    if folder.is_symlink() or not folder.is_dir():
        return
    inside = {path.name for path in folder.iterdir()}
    if not inside:
        folder.rmdir()  # if it is just being created, its process creates another one
        return
    if LOCK not in inside or not inside <= {LOCK, FILES}:
        return
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # held
        pass
    finally:
        os.close(lock)
