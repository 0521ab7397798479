"""Folders of pictures as people have them, and what a data set makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from experiments import datasets
from experiments.datasets import Dataset, Options

SIDE = 16


RNG = np.random.default_rng(3)


PARTS = ("train", "val", "test")


def picture(label: int, mode: str = "RGB", *, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Noise, bright in the upper half of class 0 and in the lower half of class 1."""
    values = RNG.integers(0, 90, (*size, 3), np.uint8)
    half = size[0] // 2
    values[:half] += np.uint8(150 * (label == 0))
    values[half:] += np.uint8(150 * (label == 1))
    return Image.fromarray(values).convert(mode)


def write(
    folder: Path,
    count: int = 12,
    *,
    classes: tuple[str, ...] = ("top", "bottom"),
    suffix: str = ".png",
    **options: object,
) -> Path:
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture(label % 2).save(folder / name / f"{number:02}{suffix}")
    return folder


def load(folder: Path, **options: object) -> Dataset:
    return datasets.load(datasets.located(f"folder:{folder}", Options(**options)))  # type: ignore[arg-type]


def images_of(dataset: Dataset) -> dict[str, np.ndarray]:
    """The images by the names of their files."""
    parts = [getattr(dataset, part) for part in PARTS]
    return {name: image for part in parts for name, image in zip(part.files or (), part.images, strict=True)}
