"""A model package: a folder whose Manifest.json names its members, which must all be inside it."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path, PurePosixPath

from conversion.runtime.interface import CorruptModel, NotCheckable
from conversion.runtime.limits import MAX_FILE_BYTES
from conversion.runtime.model_file import content_of

MANIFEST = "Manifest.json"
DATA = "Data"  # folder that paths in the manifest are relative to
FORMAT_VERSION = "1.0.0"  # of the manifest; no other exists
MAX_MANIFEST_BYTES = 2**20  # real ones have 700
MAX_MEMBERS = 10_000  # files and folders in a package; real ones have 6


def is_package(path: Path) -> bool:
    """Return whether a path is a folder with the suffix or the manifest of a package."""
    try:
        return path.is_dir() and (path.suffix == ".mlpackage" or (path / MANIFEST).exists())
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return False


class MissingMember(ValueError):
    """A package has no file with this name."""


class Package:
    """The members of a package, checked before they are read.

    Args:
        source: its name in errors, if not the path.

    Raises:
        CorruptModel: if the manifest is missing or damaged, or any member is outside of the folder.
        NotCheckable: if it has too many members or bytes, or another version of the manifest.
    """

    def __init__(self, path: Path, *, source: str | None = None) -> None:
        self.source = source or str(path)
        try:
            self._root = path.resolve(strict=True)
            self.size_bytes = self._measured()
        except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
            raise CorruptModel(
                f"{self.source}: cannot be read: {getattr(error, 'strerror', None) or error}."
            ) from error
        self._model_path = PurePosixPath(DATA, self._root_item())

    @cached_property
    def model(self) -> bytes:
        """Contents of the file with the program."""
        return self.content(self._model_path)

    def member(self, name: str, *, beside_model: bool = False) -> Path:
        """Return the file of a name in the package, with links resolved.

        Args:
            name: relative to the package, or to the folder of the program's file.

        Raises:
            MissingMember: if there is none.
            ValueError: if it is not inside the package, or not a file.
        """
        parts = PurePosixPath(name)
        if not name or "\0" in name or "\\" in name or parts.is_absolute() or ".." in parts.parts:
            raise ValueError(f"the file name {name!r} does not stay in the package")
        base = self._root / self._model_path.parent if beside_model else self._root
        try:
            found = (base / parts).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise MissingMember(f"the package has no file {name!r}") from error
        if not found.is_relative_to(self._root):
            raise ValueError(f"the file {name!r} is outside the package")
        if not found.is_file():  # a pipe would block
            raise ValueError(f"{name!r} is not a file")
        return found

    def content(self, name: PurePosixPath, *, most: int = MAX_FILE_BYTES) -> bytes:
        """Return a member's bytes.

        Raises:
            CorruptModel: if the package has no such file.
            NotCheckable: if it has more bytes than `most`.
        """
        try:
            found = self.member(str(name))
        except ValueError as error:
            raise CorruptModel(f"{self.source}: {error}.") from error
        return content_of(found, source=f"{self.source}: {name}", most=most)

    def _measured(self) -> int:
        """Return the total size of all files, after checking every link."""
        total = members = 0
        for folder, folders, files in os.walk(self._root, onerror=_raise):
            members += len(folders) + len(files)
            if members > MAX_MEMBERS:
                raise NotCheckable(f"{self.source}: has more than {MAX_MEMBERS:,} members.")
            for name in [*folders, *files]:
                member = Path(folder, name)
                if member.is_symlink() and not member.resolve(strict=True).is_relative_to(self._root):
                    raise CorruptModel(f"{self.source}: the link {name!r} points outside of the package.")
            total += sum(Path(folder, name).lstat().st_size for name in files)
        return total

    def _root_item(self) -> str:
        """Return the path of the program's file, from the manifest."""
        where = f"{self.source}: {MANIFEST}"
        if not (self._root / MANIFEST).exists():
            raise CorruptModel(f"{self.source}: a folder without {MANIFEST}, which is not a model package.")
        text = self.content(PurePosixPath(MANIFEST), most=MAX_MANIFEST_BYTES)
        try:
            manifest = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorruptModel(f"{where}: damaged, or not JSON.") from error
        version = manifest.get("fileFormatVersion") if isinstance(manifest, dict) else None
        if not isinstance(version, str):
            raise CorruptModel(f"{where}: states no version of its format.")
        if version != FORMAT_VERSION:
            raise NotCheckable(f"{where}: is of the version {version!r}; {FORMAT_VERSION} is known.")
        entries, root = manifest.get("itemInfoEntries"), manifest.get("rootModelIdentifier")
        entry = entries.get(root) if isinstance(entries, dict) and isinstance(root, str) else None
        item = entry.get("path") if isinstance(entry, dict) else None
        if not isinstance(item, str):
            raise CorruptModel(f"{where}: names no file for its root model.")
        return item


def _raise(error: OSError) -> None:
    raise error
