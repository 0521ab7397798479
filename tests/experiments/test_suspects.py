"""Wrong labels are found among many, named, and not where nothing can be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from benchmarks.label_errors import found_first, planted
from experiments import datasets
from experiments.datasets import Dataset, Split, suspects


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return datasets.load("digits")


def test_most_wrong_labels_are_among_the_first_tenth(digits: Dataset) -> None:
    changed, wrong = planted(digits, 0)
    assert found_first(changed, wrong) >= 0.9
    doubted = suspects.suspects(changed)
    rows = [one.place.row + (0 if one.place.split == "train" else len(digits.train)) for one in doubted]
    assert wrong[rows].mean() > 0.8
    assert wrong[rows].sum() > 0.8 * wrong.sum()
    truth = np.concatenate([digits.train.labels, digits.val.labels])
    assert np.mean([one.answer == truth[row] for one, row in zip(doubted, rows, strict=True)]) > 0.9
    leads = [one.lead for one in doubted]
    assert leads == sorted(leads, reverse=True)
    assert len(suspects.suspects(digits)) < 10


def test_an_answer_is_without_the_image_itself(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """In closed form what a fit without the image gives."""
    few = Split(digits.train.images[:60], digits.train.labels[:60])
    monkeypatch.setattr(suspects, "BLOCK", 25)
    found = suspects.out_of_fold([few], 10, name="few")
    rows = suspects._features(few.images)
    centres = rows[np.sort(np.random.default_rng(suspects.SEED).permutation(60)[:30])]
    distances = ((centres[:, np.newaxis] - centres) ** 2).sum(axis=2)
    gamma = suspects.WIDTH / np.median(distances[np.triu_indices(30, 1)])
    kernels = np.exp(-gamma * ((rows[:, np.newaxis] - centres) ** 2).sum(axis=2))
    targets = np.eye(10)[few.labels] - 0.1
    for row in (0, 17, 59):
        others = np.arange(60) != row
        ridge = Ridge(suspects.RIDGE * 60, fit_intercept=False).fit(kernels[others], targets[others])
        assert found[row] == pytest.approx(ridge.predict(kernels[[row]])[0] + 0.1, abs=2e-3)


def test_few_validation_images_none_of_which_is_a_centre_of_kernels() -> None:
    """A person's first folder: 12 training images, and one of each class to validate."""
    noise = np.random.default_rng(0)
    for count in range(2, 12):
        images = noise.integers(0, 256, (count + 2, 12, 12, 3), np.uint8)
        labels = np.arange(count + 2) % 2
        split = Split(images[:count], labels[:count])
        dataset = Dataset("few", ("a", "b"), split, Split(images[count:], labels[count:]), split)
        found = suspects.out_of_fold([dataset.train, dataset.val], 2, name="few")
        assert found.shape == (count + 2, 2)
        assert np.isfinite(found).all()


def test_nothing_is_in_doubt_where_pixels_tell_nothing() -> None:
    noise = np.random.default_rng(0)
    images, labels = noise.integers(0, 256, (400, 12, 12, 3), np.uint8), noise.integers(0, 2, 400)
    split = Split(images[:360], labels[:360])
    dataset = Dataset("noise", ("a", "b"), split, Split(images[360:], labels[360:]), split)
    assert suspects.suspects(dataset) == ()


def test_colour_photographs_of_any_size_and_images_of_one_colour() -> None:
    """Skies and meadows of 100x75; two have the other's label, and one is white alone."""
    noise = np.random.default_rng(1)
    labels = np.arange(120) % 2
    tints = np.array([[90, 140, 220], [80, 170, 60]])[labels]
    images = np.clip(tints[:, None, None] + noise.integers(-60, 60, (120, 75, 100, 3)), 0, 255).astype(np.uint8)
    images[50] = 255
    labels[[10, 77]] = 1 - labels[[10, 77]]
    files = tuple(f"{number}.jpg" for number in range(120))
    train, val = (Split(images[part], labels[part], files[part]) for part in (slice(100), slice(100, 120)))
    found = suspects.suspects(Dataset("land", ("sky", "meadow"), train, val, val))
    assert {str(one.place) for one in found} == {"10.jpg", "77.jpg"}
    assert found[0].text(("sky", "meadow")).startswith(("10.jpg: meadow, looks like sky", "77.jpg: sky, looks like"))
    nameless = replace(train, files=None)
    (place, _) = (one.place for one in suspects.suspects(Dataset("land", ("sky", "meadow"), nameless, val, val)))
    assert str(place) in {"train 10", "train 77"}
