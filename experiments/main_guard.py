"""Refuse scripts that start processes on import: spawned processes import the script, so this would never end."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

from architectures.errors import ProjectError

UNGUARDED = 86  # exit code of a process that would start others while it imports the script


class UnguardedScript(ProjectError, SystemExit):
    """A script cannot be imported by the processes that it starts. Ends it with a one-line message unless caught."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = f"error: {message}"


def check_main_guard() -> None:
    """Check the script before processes are spawned.

    Raises:
        UnguardedScript: if the script has no file to import.
        SystemExit: in a process that is itself importing the script; its parent reports why.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as in multiprocessing itself
        raise SystemExit(UNGUARDED)
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file and getattr(main, "__spec__", None) is None and not Path(file).exists():
        raise UnguardedScript(
            f"Training processes import the script that starts them, but {file} is not a file: save the script as one."
        )


def raise_if_unguarded(exit_code: int | None) -> None:
    """Raise UnguardedScript if a process ended with this code because the script started processes on import."""
    if exit_code == UNGUARDED:
        script = getattr(sys.modules["__main__"], "__file__", "the script")
        raise UnguardedScript(
            f"Training processes import {script}, which would start them again: put its code under "
            f"`if __name__ == '__main__':`."
        )
