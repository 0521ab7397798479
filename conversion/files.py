"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(content: bytes, path: Path) -> Iterator[Callable[[], None]]:
    """Write a file beside its place, and hand out the function that moves it there.

    What can fail for want of space or permission fails here, before anything else is changed. Without a call of that
    function nothing is left behind.

    Raises:
        OSError: if the file cannot be written or moved.
    """
    if path.is_dir():
        raise IsADirectoryError(21, "Is a directory", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield lambda: _move(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write(content: bytes, path: Path) -> None:
    """Write a file whole or not at all; raises OSError if that fails."""
    with staged(content, path) as put:
        put()


def _move(source: Path, target: Path) -> None:
    source.replace(target)
