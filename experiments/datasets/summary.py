"""What a sweep says of a person's own images before it trains on them."""

from __future__ import annotations

import numpy as np

from experiments.datasets.registry import Dataset

CLASSES = 8  # named with their counts


def summary(dataset: Dataset) -> list[str]:
    """The classes with their counts, and what a person should know; nothing of data that are no one's own files."""
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
