"""Measure each digit's recall in ten folds of mnist5k, unchanged and drawn on a pad.

Run: python benchmarks/recall.py --architecture pocket --epochs 15

With the 50 sevens among the test digits, 0.94 and 0.96 differ by one image. Here a configuration, by default `pocket`
as published for a default sweep's epochs, is trained ten times on 4,000 digits, its epoch selected on 500 others, and
tested on the remaining 500: 500 of each digit in total. `interval` is Wilson's, of 95 %. The use of the test images,
which are among them, is recorded in MLflow.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedKFold

from architectures.quiet import import_tensorflow

import_tensorflow()

from architectures import registry  # noqa: E402
from architectures.fields import Whole  # noqa: E402
from experiments import datasets  # noqa: E402
from experiments.classifier import forward_function, load_classifier, predict  # noqa: E402
from experiments.config import ModelSize, RunConfig, default_tracking_uri  # noqa: E402
from experiments.datasets import Split  # noqa: E402
from experiments.evaluation.drawn import PAD, on_pad, trace_strokes  # noqa: E402
from experiments.evaluation.metrics import accuracy_interval  # noqa: E402
from experiments.evaluation.strokes import render_strokes  # noqa: E402
from experiments.tracking import Tracker  # noqa: E402
from experiments.training.loop import train  # noqa: E402
from experiments.training.precision import resolve_precision  # noqa: E402
from search.config import SweepConfig  # noqa: E402

FOLDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="pocket", choices=registry.names())
    parser.add_argument("--filters", type=Whole(1), help="default: as published")
    parser.add_argument("--batch-size", type=Whole(1, 4_000), default=128)
    parser.add_argument("--epochs", type=Whole(1), default=SweepConfig.epochs)
    arguments = parser.parse_args()
    architecture = registry.get(arguments.architecture)
    config = RunConfig(
        architecture.name,
        "mnist5k",
        arguments.filters or architecture.default_filters,
        architecture.default_dropout,
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
        augment="digits",
        precision=resolve_precision("auto"),
    )
    mnist = datasets.load("mnist5k")
    test, _ = Tracker(default_tracking_uri()).test_access.look(mnist, command="benchmarks/recall.py")
    images = np.concatenate([split.images for split in (mnist.train, mnist.val, test)])
    labels = np.concatenate([split.labels for split in (mnist.train, mnist.val, test)])
    drawn = np.stack([render_strokes(lines, pad=PAD) for lines in on_pad(trace_strokes(images[..., 0]))])[..., None]
    folds = [held for _, held in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(images, labels)]
    right = np.zeros((2, len(labels)), bool)  # untouched, drawn
    for number, held in enumerate(folds):
        chosen = folds[(number + 1) % FOLDS]  # what decides about the epoch
        rest = np.setdiff1d(np.arange(len(labels)), np.concatenate([held, chosen]))
        parts = Split(images[rest], labels[rest]), Split(images[chosen], labels[chosen])
        dataset = replace(mnist, train=parts[0], val=parts[1])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            result = train(replace(config, seed=number), dataset, keras_file=file, size=ModelSize(0, 0, 0))
            forward = forward_function(load_classifier(file, result.keras_sha256))
        for kind, pictures in zip(right, (images, drawn), strict=True):
            kind[held] = predict(forward, pictures[held]).argmax(axis=1) == labels[held]
        print(f"fold {number}: untouched {right[0, held].mean():.4f}, drawn {right[1, held].mean():.4f}", flush=True)
    for name, kind in zip(("untouched", "drawn"), right, strict=True):
        print(f"{name}: {kind.mean():.4f} of {len(kind):,}")
        for digit in range(10):
            of_digit = kind[labels == digit]
            low, high = accuracy_interval(int(of_digit.sum()), len(of_digit))
            print(f"  {digit}: {of_digit.mean():.3f}, interval {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
