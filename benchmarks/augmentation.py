"""Measure the benefit of augmentation on a colour data set.  Run: python benchmarks/augmentation.py folder:DIR

Trains one architecture with each kind of augmentation, and with MixUp and CutMix in addition to `photo`. Each seed has
its own split into training and validation images (70 and 30 %), shared by all kinds, so that they are compared in
pairs, by the accuracy of the last epoch, which was not selected. One row per kind: the mean accuracy on training and
validation images, its difference from no augmentation with the 95 % interval of Student's t over the seeds, processor
seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import architectures
from experiments import datasets
from experiments.config import LEARNING_RATES, ModelSize, RunConfig
from experiments.datasets import Dataset, Split
from experiments.evaluation.intervals import mean_interval
from experiments.training.loop import train
from experiments.training.precision import resolve_precision

KINDS: dict[str, dict[str, object]] = {
    "off": {},
    "digits": {"augment": "digits"},
    "photo": {"augment": "photo"},
    "photo, mixup 0.2": {"augment": "photo", "mixup": 0.2},
    "photo, cutmix 1": {"augment": "photo", "cutmix": 1.0},
}
HELD_OUT = 0.3  # of the images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="beside off")
    parser.add_argument("--architecture", default="allconv")
    parser.add_argument("--filters", type=int)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, help="images to train on (default: all that are not held out)")
    arguments = parser.parse_args()
    dataset = datasets.load(arguments.dataset)
    architecture = architectures.get(arguments.architecture)
    base = RunConfig(
        arguments.architecture,
        arguments.dataset,
        arguments.filters or architecture.default_filters,
        architecture.default_dropout,
        arguments.batch_size,
        LEARNING_RATES["cosine"],
        epochs=arguments.epochs,
        precision=resolve_precision("auto"),
    )
    print(f"{dataset.name}: {base.architecture}, filters {base.filters}, {base.epochs} epochs, seeds {arguments.seeds}")
    found: dict[str, list[float]] = {}
    for kind in dict.fromkeys(("off", *arguments.kinds)):
        started = time.process_time()
        runs = [
            trained(replace(base, seed=seed, **KINDS[kind]), dataset, most=arguments.train)
            for seed in range(arguments.seeds)
        ]
        found[kind] = [val for _, val in runs]
        seconds = (time.process_time() - started) / arguments.seeds
        differences = [after - before for after, before in zip(found[kind], found["off"], strict=True)]
        interval = mean_interval(differences)
        bounds = f"{interval[0]:+.3f} to {interval[1]:+.3f}" if interval and kind != "off" else ""
        print(
            f"{kind:18} train {statistics.mean(train for train, _ in runs):.3f}  "
            f"val {statistics.mean(found[kind]):.3f} ({', '.join(f'{val:.3f}' for val in found[kind])})  "
            f"{statistics.mean(differences):+.3f} {bounds:18} {seconds:.0f} s",
            flush=True,
        )


def trained(config: RunConfig, dataset: Dataset, *, most: int | None = None) -> tuple[float, float]:
    """Accuracy of the last epoch: on `most` training images as they were augmented, on those held out by the seed."""
    images = np.concatenate([dataset.train.images, dataset.val.images])
    labels = np.concatenate([dataset.train.labels, dataset.val.labels])
    order = np.random.default_rng(config.seed).permutation(len(labels))
    held = round(HELD_OUT * len(order))
    val, rest = (Split(images[rows], labels[rows]) for rows in (order[:held], order[held:][:most]))
    with tempfile.TemporaryDirectory() as folder:
        result = train(
            config, replace(dataset, train=rest, val=val), keras_file=Path(folder) / "m.keras", size=ModelSize(0, 0, 0)
        )
    return result.epochs[-1].accuracy, result.epochs[-1].val_accuracy


if __name__ == "__main__":
    main()
