"""Compare all families over several seeds: test accuracy of the executed Core ML file against its bytes.

Run: python benchmarks/families.py --trials 4 --seeds 3 --figure families.png
     python benchmarks/families.py --architecture pocket --seeds 5 --schedule constant --augment off
     python benchmarks/families.py --dataset idx:DIR --peer chollet --architecture allconv:32 --seeds 1 --epochs 5

With `--trials N`, each family is searched by its own sweep of N trials, and its best configuration by validation
accuracy is trained with further seeds, so that no figure is from a run that was selected for it. Otherwise each is
trained as published. All families get the same recipe and budget, seed by seed in turn, so that times are comparable.
For each trained model, the smallest `.mlmodel` that loses at most 0.2 points on the validation images (as
`conversion.promote --compress auto --format mlmodel` would ship) is executed on the test images. Each family is paired
with a peer: its uncompressed Keras model, on the same test images and seeds. `NAME:FILTERS` gives a family another
width; choose it by validation accuracy, which is printed. Each use of the test images is recorded in MLflow, as in a
promotion.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

import architectures
from architectures.command import several
from conversion import runtime
from conversion.coreml.convert import Converter
from conversion.coreml.facts import FileFacts
from conversion.coreml.writing import write
from conversion.promotion.compression_search import choose_compression
from experiments import datasets
from experiments.classifier import forward_function, load_classifier, predict
from experiments.config import AUGMENTATIONS, LEARNING_RATES, ModelSize, RunConfig, default_tracking_uri
from experiments.evaluation.intervals import accuracy_interval
from experiments.tracking import Tracker
from experiments.training.loop import train
from experiments.training.precision import resolve_precision
from experiments.views.charts import GREY, PALETTE, SYMBOLS, palette_places


@dataclass(frozen=True)
class Measured:
    """One trained model and its smallest file."""

    val_accuracy: float  # of the Keras model
    epoch_seconds: float  # median, the first epoch left out
    float_bytes: int  # of the uncompressed file
    file_bytes: int
    compression: str
    correct: np.ndarray  # of each test image, by the executed file
    model_correct: np.ndarray  # by the Keras model


def published(wanted: str, dataset: str, epochs: int, schedule: str, augment: str) -> RunConfig:
    """NAME or NAME:FILTERS with the rest as published."""
    name, _, filters = wanted.partition(":")
    architecture = architectures.get(name)
    return RunConfig(
        name,
        dataset,
        int(filters or architecture.default_filters),
        architecture.default_dropout,
        learning_rate=LEARNING_RATES[schedule],
        schedule=schedule,
        epochs=epochs,
        precision=resolve_precision("auto"),
        augment=augment,
    )


def searched(name: str, dataset: str, epochs: int, schedule: str, augment: str, trials: int) -> RunConfig:
    """The configuration that a sweep of this family alone finds best on the validation images."""
    command = ["-m", "search.sweep", "--json", "--keep", "1", "--architecture", name, "--dataset", dataset]
    command += ["--schedule", schedule, "--pruner", "none"]
    command += ["--trials", str(trials), "--epochs", str(epochs), "--augment", augment]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, *command], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    best = json.loads(done.stdout)["leaderboard"][0]
    return replace(
        published(name, dataset, epochs, schedule, augment),
        filters=best["filters"],
        dropout=best["dropout"],
        batch_size=best["batch_size"],
        knobs=tuple(sorted(best["knobs"].items())),
    )


def measure(config: RunConfig, dataset: datasets.Dataset, folder: Path, tracker: Tracker) -> Measured:
    """Train, choose a file, execute it on the test split."""
    name = config.architecture
    result = train(config, dataset, keras_file=folder / "model.keras", size=lambda _: ModelSize(0, 0, 0))
    classifier = load_classifier(result.keras_file, result.keras_sha256)
    facts = FileFacts(dataset.class_names, dataset.name, dataset.digest, name, "0" * 32, "", "0" * 40, 0.0)
    choice = choose_compression(Converter(classifier, facts), dataset.val, formats=["mlmodel"])
    file = folder / "model.mlmodel"
    write(choice.file, file)
    test, _ = tracker.test_access.look(dataset, command="benchmarks/families.py")
    answers = runtime.load(file).probabilities(test.images).argmax(axis=1)
    model_answers = predict(forward_function(classifier), test.images).argmax(axis=1)
    seconds = [epoch.epoch_seconds for epoch in result.epochs[1:] or result.epochs]
    return Measured(
        val_accuracy=result.best_val_accuracy,
        epoch_seconds=statistics.median(seconds),
        float_bytes=next(variant.size_bytes or 0 for variant in choice.variants if variant.compression == "none"),
        file_bytes=choice.file.size_bytes,
        compression=choice.chosen.compression,
        correct=answers == test.labels,
        model_correct=model_answers == test.labels,
    )


def report(name: str, runs: list[Measured], peer: list[Measured]) -> str:
    """One line of figures; all seeds' test images pooled for the interval and McNemar's test."""
    correct = np.concatenate([run.correct for run in runs])
    theirs = np.concatenate([run.model_correct for run in peer])
    low, high = accuracy_interval(int(correct.sum()), len(correct))
    better, worse = int((correct & ~theirs).sum()), int((theirs & ~correct).sum())
    mcnemar = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    pairs = list(zip(runs, peer, strict=True))
    differences = [float(run.correct.mean() - other.model_correct.mean()) for run, other in pairs]
    by_seed = stats.ttest_1samp(differences, 0).pvalue if len(set(differences)) > 1 else float("nan")
    ratio = statistics.median(run.epoch_seconds / other.epoch_seconds for run, other in pairs)
    return (
        f"| {name} | {runs[0].float_bytes:,} | {max(run.file_bytes for run in runs):,} | "
        f"{', '.join(sorted({run.compression for run in runs}))} | {correct.mean():.4f} | {low:.4f} to {high:.4f} | "
        f"{np.mean(differences) * 100:+.2f} | {by_seed:.2f} | {mcnemar:.3f} | {ratio:.2f} |"
    )


@dataclass(frozen=True)
class Point:
    """A family in the picture."""

    name: str
    file_bytes: int  # the largest of its seeds
    accuracy: float  # on the test images of all seeds, with its 95 % interval
    low: float
    high: float


def point(name: str, runs: list[Measured]) -> Point:
    correct = np.concatenate([run.correct for run in runs])
    low, high = accuracy_interval(int(correct.sum()), len(correct))
    return Point(name, max(run.file_bytes for run in runs), float(correct.mean()), low, high)


def draw(points: list[Point], path: Path, what: str) -> None:
    """Accuracy with its interval against bytes, one point per family, below a title that says what they show."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(9, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    label = {"textcoords": "offset points", "fontsize": 10, "fontweight": "bold", "zorder": 10}
    label["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # above the others' bars
    at = palette_places(one.name for one in points)
    for one in points:
        place = at[one.name]
        colour, (_, marker) = PALETTE[place % len(PALETTE)], SYMBOLS[place % len(SYMBOLS)]
        reach = [[one.accuracy - one.low], [one.high - one.accuracy]]
        axes.errorbar(one.file_bytes, one.accuracy, yerr=reach, fmt=marker, color=colour, markersize=8, capsize=3)
        axes.annotate(one.name, (one.file_bytes, one.accuracy), xytext=(8, -4), color=colour, **label)
    best, smallest = max(points, key=lambda one: one.accuracy), min(points, key=lambda one: one.file_bytes)
    title = f"{best.name} reads {best.accuracy:.1%} in {best.file_bytes:,} bytes"
    title += f", {smallest.name} {smallest.accuracy:.1%} in {smallest.file_bytes:,}" if best != smallest else ""
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=24)
    axes.text(0, 1.02, what, transform=axes.transAxes, fontsize=10, color=GREY)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("bytes of the Core ML file")
    axes.set_ylabel("accuracy of the file on test images")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#8884", linewidth=0.6)
    axes.margins(x=0.12, y=0.1)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--architecture",
        action="extend",
        type=several,
        metavar="NAME[:FILTERS],...",
        help="repeatable (default: all)",
    )
    parser.add_argument("--peer", default="malireddi", metavar="NAME[:FILTERS]")
    parser.add_argument("--dataset", default="mnist5k")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--trials", type=int, default=0, help="of each family's own sweep (default: none, as published)"
    )
    parser.add_argument("--schedule", choices=tuple(LEARNING_RATES), default=RunConfig.schedule)
    parser.add_argument("--augment", choices=AUGMENTATIONS, default="digits")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    names = sorted({*(arguments.architecture or architectures.names()), arguments.peer})
    dataset, tracker = datasets.load(arguments.dataset), Tracker(default_tracking_uri())
    measured: dict[str, list[Measured]] = {name: [] for name in names}
    configs = {}
    for name in names:
        options = (name, arguments.dataset, arguments.epochs, arguments.schedule, arguments.augment)
        config = searched(*options, arguments.trials) if arguments.trials else published(*options)
        configs[name] = config
        print(f"{name}: filters {config.filters}, dropout {config.dropout:.2f}, batch {config.batch_size}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        first = 1 if arguments.trials else 0  # a sweep has chosen by seed 0
        for seed in range(first, first + arguments.seeds):
            for name in names:
                run = measure(replace(configs[name], seed=seed), dataset, Path(folder), tracker)
                measured[name].append(run)
                print(
                    f"seed {seed} {name}: {run.epoch_seconds:.2f} s an epoch, {run.file_bytes:,} bytes "
                    f"({run.compression}), val {run.val_accuracy:.4f}, test {run.correct.mean():.4f}, "
                    f"Keras model {run.model_correct.mean():.4f}",
                    flush=True,
                )
    print(
        "| family | bytes, float32 | bytes, smallest | compression | test accuracy | 95 % interval | points to "
        f"{arguments.peer} | p by seed | p McNemar | epoch time to {arguments.peer} |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, runs in measured.items():
        print(report(name, runs, measured[arguments.peer]))
    if arguments.figure:
        points = [point(name, runs) for name, runs in measured.items()]
        draw(points, arguments.figure, f"{arguments.dataset}, {arguments.seeds} seeds each, 95 % interval")


if __name__ == "__main__":
    main()
