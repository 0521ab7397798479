"""Data sets larger than memory: decoded once into files on disk, which are memory-mapped.

A cache is a folder of `.npy` files, one pair per split, under `$XDG_CACHE_HOME/pocketnets/datasets` (`~/.cache/...`
if that is not set). Its name has a digest of the source's files, by path, size and modification time, so that changed
files get another cache. It is written completely or not at all, and can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0

from architectures.errors import ProjectError
from architectures.scratch import scratch_beside
from experiments.datasets import progress
from experiments.datasets.parts import StoredSplit
from experiments.datasets.places import Copies
from experiments.datasets.registry import SPLITS, Dataset, Split
from experiments.datasets.source import Source
from experiments.names import shortened

IN_MEMORY_BYTES = 2**28  # of pixels: more is streamed from disk. A machine that runs TensorFlow has these 256 MiB
BLOCK_BYTES = 2**24  # of pixels that are decoded, written or hashed at a time
VERSION = 2  # of decoding and splitting: a new version decodes again
READABLE = 100  # bytes of a data set's title in the name of its folder
FACTS_FILE = "dataset.json"


def folder_of(source: Source, files: Iterable[Path]) -> Path:
    """Return the cache folder of a source with these files, whether it exists or not.

    Raises:
        ProjectError: if a file does not exist, such as a broken link, or is a folder or pipe.
    """
    digest = hashlib.sha256(os.fsencode(f"{VERSION} {source}"))
    for file in files:
        try:
            facts = file.stat()
        except OSError as error:
            raise ProjectError(f"{file} is a broken link or out of reach: {error.strerror}.") from error
        if not stat.S_ISREG(facts.st_mode):
            raise ProjectError(f"{file} is not a file but a folder, a pipe or a device.")
        digest.update(os.fsencode(f"\n{file} {facts.st_size} {facts.st_mtime_ns}"))
    return root() / "datasets" / f"{shortened(source.title, READABLE)}-{digest.hexdigest()[:16]}"


def root() -> Path:
    """Return the project's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache") / "pocketnets"


def open_cached(folder: Path) -> Dataset | None:
    """Return the data set of a cache; None if there is no cache, or its files have changed since they were written."""
    try:
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        if facts["files"] != _files(folder):
            return None
        splits = _mapped(folder, facts["file_names"])
        dataset = Dataset(facts["name"], tuple(facts["class_names"]), *splits)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # Not a field, because `replace` must not copy it to other images. It was computed when the cache was written.
    vars(dataset)["digest"] = facts["digest"]
    return dataset


def write(
    folder: Path,
    name: str,
    class_names: Sequence[str],
    parts: Mapping[str, StoredSplit],
    shape: tuple[int, ...],
    blocks: Iterable[tuple[str, np.ndarray]],
) -> Dataset:
    """Write a cache and open it.

    Args:
        class_names: by label.
        parts: labels and names of files of each split.
        shape: height, width and channels of an image.
        blocks: consecutive uint8 images of the splits, each with the name of its split.

    Raises:
        ProjectError: if the disk is full, or whatever reading the blocks raises; then no files are left.
    """
    needed = sum(len(part.labels) for part in parts.values()) * math.prod(shape)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with scratch_beside(folder) as staging, contextlib.ExitStack() as stack:
            if (free := shutil.disk_usage(folder.parent).free) < needed:
                raise _too_small(name, folder, needed, free)
            written = {}
            for split, part in parts.items():
                np.save(staging / f"{split}_labels.npy", part.labels.astype(np.int64))
                written[split] = stack.enter_context((staging / f"{split}_images.npy").open("wb"))
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(part.labels), *shape)}
                write_array_header_1_0(written[split], header)
            for split, block in blocks:  # a full disk raises an error here; with a memory map, it would be a signal
                written[split].write(np.ascontiguousarray(block).data)
            stack.close()
            facts = {
                "name": name,
                "class_names": list(class_names),
                "digest": Dataset(name, tuple(class_names), *_mapped(staging, dict.fromkeys(parts))).digest,
                "files": _files(staging),
                "file_names": {split: part.files for split, part in parts.items()},
                "notes": None,
            }
            (staging / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
            _move(staging, folder)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _too_small(name, folder, needed, shutil.disk_usage(folder.parent).free) from error
    progress.say(f"{name}: {needed / 2**20:,.0f} MiB of decoded images cached in {folder}")
    dataset = open_cached(folder)
    if dataset is None:
        raise ProjectError(f"The cache of {name} in {folder} changed while it was written. Try again.")
    return dataset


def notes(folder: Path) -> list[str] | None:
    """Return a cache's notes on its images; None if there are none, or if a kill prevented writing them."""
    try:
        found: list[str] | None = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))["notes"]
    except (OSError, ValueError, KeyError):
        return None
    return found


def write_notes(folder: Path, notes: Sequence[str]) -> None:
    """Write notes on a cache's images, if there is a cache."""
    with contextlib.suppress(FileNotFoundError):
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        with scratch_beside(folder / FACTS_FILE) as staging:
            (staging / FACTS_FILE).write_text(json.dumps(facts | {"notes": list(notes)}), encoding="utf-8")
            (staging / FACTS_FILE).replace(folder / FACTS_FILE)


def with_notes(dataset: Dataset, notes: Sequence[str], copies: Copies | None) -> Dataset:
    """Return a data set with notes and copies; it keeps the digest, if known, because its images are the same."""
    made = replace(dataset, notes=tuple(notes), copies=copies)
    if "digest" in vars(dataset):
        vars(made)["digest"] = dataset.digest
    return made


@contextlib.contextmanager
def staged_images(
    folder: Path, name: str, shape: tuple[int, ...], blocks: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
    """Yield images (N, height, width[, channels]) staged on disk next to the future cache; remove them at the end.

    Raises:
        ProjectError: if the disk is full, or whatever reading the blocks raises.
    """
    needed = 2 * math.prod(shape)  # here and in the cache
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with scratch_beside(folder) as staging:
            if (free := shutil.disk_usage(folder.parent).free) < needed:
                raise _too_small(name, folder, needed, free)
            with (staging / "images").open("wb") as file:
                for block in blocks:
                    file.write(np.ascontiguousarray(block).data)
            yield np.memmap(staging / "images", np.uint8, "r", shape=shape)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _too_small(name, folder, needed, shutil.disk_usage(folder.parent).free) from error


def in_blocks(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield images (N, ...) in blocks."""
    some = max(1, BLOCK_BYTES // max(1, math.prod(images.shape[1:])))
    for first in range(0, len(images), some):
        yield images[first : first + some]


def _mapped(folder: Path, files: Mapping[str, Sequence[str] | None]) -> tuple[Split, Split, Split]:
    train, val, test = (
        Split(
            np.load(folder / f"{part}_images.npy", mmap_mode="r"),
            np.load(folder / f"{part}_labels.npy", mmap_mode="r"),
            None if (names := files[part]) is None else tuple(names),
        )
        for part in SPLITS
    )
    return train, val, test


def _files(folder: Path) -> dict[str, list[int]]:
    """Return size and modification time of each array: if they are unchanged, the recorded digest is valid."""
    facts = {file.name: file.stat() for file in sorted(folder.glob("*.npy"))}
    return {name: [each.st_size, each.st_mtime_ns] for name, each in facts.items()}


def _move(staging: Path, folder: Path) -> None:
    """Move a complete cache to its place; an existing one is either the same, from another process, or damaged."""
    if open_cached(folder) is None:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            staging.rename(folder)
        except OSError:
            if open_cached(folder) is None:  # not written by another process
                raise


def _too_small(name: str, folder: Path, needed: int, free: int) -> ProjectError:
    return ProjectError(
        f"{name} does not fit into memory, and its {needed / 2**20:,.0f} MiB of decoded images not on the disk of "
        f"{folder.parent}, where {free / 2**20:,.0f} MiB are free. Free some, or set XDG_CACHE_HOME to another disk."
    )
