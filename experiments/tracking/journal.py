"""Writes that wait for MLflow on disk: one file per trial, one JSON object per line."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from experiments.names import folder_name, is_file_name
from experiments.tracking.entries import Known, Start, Write, parse_write

OUTBOX_FOLDER = Path("mlflow-outbox")  # in the working directory, as the databases are by default
SET_ASIDE = ".unreadable"  # ends the name of a file that cannot be read


class UnreadableJournal(Exception):
    """A file that was not written by a sweep of this version, or that is damaged."""


class Journal:
    """The waiting writes of one study's trials."""

    def __init__(self, folder: Path, study: str) -> None:
        self.folder = folder.absolute() / folder_name(study)
        before = quote(study, safe="")  # as earlier versions named it
        self._folders = [self.folder] + ([folder.absolute() / before] if is_file_name(before) else [])

    def path(self, number: int) -> Path:
        """Return the path of a trial's writes, whether it exists or not."""
        found = [folder / f"{number}.jsonl" for folder in self._folders]
        return next((path for path in found if os.path.lexists(path)), found[0])

    def model(self, number: int) -> Path:
        """Return the path for a model to keep."""
        return self.folder / f"{number}.keras"

    def numbers(self) -> set[int]:
        """Return the numbers of the trials that have a file here."""
        found = (path for folder in self._folders for path in folder.glob("*.jsonl"))
        return {int(path.stem) for path in found if path.stem.isascii() and path.stem.isdecimal()}

    def append(self, number: int, *writes: Write) -> None:
        """Append writes to a trial's file; on return they are on disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path(number).open("a", encoding="utf-8") as file:
            for write in writes:
                file.write(write.as_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self, number: int) -> list[Write]:
        """Read a trial's writes, without a last line that was cut off when the process died.

        Raises:
            UnreadableJournal: if anything else is incomplete.
        """
        try:
            *lines, last = self.path(number).read_text(encoding="utf-8").split("\n")
            writes = [parse_write(line) for line in lines]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnreadableJournal(f"{type(error).__name__}: {error}") from error
        if last:
            with suppress(ValueError, TypeError, KeyError, AttributeError):
                writes.append(parse_write(last))
        if writes and not isinstance(writes[0].entry, Start | Known):
            raise UnreadableJournal("it does not say which run it continues")
        for write in writes:
            if (file := write.entry.file) and not file.is_file():
                raise UnreadableJournal(f"its model {file} is gone")
        return writes

    def remove(self, number: int) -> None:
        """Remove the files of a trial."""
        for folder in self._folders:
            for name in (f"{number}.jsonl", f"{number}.keras"):
                if (folder / name).is_dir():
                    put_aside(folder / name)
                (folder / name).unlink(missing_ok=True)

    def set_aside(self, number: int) -> Path:
        """Rename the file of a trial so that it is not read again; return the new name."""
        return put_aside(self.path(number))


def put_aside(path: Path) -> Path:
    """Rename a file so that it is not read again; return the new name."""
    aside, again = path.with_name(path.name + SET_ASIDE), 1
    while os.path.lexists(aside):
        again += 1
        aside = path.with_name(f"{path.name}{SET_ASIDE}-{again}")
    return path.rename(aside)
