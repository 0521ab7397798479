"""Copies of an image stay in one split, and are told with their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.photographs import PARTS, load, write


def test_copies_lie_in_one_split(tmp_path: Path) -> None:
    write(tmp_path, 30)
    for number in range(0, 30, 2):  # as other files, and with other encodings of the same pixels
        shown = Image.open(tmp_path / "top" / f"{number:02}.png")
        shown.save(tmp_path / "top" / f"copy {number}.bmp")
        shown.save(tmp_path / "top" / f"again {number}.webp", lossless=True)
    dataset = load(tmp_path)
    where = {name: part for part in PARTS for name in getattr(dataset, part).files}
    for number in range(0, 30, 2):
        copies = {where[f"top/{name}"] for name in (f"{number:02}.png", f"copy {number}.bmp", f"again {number}.webp")}
        assert len(copies) == 1
    assert set(where.values()) == set(PARTS)
    assert any(note.startswith("30 images are a copy of another: top/") for note in dataset.notes)


def test_without_copies_the_splits_are_those_of_before(tmp_path: Path) -> None:
    """Records of older runs name the data by a digest."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.fromarray(rng.integers(0, 256, (4, 5), np.uint8)).save(tmp_path / name / f"{number:02}.png")
    held = [[int(name[2:4]) for name in getattr(load(tmp_path), part).files] for part in ("val", "test")]
    assert held == HELD_OUT


HELD_OUT = [[5, 11, 3, 6], [4, 7, 4, 18]]


def test_copies_in_two_classes_and_two_splits_are_told(tmp_path: Path) -> None:
    write(tmp_path / "train")
    write(tmp_path / "test", 4)
    shown = Image.open(tmp_path / "train" / "top" / "00.png")
    shown.save(tmp_path / "train" / "bottom" / "twin.bmp")
    shown.save(tmp_path / "test" / "top" / "leak.tif")
    notes = load(tmp_path).notes
    names = "train/bottom/twin.bmp = train/top/00.png = test/top/leak.tif"
    assert f"2 images are a copy of another: {names}" in notes
    assert f"1 image is of several classes: {names}" in notes
    assert f"1 image is in several splits: {names}" in notes
