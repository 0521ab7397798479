"""Measure the gain of a small network from a teacher at the same size.  Run: python benchmarks/distillation.py idx:DIR

For each seed a teacher is trained, then the student without and with it, in each case from the same seed on the same
images and epochs; the best epoch on the validation images is kept. All are tested on training images that none was
trained on. One row per variant: the mean accuracy, its difference from training without a teacher with the 95 %
interval of Student's t over the seeds, McNemar's exact test of each seed, processor seconds of a run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from scipy.stats import binomtest

import architectures
from experiments import datasets
from experiments.classifier import forward_function, load_classifier, predict
from experiments.config import ModelSize, RunConfig
from experiments.datasets import Dataset, Split
from experiments.evaluation.intervals import mean_interval
from experiments.training.distillation import file_of
from experiments.training.loop import train

WAYS = {  # temperature and distillation_weight
    "T 3, weight 0.5": (3.0, 0.5),
    "T 3, weight 0.9": (3.0, 0.9),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--student", default="pocket:8", metavar="NAME:FILTERS")
    parser.add_argument("--teacher", default="pocket:32", metavar="NAME:FILTERS")
    parser.add_argument("--train", type=int, default=10_000, help="images to train on")
    parser.add_argument("--others", type=int, default=10_000, help="images to try all on")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--teacher-epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    data = datasets.load(arguments.dataset)
    order = np.random.default_rng(0).permutation(len(data.train))
    rows, others = np.split(order[: arguments.train + arguments.others], [arguments.train])
    unseen = Split(data.train.images[others], data.train.labels[others])
    data = replace(data, train=Split(data.train.images[rows], data.train.labels[rows]))
    right: dict[str, list[np.ndarray]] = {}
    seconds: dict[str, list[float]] = {}
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            kept = Path(folder, "teacher.keras")
            teacher = base(arguments.teacher, data, seed, arguments.teacher_epochs)
            sha256, *found = trained(teacher, data, kept, unseen)
            named = f"{'0' * 32}#sha256={sha256}"
            file_of(named).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(kept, file_of(named))
            student = base(arguments.student, data, seed, arguments.epochs)
            ways = {f"teacher {arguments.teacher}": found}
            configs = {f"{arguments.student} alone": student} | {
                way: replace(student, teacher=named, temperature=temperature, distillation_weight=weight)
                for way, (temperature, weight) in WAYS.items()
            }
            for way, config in configs.items():
                ways[way] = trained(config, data, Path(folder, "student.keras"), unseen)[1:]
            file_of(named).unlink()
        for way, (correct, used) in ways.items():
            right.setdefault(way, []).append(correct)
            seconds.setdefault(way, []).append(used)
            print(f"seed {seed}, {way}: {correct.mean():.4f}", flush=True)
    alone = right[f"{arguments.student} alone"]
    for way, found in right.items():
        pairs = list(zip(found, alone, strict=True))
        differences = [float(one.mean() - other.mean()) for one, other in pairs]
        interval = mean_interval(differences) if any(differences) else None
        bounds = f"{interval[0]:+.4f} to {interval[1]:+.4f}" if interval else ""
        tests = ", ".join(f"{mcnemar(*pair):.2g}" for pair in pairs)
        print(
            f"{way:22} {statistics.mean(one.mean() for one in found):.4f}  {statistics.mean(differences):+.4f} "
            f"{bounds:20} p {tests}  {statistics.mean(seconds[way]):.0f} s"
        )


def base(text: str, data: Dataset, seed: int, epochs: int) -> RunConfig:
    name, _, filters = text.partition(":")
    architecture = architectures.get(name)
    width = int(filters) if filters else architecture.default_filters
    return RunConfig(name, data.name, width, architecture.default_dropout, epochs=epochs, seed=seed)


def trained(config: RunConfig, data: Dataset, file: Path, unseen: Split) -> tuple[str, np.ndarray, float]:
    """SHA-256 of the kept model, which unseen images it reads right, processor seconds of training."""
    started = time.process_time()
    result = train(config, data, keras_file=file, size=ModelSize(0, 0, 0))
    used = time.process_time() - started
    answers = predict(forward_function(load_classifier(file, result.keras_sha256)), unseen.images)
    return result.keras_sha256, answers.argmax(axis=1) == unseen.labels, used


def mcnemar(one: np.ndarray, other: np.ndarray) -> float:
    """The exact two-sided p of two classifiers' right answers to the same images."""
    alone = int((one & ~other).sum()), int((other & ~one).sum())
    return float(binomtest(alone[0], sum(alone)).pvalue) if sum(alone) else 1.0


if __name__ == "__main__":
    main()
