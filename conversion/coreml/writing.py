"""Write Core ML files to disk completely or not at all, whether one file or a package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from architectures.scratch import remove_abandoned, scratch_beside
from conversion.coreml.file import CoreMLFile
from conversion.coreml.formats import FORMATS


@contextmanager
def staged(file: CoreMLFile, path: Path) -> Iterator[Callable[[], None]]:
    """Write a file next to its place, and yield the function that moves it there.

    A lack of space or permission raises here, before anything else is changed. If the function is not called, nothing
    is left behind. The function also removes the other form of the same name, `X.mlmodel` for `X.mlpackage` and vice
    versa, because Xcode cannot hold both; if it fails, nothing is changed.

    An `.mlmodel` is replaced atomically. Python has no system call that replaces a folder: an existing package is moved
    aside, then the new one is moved in, and only a kill between these two leaves the place empty.

    Raises:
        OSError: if the file cannot be written or moved.
        ValueError: if the path does not have the format's suffix.
    """
    if path.suffix != file.suffix:
        raise ValueError(f"A Core ML file of the format {file.format} is named *{file.suffix}, not {path.name}.")
    if file.format == "mlmodel" and path.is_dir():
        raise IsADirectoryError(21, "Is a directory", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_beside(path.with_suffix("")) as folder:
        made = folder / path.name
        if file.format == "mlmodel":
            (content,) = file.members.values()
            _write(content, made)
        else:
            for name, content in file.members.items():
                member = made / name
                member.parent.mkdir(parents=True, exist_ok=True)
                _write(content, member)
        yield lambda: _move(made, path)


def write(file: CoreMLFile, path: Path) -> None:
    """Write a file completely or not at all; arguments and errors as for `staged`.

    >>> from conversion.coreml.file import mlmodel
    >>> write(mlmodel(b"content"), Path("Digits.mlpackage"))
    Traceback (most recent call last):
    ValueError: A Core ML file of the format mlmodel is named *.mlmodel, not Digits.mlpackage.
    """
    with staged(file, path) as put:
        put()


def clear(path: Path) -> None:
    """Remove temporary files of killed processes next to a file's place."""
    remove_abandoned(path.absolute().parent, f".{path.stem}.")


def files_in_place(path: Path) -> tuple[Path, ...]:
    """Return the existing forms of a file, `X.mlmodel` and `X.mlpackage`."""
    forms = (path.with_suffix(f".{form}") for form in FORMATS)
    return tuple(form for form in forms if os.path.lexists(form))


def remove(path: Path) -> None:
    """Remove a file or a package."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(content: bytes, path: Path) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _move(source: Path, target: Path) -> None:
    aside: dict[Path, Path] = {}  # backups of replaced files, until the new file is in place
    try:
        for old in files_in_place(target):
            if old != target or target.is_dir() or source.is_dir():  # renaming replaces a file by itself
                kept = source.with_name(f"old{old.suffix}")
                old.rename(kept)
                aside[kept] = old
        source.replace(target)
    except BaseException:
        for kept, old in aside.items():
            kept.rename(old)
        raise
