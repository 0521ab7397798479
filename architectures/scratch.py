"""Folders for files in preparation: removed after use, or by the next process if one was killed.

A living process holds a lock on a file in its folder, which the kernel frees when it ends, however it ends. So neither
a process id that is used again nor a process of another container or host is taken for a dead one.
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
LOCK, FILES = "lock", "files"  # all that such a folder holds
RANDOM = re.compile("[a-z0-9_]{8}")  # what `mkdtemp` appends


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder among the machine's temporary files, removed at the end.

    >>> with scratch_folder() as folder:
    ...     _ = (folder / "model.keras").write_bytes(b"weights")
    >>> folder.exists()
    False
    """
    with _locked(Path(tempfile.gettempdir()), PREFIX) as folder:
        yield folder


@contextlib.contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """An empty hidden folder next to a file, on its file system: a complete file replaces it by a rename.

    Raises:
        OSError: if it cannot be made.
    """
    with _locked(path.absolute().parent, f".{path.name}.") as folder:
        yield folder


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders of dead processes; those that are in doubt or cannot be removed stay."""
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
        with contextlib.suppress(OSError):  # a file system without locks: then nobody takes it for abandoned
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
        folder.rmdir()  # of one that is just being made: its process makes another
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
