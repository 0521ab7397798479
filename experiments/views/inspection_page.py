"""Write the inspection of a data set as a self-contained page: figures, pictures of every class, problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from experiments.datasets import Dataset
from experiments.datasets.inspection import Inspection
from experiments.datasets.places import ImagePlace
from experiments.views.charts import Chart, Series, page_figure
from experiments.views.page import render, save

PICTURES = 12  # of each class
POINTS = 2_000  # training images in the plot of principal components
SEED = 0  # selects these images
DOUBTED = 60  # most pictures with doubtful labels
PLACES = 200  # most lines of a table of findings


def write_page(inspection: Inspection, path: Path, *, before_training: bool) -> None:
    """Write the page, completely or not at all.

    Args:
        before_training: whether to say what to do next.

    Raises:
        OSError: if it cannot be written.
    """
    save(_page(inspection, before_training), path)


def _page(inspection: Inspection, before_training: bool) -> str:
    dataset, found, names = inspection.dataset, inspection.files, inspection.dataset.class_names
    height, width, channels = dataset.input_shape
    counted = (
        {"size": found.sizes, "format": found.formats, "mode": found.modes, "profile": found.profiles} if found else {}
    )
    return render(
        "inspection",
        title=dataset.name,
        before_training=before_training,
        problems=inspection.problems,
        notes=dataset.notes,
        figures=[
            (f"{sum(map(sum, inspection.counts.values())):,}", "images: " + _sizes(inspection)),
            (f"{dataset.num_classes}", f"classes, the largest {inspection.imbalance:.1f} times the smallest"),
            (f"{height} x {width} x {channels}", "height, width and channels that a network gets"),
        ],
        splits=list(inspection.counts),
        counts=[
            [name, *(f"{counts[label]:,}" for counts in inspection.counts.values())] for label, name in enumerate(names)
        ],
        files=[
            (what, [[name, f"{count:,}"] for name, count in counts.items()])
            for what, counts in counted.items()
            if counts
        ],
        turned=found.turned if found else 0,
        sheets=[_sheet(dataset, label) for label in range(dataset.num_classes)],
        components=page_figure(_components(dataset)),
        findings=[
            *_findings("Images of one colour", [[place] for place in inspection.constant]),
            *_findings("Copies", inspection.copies.groups),
            *_findings("Near copies", inspection.near),
        ],
        suspects=_suspects(inspection),
        doubted=len(inspection.suspects),
    )


def _sizes(inspection: Inspection) -> str:
    return ", ".join(f"{sum(counts):,} {split}" for split, counts in inspection.counts.items())


def _sheet(dataset: Dataset, label: int) -> tuple[str, np.ndarray, list[np.ndarray]]:
    """Return the name of a class, the mean of its training images, and the first of them."""
    rows = np.flatnonzero(dataset.train.labels == label)
    mean = np.zeros(dataset.input_shape)
    for row in rows:
        mean += dataset.train.images[row]
    first = [dataset.train.images[row] for row in rows[:PICTURES]]
    return dataset.class_names[label], np.round(mean / len(rows)).astype(np.uint8), first


def _components(dataset: Dataset) -> Chart:
    """Plot training images by their first two principal components."""
    from sklearn.decomposition import PCA  # takes a second to import

    rows = np.sort(np.random.default_rng(SEED).permutation(len(dataset.train))[:POINTS])
    images = np.stack([dataset.train.images[row].reshape(-1) for row in rows]).astype(np.float32) / 255
    points = PCA(2, random_state=SEED).fit_transform(images)
    chosen = [dataset.train.labels[rows] == label for label in range(dataset.num_classes)]
    series = (
        Series(name, points[own, 0].tolist(), points[own, 1].tolist(), hover=[name] * int(own.sum()))
        for name, own in zip(dataset.class_names, chosen, strict=True)
    )
    return Chart(tuple(series), "first principal component", "second")


def _suspects(inspection: Inspection) -> list[tuple[np.ndarray, str, str]]:
    """Return the images with doubtful labels, each with its place, its label, and the class that it looks like."""
    names = inspection.dataset.class_names
    splits = {"train": inspection.dataset.train, "val": inspection.dataset.val}
    return [
        (
            splits[suspect.place.split].images[suspect.place.row],
            str(suspect.place),
            f"{names[suspect.place.label]}, looks like {names[suspect.answer]}",
        )
        for suspect in inspection.suspects[:DOUBTED]
    ]


def _findings(title: str, groups: Iterable[Sequence[ImagePlace]]) -> list[tuple[str, list[list[str]], int]]:
    """Return a table of findings, if any: its title, a line for each group of images, and how many more there are."""
    lines = [[", ".join(f"{place} ({place.split})" for place in group)] for group in groups]
    return [(title, lines[:PLACES], max(0, len(lines) - PLACES))] if lines else []
