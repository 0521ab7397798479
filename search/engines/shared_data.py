"""A data set as files that all workers memory-map, so that it is loaded once, or not at all if it is cached."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from architectures.errors import ProjectError
from experiments.datasets import Dataset, Split
from experiments.datasets.registry import NON_TEST_SPLITS


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the splits that a search uses."""
    for part, split in zip(NON_TEST_SPLITS, (dataset.train, dataset.val), strict=True):
        images = folder / f"{part}_images.npy"
        if (file := _file_of(split.images)) is None:
            np.save(images, split.images)
        else:
            images.symlink_to(file)
        np.save(folder / f"{part}_labels.npy", split.labels)
    facts = {"name": dataset.name, "class_names": dataset.class_names}
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")


def _file_of(images: np.ndarray) -> Path | None:
    """Return the `.npy` file that an array maps completely, such as cached data larger than memory."""
    if not isinstance(images, np.memmap) or not images.flags.c_contiguous:
        return None
    file = Path(str(images.filename))
    try:
        mapped = np.load(file, mmap_mode="r")
    except (OSError, ValueError):  # not an .npy file
        return None
    return file if mapped.shape == images.shape and mapped.dtype == images.dtype else None


def open_dataset(folder: Path) -> Dataset:
    """Map the files written by `save_dataset`. The test split is empty."""
    facts = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    train, val = (
        Split(*(np.load(folder / f"{part}_{array}.npy", mmap_mode="r") for array in ("images", "labels")))
        for part in NON_TEST_SPLITS
    )
    return Dataset(facts["name"], tuple(facts["class_names"]), train, val, Split(val.images[:0], val.labels[:0]))


@dataclass(frozen=True)
class PackedDataset:
    """A data set to send to another host: arrays, or a file on a shared file system if they exceed memory."""

    name: str
    class_names: tuple[str, ...]
    images: tuple[np.ndarray | Path, ...]  # of each split
    labels: tuple[np.ndarray, ...]

    def open(self) -> Dataset:
        """Return the data set on this host, with an empty test split.

        Raises:
            ProjectError: if a file does not exist.
        """
        arrays = []
        for images in self.images:
            if isinstance(images, Path) and not images.exists():
                raise ProjectError(
                    f"{images} is not on this host. Data larger than memory are read from a file that all hosts must "
                    f"share: set XDG_CACHE_HOME to a shared folder."
                )
            arrays.append(np.load(images, mmap_mode="r") if isinstance(images, Path) else images)
        train, val = (Split(*part) for part in zip(arrays, self.labels, strict=True))
        return Dataset(self.name, self.class_names, train, val, Split(val.images[:0], val.labels[:0]))


def pack_dataset(folder: Path) -> PackedDataset:
    """Pack what `save_dataset` wrote, to send it to another host."""
    dataset = open_dataset(folder)
    files = [folder / f"{part}_images.npy" for part in NON_TEST_SPLITS]
    return PackedDataset(
        dataset.name,
        dataset.class_names,
        tuple(file.resolve() if file.is_symlink() else np.load(file) for file in files),
        tuple(np.array(split.labels) for split in (dataset.train, dataset.val)),
    )
