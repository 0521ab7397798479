"""A data set as files that all workers map read-only: loaded once, held in memory once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from experiments.datasets import Dataset, Split

SPLITS = ("train", "val")  # the search never sees the test images


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the splits that a search uses."""
    for part, split in zip(SPLITS, (dataset.train, dataset.val), strict=True):
        np.save(folder / f"{part}_images.npy", split.images)
        np.save(folder / f"{part}_labels.npy", split.labels)
    (folder / "dataset.json").write_text(json.dumps({"name": dataset.name, "class_names": dataset.class_names}))


def open_dataset(folder: Path) -> Dataset:
    """Map what `save_dataset` wrote. The test split is empty."""
    facts = json.loads((folder / "dataset.json").read_text())
    train, val = (
        Split(*(np.load(folder / f"{part}_{array}.npy", mmap_mode="r") for array in ("images", "labels")))
        for part in SPLITS
    )
    return Dataset(facts["name"], tuple(facts["class_names"]), train, val, Split(val.images[:0], val.labels[:0]))
