"""Compare the accuracy of the best epoch of the best trial with the true one.  Run: python benchmarks/selection.py

Trains networks of the default space on a part of the bundled scans of digits, and records which of the other scans each
epoch classifies correctly. These others are taken as the population, so that the true accuracy of each epoch is known.
Then simulated sweeps draw some of the networks, and validation images with replacement, and select the best: once by
the best epoch of each trial, as the framework does, once by the last. One line per selection: how often the stated 95 %
interval covers the true accuracy of the selected network, by how much the stated accuracy is too high, the width of the
interval, and the true accuracy of the selected network. `today` states the accuracy on the validation images with its
Wilson interval; `expected` is `experiments.evaluation.expected`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from architectures import registry
from experiments import datasets
from experiments.config import ModelSize, RunConfig, usual_learning_rate
from experiments.datasets import Dataset, Split
from experiments.evaluation.expected import ResampledEpochs, expected_accuracy
from experiments.evaluation.intervals import accuracy_interval
from experiments.training import loop

NETWORKS = ("chollet", "malireddi", "pocket")
FILTERS, BATCH_SIZES = (4, 8, 16), (16, 32)  # a few hundred images are few: smaller than the default space's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--train", type=int, default=500, help="images to train on; the rest is held out")
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--trials", type=int, nargs="+", default=[12], help="of a simulated sweep")
    parser.add_argument("--images", type=int, nargs="+", default=[200, 500, 1_000], help="for validation")
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where answers are kept from one run of this to the next")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = arguments.folder or Path(folder)
        kept.mkdir(parents=True, exist_ok=True)
        right = answers(arguments, kept)
    networks, _, images = right.shape
    print(f"{networks} networks, {images} held-out images: {right[:, -1].mean():.4f} right after the last epoch")
    for count in arguments.images:
        for trials in arguments.trials:
            simulate(right, images=count, trials=trials, sweeps=arguments.sweeps)


def answers(arguments: argparse.Namespace, folder: Path) -> np.ndarray:
    """Which images each epoch of each network classifies correctly: (networks, epochs, images)."""
    dataset = datasets.load(arguments.dataset)
    images = np.concatenate([dataset.train.images, dataset.val.images])
    labels = np.concatenate([dataset.train.labels, dataset.val.labels])
    order = np.random.default_rng(0).permutation(len(labels))
    learned, others = order[: arguments.train], order[arguments.train :]
    dataset = replace(dataset, train=Split(images[learned], labels[learned]), val=Split(images[others], labels[others]))
    found = []
    for number in range(arguments.networks):
        file = folder / f"{number}.npy"
        if not file.exists():
            np.save(file, trained(number, dataset, epochs=arguments.epochs))
        found.append(np.load(file))
        print(f"\rnetwork {number + 1} of {arguments.networks}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return np.array(found)


def trained(number: int, dataset: Dataset, *, epochs: int) -> np.ndarray:
    """Which validation images each epoch of the network of that number classifies correctly: (epochs, images)."""
    random = np.random.default_rng(number)
    architecture = registry.get(NETWORKS[number % len(NETWORKS)])
    knobs = tuple(
        sorted((name, choices[random.integers(len(choices))]) for name, choices in architecture.knobs.items())
    )
    config = RunConfig(
        architecture.name,
        dataset.name,
        int(random.choice(FILTERS)),
        float(random.uniform(0, 0.5)),
        int(random.choice(BATCH_SIZES)),
        usual_learning_rate("cosine", knobs, 1.0),
        epochs=epochs,
        seed=number,
        augment="digits",
        knobs=knobs,
    )
    seen: list[np.ndarray] = []

    class Watched(ResampledEpochs):
        def add(self, right: np.ndarray) -> None:
            seen.append(right)
            super().add(right)

    loop.ResampledEpochs = Watched  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        loop.train(config, dataset, keras_file=Path(folder) / "m.keras", size=ModelSize(0, 0, 0))
    return np.array(seen)


def simulate(right: np.ndarray, *, images: int, trials: int, sweeps: int) -> None:
    """Print how often what is stated of the best of a sweep is true."""
    random = np.random.default_rng(images)
    rows: dict[str, list[tuple[bool, float, float, float]]] = defaultdict(list)
    for _ in range(sweeps):
        networks = random.choice(len(right), trials, replace=False)
        drawn = random.integers(0, right.shape[-1], images)
        for kept, chosen in (("best", right[networks]), ("last", right[networks][:, -1:])):
            inside = chosen[:, :, drawn]
            reached = inside.mean(axis=2)
            trial, epoch = np.unravel_index(reached.argmax(), reached.shape)
            true, stated = float(chosen[trial, epoch].mean()), float(reached.max())
            low, high = accuracy_interval(stated * images, images)
            rows[f"{kept} epoch, today"].append((low <= true <= high, stated - true, high - low, true))
            resampled = []
            for one in inside:
                epochs = ResampledEpochs(images)
                for answered in one:
                    epochs.add(answered)
                resampled.append(epochs.resampled.tolist())
            expected = expected_accuracy(stated, images, resampled)
            low, high = expected.expected_accuracy_low, expected.expected_accuracy_high
            rows[f"{kept} epoch, expected"].append(
                (low <= true <= high, expected.expected_accuracy - true, high - low, true)
            )
    print(f"\n{sweeps} sweeps of {trials} trials, {images} validation images")
    for name, found in rows.items():
        covers, over, width, true = np.array(found, float).mean(axis=0)
        print(f"  {name:21} covers {covers:6.1%}  too high by {over:+.4f}  width {width:.4f}  true {true:.4f}")


if __name__ == "__main__":
    main()
