"""What could not be written to MLflow yet, on disk: a file a trial, a JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from experiments.config import EpochMetrics, ModelSize, run_result
from experiments.names import fits, folder_name
from experiments.tracking.records import RunStart

FOLDER = Path("mlflow-outbox")  # in the working directory, as the databases are by default
SET_ASIDE = ".unreadable"  # ends the name of a file that cannot be read
FIELDS = {  # of each kind of write
    "start": ("start",),
    "known": ("run_id",),  # the run that the next lines go on
    "size": ("size",),
    "epoch": ("metrics",),
    "finish": ("result", "keep"),
    "answer": ("original",),
    "end": ("status", "outcome"),
    "fail": ("traceback",),
}


class Unreadable(Exception):
    """A file that no sweep of this version has written, or that was damaged."""


class Kept:
    """The waiting writes of one study's trials."""

    def __init__(self, folder: Path, study: str) -> None:
        self.folder = folder.absolute() / folder_name(study)
        before = quote(study, safe="")  # as earlier versions named it
        self._folders = [self.folder] + ([folder.absolute() / before] if fits(before) else [])

    def path(self, number: int) -> Path:
        """Where the writes of a trial stand, or would."""
        found = [folder / f"{number}.jsonl" for folder in self._folders]
        return next((path for path in found if os.path.lexists(path)), found[0])

    def model(self, number: int) -> Path:
        """Where the model of a trial stands that is to be kept."""
        return self.folder / f"{number}.keras"

    def numbers(self) -> set[int]:
        """The trials of which something stands here."""
        found = (path for folder in self._folders for path in folder.glob("*.jsonl"))
        return {int(path.stem) for path in found if path.stem.isascii() and path.stem.isdecimal()}

    def append(self, number: int, *writes: dict[str, Any]) -> None:
        """Add writes to a trial's file; on return they are on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path(number).open("a", encoding="utf-8") as file:
            for write in writes:
                file.write(json.dumps(write, default=_as_json) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self, number: int) -> list[dict[str, Any]]:
        """A trial's writes; a last line that was cut off by the end of its process is left out.

        Raises:
            Unreadable: for anything else that is not whole.
        """
        try:
            *lines, last = self.path(number).read_text(encoding="utf-8").split("\n")
            writes = [_parsed(line) for line in lines]
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unreadable(f"{type(error).__name__}: {error}") from error
        if last:
            with suppress(ValueError, TypeError, KeyError, AttributeError):
                writes.append(_parsed(last))
        if writes and writes[0]["do"] not in ("start", "known"):
            raise Unreadable("it does not say which run it goes on")
        for write in writes:
            if write["do"] == "finish" and write["keep"] and not write["result"].keras_file.is_file():
                raise Unreadable(f"its model {write['result'].keras_file} is gone")
        return writes

    def remove(self, number: int) -> None:
        """Drop what stands of a trial."""
        for folder in self._folders:
            for name in (f"{number}.jsonl", f"{number}.keras"):
                if (folder / name).is_dir():
                    _set_aside(folder / name)
                (folder / name).unlink(missing_ok=True)

    def set_aside(self, number: int) -> Path:
        """Give the file of a trial another name, under which nobody looks for it; returns that."""
        return _set_aside(self.path(number))


def _set_aside(path: Path) -> Path:
    aside, again = path.with_name(path.name + SET_ASIDE), 1
    while os.path.lexists(aside):
        again += 1
        aside = path.with_name(f"{path.name}{SET_ASIDE}-{again}")
    return path.rename(aside)


def _as_json(value: object) -> object:
    """What `json` does not know: dataclasses, arrays, paths."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _parsed(line: str) -> dict[str, Any]:
    """A write as it was before `_as_json`."""
    write = json.loads(line)
    if missing := [key for key in ("at", "parent", *FIELDS[write["do"]]) if key not in write]:
        raise ValueError(f"a line lacks {', '.join(missing)}")
    if not isinstance(write["at"], int | float):
        raise TypeError("a line has no time")
    kinds: dict[str, Callable[[Any], object]] = {
        "start": lambda values: RunStart(**values),
        "size": lambda values: ModelSize(**values),
        "metrics": lambda values: EpochMetrics(**values),
        "result": run_result,
    }
    return {key: kinds[key](value) if key in kinds else value for key, value in write.items()}
