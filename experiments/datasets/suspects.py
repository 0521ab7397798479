"""Likely label errors: images whose label a classifier that never saw it disagrees with, the most confident first.

The classifier is a ridge regression of the labels on a thousand Gaussian kernels around images of the data (Nyström's
features). Its leave-one-out predictions follow in closed form from a single fit, so every prediction is out of fold
without training any fold. It only knows pixels, so it finds images that look like another class as a whole: of 5 % of
mnist5k's labels that were changed, 99 % are among its first 10 % (benchmarks/label_errors.py, experiments/LOG.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.datasets.copies import place
from experiments.datasets.places import ImagePlace
from experiments.datasets.progress import told
from experiments.datasets.registry import Dataset, Split

SIDE = 28  # pixels: images are reduced to at most this side
KERNELS = 1_000  # at most, and no more than half the images
WIDTH = 2.0  # a kernel's exponent at the median distance
RIDGE = 1e-4  # penalty of the squared weights, per image
FLATTEST = 0.05  # of 1: added to the standard deviation, so that the noise of flat images is not amplified
BLOCK = 2_048  # images whose kernels are in memory at a time
SEED = 0
LOOKED_AT = ("train", "val")  # only promotions use test images
CONFIDENT = 0.5  # lead of the other class from which on a label is doubtful: on mnist5k, 0.94 of these were planted
RELIABLE = 0.7  # share of a class's predictions that agree with the labels; below, they say nothing about a label

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Suspect:
    """An image whose label may be wrong."""

    place: ImagePlace
    answer: int  # the class that it looks like
    lead: float  # of that class over the label's, both about 0 to 1

    def as_json(self, class_names: Sequence[str]) -> dict[str, object]:
        return self.place.as_json(class_names) | {"looks_like": class_names[self.answer], "lead": self.lead}

    def text(self, class_names: Sequence[str]) -> str:
        """Return one line for people."""
        return f"{self.place}: {class_names[self.place.label]}, looks like {class_names[self.answer]} ({self.lead:.2f})"


def suspects(dataset: Dataset) -> tuple[Suspect, ...]:
    """Return the training and validation images that look like another class, the most confident first.

    Memory is bounded by BLOCK images and KERNELS squared, and 60,000 images take some ten seconds of a processor.
    """
    parts = [(name, getattr(dataset, name)) for name in LOOKED_AT]
    labels = np.concatenate([part.labels for _, part in parts])
    values = out_of_fold([part for _, part in parts], dataset.num_classes, name=dataset.name)
    leads = disagreement(values, labels)
    answers = values.argmax(axis=1)
    places = [(name, row) for name, part in parts for row in range(len(part))]
    agreeing = np.bincount(answers, weights=answers == labels, minlength=dataset.num_classes)
    reliable = agreeing >= RELIABLE * np.bincount(answers, minlength=dataset.num_classes)
    sure = np.flatnonzero((leads >= CONFIDENT) & reliable[answers])
    order = sure[np.argsort(-leads[sure], kind="stable")]
    return tuple(Suspect(place(dataset, *places[row]), int(answers[row]), float(leads[row])) for row in order)


def disagreement(values: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """Return by how much the best other class leads over an image's label (N,); negative where the label leads.

    >>> disagreement(np.array([[1.0, 0.5], [0.75, 0.25]], np.float32), np.array([0, 1]))
    array([-0.5,  0.5], dtype=float32)
    """
    rows = np.arange(len(labels))
    others = values.copy()
    others[rows, labels] = -np.inf
    return others.max(axis=1) - values[rows, labels]


def out_of_fold(parts: list[Split], num_classes: int, *, name: str) -> Floats:
    """Return each image's leave-one-out class scores (N, num_classes), about 0 to 1, in the order of the parts."""
    labels = np.concatenate([part.labels for part in parts])
    count = len(labels)
    chosen = np.sort(np.random.default_rng(SEED).permutation(count)[: max(1, min(KERNELS, count // 2))])
    centres = _rows(parts, chosen)
    scale = np.median(_distances(centres, centres)[np.triu_indices(len(centres), 1)]) if len(centres) > 1 else 1.0
    targets = np.eye(num_classes, dtype=np.float32)[labels] - np.float32(1 / num_classes)
    products = np.zeros((len(centres), len(centres)))
    sums = np.zeros((len(centres), num_classes))

    def blocks() -> Iterator[tuple[slice, Floats]]:
        done = 0
        for features in told(name, count, _blocks(parts), doing="Looking for label errors in", done="searched"):
            kernels = np.exp(-WIDTH / max(scale, 1e-9) * _distances(features, centres))
            yield slice(done, done + len(kernels)), kernels
            done += len(kernels)

    for rows, kernels in blocks():
        products += kernels.T @ kernels
        sums += kernels.T @ targets[rows]
    inverse = np.linalg.inv(products + RIDGE * count * np.eye(len(centres))).astype(np.float32)
    weights = inverse @ sums.astype(np.float32)
    values = np.empty_like(targets)
    for rows, kernels in blocks():
        own = ((kernels @ inverse) * kernels).sum(axis=1, keepdims=True)  # weight of its own label in the prediction
        values[rows] = (kernels @ weights - own * targets[rows]) / np.maximum(1 - own, 1e-6)
    return values + np.float32(1 / num_classes)


def _distances(one: Floats, other: Floats) -> Floats:
    """Return squared distances between rows (N, M)."""
    squares = (one**2).sum(axis=1)[:, np.newaxis] + (other**2).sum(axis=1)
    return np.maximum(squares - 2 * one @ other.T, 0)


def _rows(parts: list[Split], chosen: npt.NDArray[np.int64]) -> Floats:
    """Return the features of some rows of all parts."""
    found, first = [], 0
    for part in parts:
        own = chosen[(chosen >= first) & (chosen < first + len(part))] - first
        found.append(_features(part.images[own]))
        first += len(part)
    return np.concatenate(found)


def _blocks(parts: list[Split]) -> Iterator[Floats]:
    for part in parts:
        for start in range(0, len(part), BLOCK):
            yield _features(part.images[start : start + BLOCK])


def _features(images: npt.NDArray[np.uint8]) -> Floats:
    """Return images (N, height, width, channels) as rows of small images with equal brightness and contrast."""
    count, height, width, channels = images.shape
    down, across = -(-height // SIDE), -(-width // SIDE)
    cut = images[:, : height // down * down, : width // across * across]
    grouped = cut.reshape(count, height // down, down, width // across, across, channels)
    small = grouped.mean(axis=(2, 4), dtype=np.float32) / 255
    small = small.reshape(count, math.prod(small.shape[1:]))  # not -1, which fails for no images
    small -= small.mean(axis=1, keepdims=True)
    return small / (small.std(axis=1, keepdims=True) + np.float32(FLATTEST))
