"""Compare reading photographs of a folder with `keras.utils.image_dataset_from_directory` on the same cores.

Run: python benchmarks/reading.py [--images 400] [--size 224] [--repeats 3]

Each repeat reads the same JPEGs of 12 megapixels (4000x3000) with both, one after the other: ours as a complete data
set in memory, with headers, splits and the search for copies; Keras' batch by batch. It prints seconds and their ratio
in each repeat, and the same for processor seconds, which other work on the machine affects less. The files are in a
temporary folder: --distinct different images, 4 to 5 MB each, then links to these. Both decode every link: copies are
found by their pixels only. From about 1,800 images on, the pixels do not fit into memory, and ours writes them to a
cache on disk, which is removed after each repeat.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import architectures.quiet

architectures.quiet.import_tensorflow()

import keras  # noqa: E402

from experiments import datasets  # noqa: E402

HEIGHT, WIDTH = 3000, 4000


def write(folder: Path, images: int, distinct: int) -> None:
    """Photographs of two classes: shapes, gradients and a sensor's noise."""
    rng = np.random.default_rng(0)
    for number in range(images):
        file = folder / ("cat", "dog")[number % 2] / f"{number:05}.jpg"
        file.parent.mkdir(exist_ok=True)
        if number >= distinct:
            file.hardlink_to(folder / ("cat", "dog")[number % 2] / f"{number % distinct:05}.jpg")
            continue
        small = rng.integers(0, 256, (12, 16, 3), np.uint8)
        values = np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
        noise = rng.normal(0, 6, (HEIGHT, WIDTH, 1)).astype(np.int16)
        Image.fromarray(np.clip(values + noise, 0, 255).astype(np.uint8)).save(file, quality=90)


def ours(folder: Path, size: int) -> int:
    with tempfile.TemporaryDirectory() as cache:  # an empty one: nothing may have been read before
        os.environ["XDG_CACHE_HOME"] = cache
        dataset = datasets.load(f"folder:{folder}?image_size={size}x{size}")
    return len(dataset.train) + len(dataset.val)  # the rest is for tests


def theirs(folder: Path, size: int) -> int:
    batches = keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), crop_to_aspect_ratio=True, shuffle=False, verbose=False
    )
    return sum(len(labels) for _, labels in batches)


def processor_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--distinct", type=int, default=40)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, options.images, min(options.distinct, options.images))
        for repeat in range(options.repeats):
            seconds, worked = [], []
            for read in (ours, theirs) if repeat % 2 else (theirs, ours):
                begun, busy = time.perf_counter(), processor_seconds()
                assert read(folder, options.size) >= 0.8 * options.images
                seconds.append((read.__name__, time.perf_counter() - begun))
                worked.append((read.__name__, processor_seconds() - busy))
            found, spent = dict(seconds), dict(worked)
            ratios.append(found["theirs"] / found["ours"])
            print(
                f"Keras {found['theirs']:.1f} s, ours {found['ours']:.1f} s: {ratios[-1]:.2f} times as fast", end="; "
            )
            print(
                f"processor {spent['theirs']:.1f} s, {spent['ours']:.1f} s: {spent['theirs'] / spent['ours']:.2f} times"
            )
    print(f"median of {len(ratios)}: {statistics.median(ratios):.2f} times as fast")


if __name__ == "__main__":
    main()
