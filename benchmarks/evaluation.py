"""Measure the evaluation of 10,000 images: predictions, all figures, all files, written to MLflow, without training.

Run: python benchmarks/evaluation.py
     python benchmarks/evaluation.py --dataset idx:/usr/share/datasets/fashion-mnist --architecture chollet

The images are validation images, repeated if there are fewer. Two evaluations are timed: that of the Keras model, as
for kept models, and that of its Core ML file, executed here, as in a promotion. The first includes the first use of
Matplotlib and scikit-learn, such as their import. On a shared machine, the processor time estimates the elapsed time on
an idle one, which several cores reduce further.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import architectures
from conversion import runtime
from conversion.coreml.convert import convert
from conversion.coreml.facts import FileFacts
from conversion.coreml.writing import write
from experiments import datasets
from experiments.classifier import forward_function, load_classifier, predict
from experiments.config import ModelSize, RunConfig
from experiments.datasets import Split
from experiments.evaluation.report import write_evaluation
from experiments.tracking import Tracker, environment, run_start
from experiments.training.loop import train

LIMIT = 5.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="malireddi")
    parser.add_argument("--dataset", default="mnist5k")
    parser.add_argument("--images", type=int, default=10_000)
    arguments = parser.parse_args()
    dataset = datasets.load(arguments.dataset)
    chosen = np.resize(np.arange(len(dataset.val)), arguments.images)
    dataset = replace(dataset, val=Split(dataset.val.images[chosen], dataset.val.labels[chosen]))
    architecture = architectures.get(arguments.architecture)
    config = RunConfig(
        arguments.architecture, dataset.name, architecture.default_filters, architecture.default_dropout, epochs=1
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = train(config, dataset, keras_file=folder / "model.keras", size=lambda _: ModelSize(0, 0, 0))
        classifier = load_classifier(result.keras_file, result.keras_sha256)
        facts = FileFacts(dataset.class_names, dataset.name, dataset.digest, config.architecture, "", "", "", 0.0)
        write(convert(classifier, facts), folder / "model.mlmodel")
        file, forward = runtime.load(folder / "model.mlmodel"), forward_function(classifier)
        tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}")
        experiment = tracker.experiment(dataset.name)
        print("| answers of | executing | figures, files, MLflow | whole | processor's time |\n|---|---|---|---|---|")
        slowest = 0.0
        for what, answer in (
            ("the Keras model, first time", lambda images: predict(forward, images)),
            ("the Keras model", lambda images: predict(forward, images)),
            ("the Core ML file", file.probabilities),
        ):
            start = run_start(experiment, what, config, dataset=dataset, environment=environment(1))
            run_id = tracker.writer.start_run(start)
            started, busy = time.perf_counter(), time.process_time()
            probabilities = answer(dataset.val.images)
            answered = time.perf_counter()
            write_evaluation(tracker, run_id, probabilities, dataset)
            ended, busy = time.perf_counter(), time.process_time() - busy
            slowest = max(slowest, ended - started)
            print(
                f"| {what} | {answered - started:.2f} s | {ended - answered:.2f} s | {ended - started:.2f} s | "
                f"{busy:.2f} s |",
                flush=True,
            )
        print(
            f"slowest {slowest:.2f} s for {arguments.images:,} images, {slowest / LIMIT:.2f} of the {LIMIT:g} s allowed"
        )


if __name__ == "__main__":
    main()
