"""Compare our training with bare Keras, and bfloat16 with float32: seconds per epoch and accuracy, seed by seed.

Run: python benchmarks/training_speed.py --seeds 5
     python benchmarks/training_speed.py --seeds 5 --bfloat16    # even if the processor only emulates it

For each seed, every network is trained by `Model.fit` with NumPy arrays, by `experiments.training.loop.train` in
float32 and, if the processor or GPU multiplies bfloat16 natively, in mixed_bfloat16; one after the other in one
process, on the same images with the same batches, epochs, optimizer and constant rate, with validation after each
epoch. A time is the median epoch of a run without the first one, which traces the graph. Ratios are of one seed's runs,
above 1 if ours is faster; their median is printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from architectures.quiet import import_tensorflow

import_tensorflow()
import keras  # noqa: E402

from architectures import registry  # noqa: E402
from architectures.command import several  # noqa: E402
from experiments import datasets  # noqa: E402
from experiments.classifier import build_classifier  # noqa: E402
from experiments.config import ModelSize, RunConfig  # noqa: E402
from experiments.training.loop import train  # noqa: E402
from experiments.training.precision import native_bfloat16, visible_gpu  # noqa: E402

FIT, FLOAT, HALF = "Model.fit", "float32", "mixed_bfloat16"


@dataclass(frozen=True)
class Measured:
    """One run."""

    epoch_seconds: float
    val_accuracy: float  # of the best epoch


class Clock(keras.callbacks.Callback):
    """Takes each epoch's time."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def fitted(config: RunConfig, dataset: datasets.Dataset) -> Measured:
    """The same network under `Model.fit`."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    architecture = registry.get(config.architecture)
    model = build_classifier(architecture, config, dataset.input_shape, dataset.num_classes, FLOAT)
    model.compile(keras.optimizers.Adam(config.learning_rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    clock = Clock()
    history = model.fit(
        dataset.train.images.astype(np.float32),
        dataset.train.labels,
        batch_size=config.batch_size,
        epochs=config.epochs,
        validation_data=(dataset.val.images.astype(np.float32), dataset.val.labels),
        verbose=0,
        callbacks=[clock],
    )
    return Measured(statistics.median(clock.seconds[1:]), max(history.history["val_accuracy"]))


def ours(config: RunConfig, dataset: datasets.Dataset, folder: Path) -> Measured:
    result = train(config, dataset, keras_file=folder / "model.keras", size=ModelSize(0, 0, 0))
    return Measured(statistics.median(e.epoch_seconds for e in result.epochs[1:]), result.best_val_accuracy)


def speed(name: str, faster: Sequence[Measured], slower: Sequence[Measured]) -> str:
    ratios = [two.epoch_seconds / one.epoch_seconds for one, two in zip(faster, slower, strict=True)]
    return f"{name} {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


def accuracy(name: str, one: Sequence[Measured], other: Sequence[Measured]) -> str:
    differences = [mine.val_accuracy - theirs.val_accuracy for mine, theirs in zip(one, other, strict=True)]
    p = stats.ttest_1samp(differences, 0).pvalue if len(set(differences)) > 1 else float("nan")
    return f"{name} {100 * statistics.mean(differences):+.2f} points (paired over seeds, p {p:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--architecture",
        action="extend",
        type=several,
        metavar="NAME,NAME",
        help="default: malireddi, chollet, pocket",
    )
    parser.add_argument("--dataset", default="mnist5k")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--bfloat16", action="store_true", help="also where nothing multiplies it natively")
    arguments = parser.parse_args()
    native = native_bfloat16(visible_gpu())
    half = arguments.bfloat16 or native != "none"
    print(f"native bfloat16: {native}" + ("" if half else "; mixed_bfloat16 is not measured"), flush=True)
    dataset = datasets.load(arguments.dataset)
    kinds = [FIT, FLOAT, HALF] if half else [FIT, FLOAT]
    for name in arguments.architecture or ["malireddi", "chollet", "pocket"]:
        architecture = registry.get(name)
        runs: dict[str, list[Measured]] = {kind: [] for kind in kinds}
        for seed in range(arguments.seeds):
            config = RunConfig(
                name,
                dataset.name,
                architecture.default_filters,
                architecture.default_dropout,
                batch_size=arguments.batch_size,
                learning_rate=1e-3,
                schedule="constant",
                epochs=arguments.epochs,
                seed=seed,
            )
            with tempfile.TemporaryDirectory() as folder:
                for kind in kinds:
                    precise = replace(config, precision=HALF) if kind == HALF else config
                    run = fitted(config, dataset) if kind == FIT else ours(precise, dataset, Path(folder))
                    runs[kind].append(run)
            told = (f"{kind} {runs[kind][-1].epoch_seconds:.2f} s {runs[kind][-1].val_accuracy:.4f}" for kind in kinds)
            print(f"{name} seed {seed}: {', '.join(told)}", flush=True)
        print(f"{name}: {speed('float32 against Model.fit', runs[FLOAT], runs[FIT])}, ", end="")
        print(accuracy("accuracy", runs[FLOAT], runs[FIT]))
        if half:
            print(f"{name}: {speed('bfloat16 against Model.fit', runs[HALF], runs[FIT])}, ", end="")
            print(f"{speed('against float32', runs[HALF], runs[FLOAT])}, ", end="")
            print(accuracy("accuracy against float32", runs[HALF], runs[FLOAT]), flush=True)


if __name__ == "__main__":
    main()
