"""Find the Core ML file or package in what the user gave: unpack archives, and name other kinds of files."""

from __future__ import annotations

import contextlib
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from architectures.scratch import scratch_folder
from conversion.runtime.foreign import COMPILED, CORE_ML, FORMAT_NAMES, HEAD_BYTES, refuse_foreign
from conversion.runtime.interface import CorruptModel, NotCheckable, NotCoreML
from conversion.runtime.limits import MAX_FILE_BYTES
from conversion.runtime.package import MANIFEST, MAX_MEMBERS, is_package

ZIP = b"PK\x03\x04"
MAX_UNPACKED_BYTES = 2 * MAX_FILE_BYTES  # a program and its weights, each at most half of it
BESIDE = "__MACOSX"  # added to archives by macOS
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


@contextlib.contextmanager
def extracted(path: Path) -> Iterator[Path]:
    """Yield the file or package at a path: itself, or the only one in an archive, unpacked during the context.

    Raises:
        NotCoreML: if it is something else, which the error names.
        CorruptModel: if it is a Git LFS pointer or a damaged archive.
        NotCheckable: if an archive is encrypted or too large.
    """
    source = str(path)
    try:
        is_folder = path.is_dir()
        head = b"" if is_folder or not path.is_file() else _head(path)
    except (OSError, ValueError):  # reading it reports the error
        is_folder, head = False, b""
    if is_folder:
        _refuse_other_folder(path, source)
    elif not head.startswith(ZIP):
        refuse_foreign(path, head, source)
    else:
        with scratch_folder() as folder:
            try:
                with zipfile.ZipFile(path) as archive:
                    found = _unpacked(archive, folder, source)
            except DAMAGED as error:
                raise CorruptModel(f"{source}: a damaged archive: {' '.join(str(error).split())}.") from error
            yield found
        return
    yield path


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _refuse_other_folder(path: Path, source: str) -> None:
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError:
        return
    if path.suffix == ".mlmodelc" or "coremldata.bin" in names:
        raise NotCoreML(f"{source}: {COMPILED}.")
    if MANIFEST in names:
        return
    if "saved_model.pb" in names:
        raise NotCoreML(f"{source}: a TensorFlow SavedModel, {CORE_ML}.")
    inner = sorted(name for name in names if is_package(path / name) or name.endswith(".mlmodel"))
    if inner:
        which = f"give {path / inner[0]}" if len(inner) == 1 else "give one of them"
        raise NotCoreML(f"{source}: a folder that holds {' and '.join(inner)}: {which}.")
    if not is_package(path):  # a damaged one is reported when it is read
        raise CorruptModel(f"{source}: a folder without {MANIFEST}, which is not a model package.")


def _unpacked(archive: zipfile.ZipFile, folder: Path, source: str) -> Path:
    """Unpack the only Core ML file or package of an archive into a folder."""
    entries = {entry.filename: entry for entry in archive.infolist() if not entry.is_dir()}
    entries = {name: entry for name, entry in entries.items() if BESIDE not in PurePosixPath(name).parts}
    if len(entries) > MAX_MEMBERS:
        raise NotCheckable(f"{source}: has more than {MAX_MEMBERS:,} members.")
    root = _root(list(entries), source)
    wanted = {name: entry for name, entry in entries.items() if PurePosixPath(name).is_relative_to(root)}
    total = sum(entry.file_size for entry in wanted.values())
    if total > MAX_UNPACKED_BYTES:
        raise NotCheckable(f"{source}: would unpack to {total:,} bytes; the limit is {MAX_UNPACKED_BYTES:,}.")
    base = PurePosixPath("unpacked.mlpackage" if not root.name else root.name)
    for name, entry in wanted.items():
        parts = PurePosixPath(name)
        if ".." in parts.parts or parts.is_absolute() or "\\" in name:
            raise CorruptModel(f"{source}: its member {name!r} leads out of it.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise CorruptModel(f"{source}: its member {name!r} is a link.")
        if entry.flag_bits & 1:
            raise NotCheckable(f"{source}: is encrypted; unpack it and give what it holds.")
        target = folder / base / parts.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file)
    return folder / base


def _root(names: Sequence[str], source: str) -> PurePosixPath:
    """Return the path within an archive of its only Core ML file or package."""
    paths = [PurePosixPath(name) for name in names]
    packages = {path.parent for path in paths if path.name == MANIFEST}
    found = packages | {path for path in paths if path.suffix == ".mlmodel" and packages.isdisjoint(path.parents)}
    if len(found) == 1:
        return found.pop()
    if found:
        listed = " and ".join(sorted(map(str, found)))
        raise NotCoreML(f"{source}: an archive that holds {listed}: unpack it and give one of them.")
    if {"config.json", "model.weights.h5"} <= set(names):
        raise NotCoreML(f"{source}: {FORMAT_NAMES['.keras']}, {CORE_ML}.")
    if any(path.name == "data.pkl" for path in paths):
        raise NotCoreML(f"{source}: {FORMAT_NAMES['.pt']}, {CORE_ML}.")
    if any(part.endswith(".mlmodelc") for path in paths for part in path.parts):
        raise NotCoreML(f"{source}: {COMPILED}.")
    raise NotCoreML(f"{source}: an archive without a Core ML file (.mlmodel or .mlpackage).")
