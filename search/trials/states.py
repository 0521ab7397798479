"""The states of trainings on disk: a file for each attempt at a trial, from which the next attempt goes on.

An attempt reads those of the attempts before it and writes its own alone. So one that was stopped, and goes on late,
damages nothing. They lie where the sweep runs, beside what waits for MLflow; those of Ray's tasks come there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from architectures.scratch import remove_abandoned
from experiments.names import folder_name
from experiments.tracking.journal import put_aside
from experiments.training.state import Unusable, check_whole

FOLDER = Path("training-state")  # in the working directory
NAMED = re.compile(r"([0-9]+)\.([0-9]+)")  # trial and attempt


class States:
    """The kept states of one study's trials."""

    def __init__(self, study: str, folder: Path = FOLDER) -> None:
        self.folder = folder.absolute() / folder_name(study)

    def path(self, number: int, attempt: int) -> Path:
        """Where an attempt at a trial keeps its own."""
        return self.folder / f"{number}.{attempt}"

    def numbers(self) -> set[int]:
        """The trials of which something is kept."""
        return {number for number, _ in self._kept()}

    def newest(self, number: int, *, before: int, say: Callable[[str], None]) -> bytes | None:
        """The newest state of the attempts before one; damaged files are set aside and reported to `say`."""
        while path := self._newest(number, before):
            try:
                content = path.read_bytes()
                check_whole(content)
                return content
            except (OSError, Unusable) as error:
                say(self._set_aside(path, str(error)))
        return None

    def set_aside(self, number: int, reason: str, *, before: int) -> str:
        """Give what `newest` has found another name, under which nobody looks for it; returns what to say of that."""
        path = self._newest(number, before)
        return self._set_aside(path, reason) if path else reason

    def remove(self, number: int) -> None:
        """Drop what is kept of a trial."""
        for attempt in self._attempts(number):
            self.path(number, attempt).unlink(missing_ok=True)

    def remove_ended(self, unfinished: Collection[int]) -> None:
        """Drop what is kept of all other trials."""
        for number in self.numbers().difference(unfinished):
            self.remove(number)

    def tidy(self) -> None:
        """Remove what was being written by processes that were killed, and folders that hold nothing."""
        remove_abandoned(self.folder.parent, f".{self.folder.name}.")
        for folder in (self.folder, self.folder.parent):
            with suppress(OSError):  # not there, or not empty
                folder.rmdir()

    def _kept(self) -> set[tuple[int, int]]:
        found = (NAMED.fullmatch(path.name) for path in self.folder.glob("*"))
        return {(int(match[1]), int(match[2])) for match in found if match}

    def _attempts(self, number: int) -> list[int]:
        return sorted(attempt for trial, attempt in self._kept() if trial == number)

    def _newest(self, number: int, before: int) -> Path | None:
        earlier = [attempt for attempt in self._attempts(number) if attempt < before]
        return self.path(number, earlier[-1]) if earlier else None

    def _set_aside(self, path: Path, reason: str) -> str:
        aside = put_aside(path)
        rest = "the training starts over, or from an older state"
        return f"{path} cannot be used ({reason}) and is now {aside.name}: {rest}"
