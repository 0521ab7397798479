"""SQLite files that appear with all their tables or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


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
    beside = path.absolute().with_name(f".{path.name}.{os.getpid()}")
    try:
        make_tables(f"sqlite:///{beside}")
        try:
            os.link(beside, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                beside.rename(path)
    finally:
        for left in list(beside.parent.iterdir()):
            if left.name.startswith(beside.name):  # the file itself and SQLite's journals
                left.unlink(missing_ok=True)
