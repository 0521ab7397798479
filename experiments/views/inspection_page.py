"""What a data set holds as one page that needs no network: figures, pictures of every class, what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from sklearn.decomposition import PCA

from experiments.datasets import Dataset
from experiments.datasets.inspection import Inspection
from experiments.datasets.places import Place
from experiments.views.page import html_page, picture, save
from experiments.views.tables import html_table, html_text

PICTURES = 12  # of a class on the sheet
SIDE = 72  # pixels of a picture at most
MEAN_SIDE = 96
POINTS = 2_000  # training images in the picture of principal components
SEED = 0  # of which these are
DOUBTED = 60  # pictures of labels in doubt
PLACES = 200  # lines of a table of findings
HEIGHT = 420


def write_page(inspection: Inspection, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    save(_page(inspection), path)


def _page(inspection: Inspection) -> str:
    dataset = inspection.dataset
    parts: list[object] = []
    problems = "".join(f"<li>{html_text(problem)}</li>" for problem in inspection.problems)
    parts.append(
        f"<ul>{problems}</ul>"
        if problems
        else f"<p>Nothing wrong was found{', but for labels in doubt' if inspection.suspects else ''}.</p>"
    )
    parts += [f"<p class='note'>{html_text(note)}</p>" for note in dataset.notes]
    splits = list(inspection.counts)
    lines = [
        [name, *(f"{inspection.counts[split][label]:,}" for split in splits)]
        for label, name in enumerate(dataset.class_names)
    ]
    parts.append("<h2>Classes</h2>" + html_table(["class", *splits], lines, words={"class"}))
    if inspection.files:
        found = inspection.files
        counted = {"size": found.sizes, "format": found.formats, "mode": found.modes, "profile": found.profiles}
        parts.append("<h2>Files</h2>" + "".join(_counts(what, counts) for what, counts in counted.items() if counts))
        if found.turned:
            parts.append(f"<p>{found.turned:,} images were turned upright by their EXIF orientation.</p>")
    parts.append("<h2>Pictures</h2><p class='note'>The first training images of each class, and their mean.</p>")
    parts += [_sheet(dataset, label) for label in range(dataset.num_classes)]
    parts += ["<h2>Principal components</h2>", _components(dataset)]
    parts += _findings("Images of one colour", [[place] for place in inspection.constant])
    parts += _findings("Copies", inspection.copies.groups)
    parts += _findings("Near copies", inspection.near)
    parts += _suspects(inspection)
    return html_page(dataset.name, parts)


def _counts(what: str, counts: Mapping[str, int]) -> str:
    return html_table([what, "images"], [[name, f"{count:,}"] for name, count in counts.items()], words={what})


def _sheet(dataset: Dataset, label: int) -> str:
    rows = np.flatnonzero(dataset.train.labels == label)
    images = [dataset.train.images[row] for row in rows[:PICTURES]]
    mean = np.zeros(dataset.input_shape)
    for row in rows:
        mean += dataset.train.images[row]
    shown = "".join(picture(image, SIDE) for image in images)
    average = picture(np.round(mean / len(rows)).astype(np.uint8), MEAN_SIDE)
    name = html_text(dataset.class_names[label])
    return f"<figure>{average}{shown}<figcaption>{name}</figcaption></figure>"


def _components(dataset: Dataset) -> go.Figure:
    """Training images by their first two principal components."""
    rows = np.sort(np.random.default_rng(SEED).permutation(len(dataset.train))[:POINTS])
    images = np.stack([dataset.train.images[row].reshape(-1) for row in rows]).astype(np.float32) / 255
    points = PCA(2, random_state=SEED).fit_transform(images)
    figure = go.Figure()
    for label, name in enumerate(dataset.class_names):
        chosen = dataset.train.labels[rows] == label
        figure.add_scatter(
            x=points[chosen, 0], y=points[chosen, 1], mode="markers", name=html_text(name), marker_size=5
        )
    figure.update_layout(height=HEIGHT, margin={"l": 40, "r": 10, "t": 10, "b": 40}, template="plotly_white")
    return figure


def _suspects(inspection: Inspection) -> list[str]:
    """Pictures of the images whose labels are in doubt, each with its label and the class that it looks like."""
    names, found = inspection.dataset.class_names, inspection.suspects
    if not found:
        return []
    splits = {"train": inspection.dataset.train, "val": inspection.dataset.val}
    shown = []
    for suspect in found[:DOUBTED]:
        image = splits[suspect.place.split].images[suspect.place.row]
        lines = str(suspect.place), f"{names[suspect.place.label]}, looks like {names[suspect.answer]}"
        caption = "<br>".join(map(html_text, lines))
        shown.append(f"<figure>{picture(image, SIDE)}<figcaption>{caption}</figcaption></figure>")
    more = f" The first {DOUBTED} of {len(found):,}." if len(found) > DOUBTED else ""
    note = (
        "A simple classifier of pixels, without the image itself, is sure of another class. Many are right, and merely "
        f"unusual.{more}"
    )
    return [f"<h2>Labels in doubt</h2><p class='note'>{note}</p><div class='sheet'>{''.join(shown)}</div>"]


def _findings(title: str, groups: object) -> list[str]:
    """A table with a line for each group of images that belong together."""
    found: list[list[Place]] = [list(group) for group in groups]  # type: ignore[attr-defined]
    if not found:
        return []
    lines = [[", ".join(f"{place} ({place.split})" for place in group)] for group in found[:PLACES]]
    more = f"<p class='note'>and {len(found) - PLACES:,} more</p>" if len(found) > PLACES else ""
    return [f"<h2>{html_text(title)}</h2>" + html_table(["images"], lines, words={"images"}) + more]
