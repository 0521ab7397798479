"""Training states on disk: one file for each attempt at a trial, from which the next attempt resumes.

An attempt reads the files of earlier attempts, and writes only its own. So a stopped attempt that continues late does
no damage. The files are in the sweep's working directory, next to the outbox; Ray tasks send theirs there.
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


class TrainingStates:
    """The training states of one study's trials."""

    def __init__(self, study: str, folder: Path = FOLDER) -> None:
        self.folder = folder.absolute() / folder_name(study)

    def path(self, number: int, attempt: int) -> Path:
        """Return the path of an attempt's own state."""
        return self.folder / f"{number}.{attempt}"

    def numbers(self) -> set[int]:
        """Return the numbers of the trials that have a state."""
        return {number for number, _ in self._kept()}

    def newest(self, number: int, *, before: int, say: Callable[[str], None]) -> bytes | None:
        """Return the newest state of earlier attempts; set damaged files aside, and report them to `say`."""
        while path := self._newest(number, before):
            try:
                content = path.read_bytes()
                check_whole(content)
                return content
            except (OSError, Unusable) as error:
                say(self._set_aside(path, str(error)))
        return None

    def set_aside(self, number: int, reason: str, *, before: int) -> str:
        """Rename what `newest` has found, so that it is not used again; return a message about it."""
        path = self._newest(number, before)
        return self._set_aside(path, reason) if path else reason

    def remove(self, number: int) -> None:
        """Remove a trial's states."""
        for attempt in self._attempts(number):
            self.path(number, attempt).unlink(missing_ok=True)

    def remove_ended(self, unfinished: Collection[int]) -> None:
        """Remove the states of all other trials."""
        for number in self.numbers().difference(unfinished):
            self.remove(number)

    def tidy(self) -> None:
        """Remove temporary files of killed processes, and empty folders."""
        remove_abandoned(self.folder.parent, f".{self.folder.name}.")
        for folder in (self.folder, self.folder.parent):
            with suppress(OSError):  # missing, or not empty
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
