"""A data set made of nothing: lines across, down and along both diagonals of 12x12 pixels, in noise."""

import numpy as np

from experiments.datasets import Dataset, Split, register_dataset

SIDE = 12  # pixels
CLASSES = ("across", "down", "falling", "rising")
SIZES = {"train": 400, "val": 80, "test": 80}
SEED = 7


def _split(random: np.random.Generator, count: int) -> Split:
    """As many images of each class; the line's place, its brightness and the noise are drawn."""
    labels = np.arange(count) % len(CLASSES)
    images = random.integers(0, 60, (count, SIDE, SIDE, 1), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        offset = int(random.integers(-SIDE // 2 + 2, SIDE // 2 - 1))
        line = np.eye(SIDE, k=offset, dtype=bool)
        if label < 2:
            line = np.zeros_like(line)
            line[SIDE // 2 + offset] = True
        image[np.rot90(line) if label % 2 else line] = random.integers(120, 255)
    return Split(images, labels.astype(np.int64))


@register_dataset("stripes")
def stripes() -> Dataset:
    """560 drawn lines in four directions."""
    random = np.random.default_rng(SEED)
    return Dataset("stripes", CLASSES, **{part: _split(random, count) for part, count in SIZES.items()})
