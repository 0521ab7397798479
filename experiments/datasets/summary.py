"""Summarize the user's own images before a sweep trains on them."""

from __future__ import annotations

import numpy as np

from experiments.datasets.registry import Dataset

CLASSES = 8  # most classes that are listed with their counts


def dataset_summary(dataset: Dataset) -> list[str]:
    """Return the classes with their counts, and notes; nothing for data that are not the user's own files."""
    if dataset.train.files is None:
        return []
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    labels = np.concatenate([split.labels for split in splits.values()])
    counts = np.bincount(labels, minlength=dataset.num_classes)
    named = [f"{name} {count:,}" for name, count in zip(dataset.class_names, counts, strict=True)]
    shown = ", ".join(named[:CLASSES]) + (", ..." if len(named) > CLASSES else "")
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in splits.items())
    return [f"{dataset.name}: {dataset.num_classes} classes ({shown}); {sizes}"] + (
        [f"note: {'; '.join(dataset.notes)}"] if dataset.notes else []
    )
