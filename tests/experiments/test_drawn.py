"""Validation digits through the pad: what centring is worth, on a network of our own that was trained well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from experiments import datasets
from experiments.evaluation import drawn
from experiments.evaluation.drawn import (
    PAD,
    box_centred,
    drawn_accuracy,
    mass_centred,
    on_pad,
    trace_strokes,
    whole_pad,
)
from experiments.evaluation.strokes import CENTER, DRAWING_SIDE, center_of_mass, render_strokes
from experiments.tracking import Tracker
from tests.support.drawings import drawings as drawings_by_hand
from tests.support.stores import Swept


@pytest.fixture(scope="module")
def dataset() -> datasets.Dataset:
    return datasets.load("mnist5k")


@pytest.fixture(scope="module")
def drawings(dataset: datasets.Dataset) -> list[np.ndarray]:
    return on_pad(trace_strokes(dataset.val.images[..., 0]))


@pytest.fixture(scope="module")
def forward(digits_file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Probabilities of a file that reads digits well, executed."""
    from conversion import runtime

    return runtime.load(digits_file).probabilities


Forward = Callable[[np.ndarray], np.ndarray]


def read_right(forward: Forward, dataset: datasets.Dataset, drawings: list[np.ndarray]) -> list[np.ndarray]:
    """Which drawings are read right, on the whole pad, centred by box and by mass, which is as good as the images."""
    labels = dataset.val.labels

    def right(images: np.ndarray) -> np.ndarray:
        return forward(images).argmax(axis=1) == labels

    untouched = right(dataset.val.images)
    whole, box, mass = (
        right(np.stack([way(lines) for lines in drawings])[..., None]) for way in (whole_pad, box_centred, mass_centred)
    )
    assert untouched.mean() >= 0.96
    assert mass.mean() >= untouched.mean() - 0.01  # within 1 point
    for digit in (4, 7, 9):
        assert mass[labels == digit].mean() >= 0.9  # 0.98 to 1.00 when this was written
    assert drawn_accuracy(forward, dataset) == pytest.approx(mass.mean())
    return [whole, box, mass]


def test_drawings_are_read_as_images_are(
    dataset: datasets.Dataset, drawings: list[np.ndarray], forward: Forward
) -> None:
    whole, box, mass = read_right(forward, dataset, drawings)
    assert whole.mean() < 0.5
    assert whole.mean() < box.mean() < mass.mean()


@pytest.mark.slow
def test_what_centring_is_worth(dataset: datasets.Dataset, drawings: list[np.ndarray], promoted_digits: Path) -> None:
    """To a network that has seen no digit shifted."""
    from conversion import runtime

    whole, box, mass = read_right(runtime.load(promoted_digits).probabilities, dataset, drawings)
    assert whole.mean() < 0.5
    assert whole.mean() < box.mean() < mass.mean() - 0.02
    for digit in (7, 9):  # MNIST holds them low, and a box does not: 0.44 lost
        labels = dataset.val.labels
        assert box[labels == digit].mean() < mass[labels == digit].mean() - 0.2


def test_golden_digits_are_read(forward: Callable[[np.ndarray], np.ndarray]) -> None:
    drawn_by_hand = [drawing for drawing in drawings_by_hand() if "in hand" in drawing.name]
    images = np.stack([render_strokes(drawing.strokes, pad=drawing.pad) for drawing in drawn_by_hand])[..., None]
    read = forward(images).argmax(axis=1).tolist()
    wrong = [
        f"{drawing.name} as {label}"
        for drawing, label in zip(drawn_by_hand, read, strict=True)
        if drawing.digit != label
    ]
    assert len(drawn_by_hand) == 50
    assert len(wrong) <= 2, wrong


def test_kept_models_have_the_figure(swept: Swept) -> None:
    tracker = Tracker(swept.uri, create=False)
    kept = [run for run in tracker.runs.of_experiment("mnist5k") if tracker.models.kept_model(run.run_id)]
    assert kept
    for run in kept:
        assert abs(run.metrics["drawn_accuracy"] - run.metrics["best_val_accuracy"]) < 0.15


def test_traces_are_the_digits_again(dataset: datasets.Dataset) -> None:
    images = dataset.val.images[:100, ..., 0]
    again = [render_strokes(lines, pad=DRAWING_SIDE) for lines in trace_strokes(images)]
    assert all(center_of_mass(image) == pytest.approx((CENTER, CENTER), abs=0.1) for image in again)
    alike = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(images, again, strict=True)]
    assert np.median(alike) > 0.9, alike
    others = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(images, again[1:], strict=False)]
    assert np.median(others) < 0.5, others


def test_drawings_are_anywhere_and_always_the_same(dataset: datasets.Dataset, drawings: list[np.ndarray]) -> None:
    corners = np.array([[lines.min(axis=(0, 1)), lines.max(axis=(0, 1))] for lines in drawings])
    assert corners.min() >= 0
    assert corners.max() <= PAD
    sizes = (corners[:, 1] - corners[:, 0]).max(axis=1) / PAD
    assert sizes.min() < 0.25 < 0.85 < sizes.max()
    middles = corners.mean(axis=1) / PAD
    assert (middles.std(axis=0) > 0.1).all()
    for lines, again in zip(drawings, on_pad(trace_strokes(dataset.val.images[..., 0])), strict=True):
        np.testing.assert_array_equal(lines, again)


def test_other_data_has_no_such_figure(dataset: datasets.Dataset) -> None:
    def never(images: np.ndarray) -> np.ndarray:
        raise AssertionError

    clothes = datasets.Dataset("clothes", ("shirt", "bag"), dataset.train, dataset.val, dataset.test)
    assert drawn_accuracy(never, clothes) is None
    small = datasets.Split(dataset.val.images[:, :8, :8], dataset.val.labels)
    assert drawn_accuracy(never, datasets.Dataset("small", dataset.class_names, small, small, small)) is None


def test_thin_and_broad_ink() -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    images[1, 4:24, 14] = 255  # a line of one pixel
    images[2, 4:24, 8:20] = 255  # a block
    nothing, line, block = trace_strokes(images)
    assert len(nothing) == 0
    assert np.ptp(line[..., 0]) <= 0.5
    assert np.ptp(line[..., 1]) == pytest.approx(19, abs=1)
    assert np.ptp(block[..., 0]) == pytest.approx(12 - drawn.PEN, abs=1)
    assert on_pad([nothing])[0].shape == (0, 2, 2)
    for way in (whole_pad, box_centred, mass_centred):
        assert not way(nothing).any()
