"""Measure the cost of tracking, sizes and bookkeeping: a sweep's trials compared with the bare training function.

Run: python benchmarks/tracking_overhead.py --epochs 12

The same configurations are trained by `search.sweep` and by `experiments.training.loop.train` alone, in turn, each in a
new process, without start-up. It prints the share by which the sweep takes longer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile

from sweep_against_plain_loop import run

BARE = """
import json, sys, time
from pathlib import Path
from architectures.quiet import import_tensorflow
import_tensorflow()
import tensorflow as tf
from architectures import registry
from experiments import datasets
from experiments.config import ModelSize, RunConfig
from experiments.training.precision import resolve_precision
from experiments.training.loop import train

trials, epochs = json.loads(sys.argv[1]), int(sys.argv[2])
data = datasets.load("mnist5k")
registry.names()
started = time.perf_counter()
for trial in trials:
    keys = ("architecture", "filters", "dropout", "batch_size", "learning_rate", "schedule", "augment")
    config = RunConfig(dataset="mnist5k", epochs=epochs, precision=resolve_precision("auto"),
                       **{key: trial[key] for key in keys})
    train(config, data, keras_file=Path("bare.keras"), size=lambda model: ModelSize(0, 0, 0))
print((time.perf_counter() - started) / len(trials))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    shares = []
    for pair in range(1, arguments.pairs + 1):
        with tempfile.TemporaryDirectory() as folder:
            sweep = ["-m", "search.sweep", "--json", "--pruner", "none", "--architecture", "chollet"]
            sweep += ["--filters", "32", "--batch-size", "64", "--keep", "1"]
            sweep += ["--trials", str(arguments.trials), "--epochs", str(arguments.epochs)]
            ours = json.loads(run(sweep, folder))
            tracked = ours["trials_seconds"] / arguments.trials
            trials = json.dumps(sorted(ours["leaderboard"], key=lambda row: row["run"]))
            bare = float(run(["-c", BARE, trials, str(arguments.epochs)], folder))
        shares.append(tracked / bare - 1)
        print(f"pair {pair}: {tracked:.1f} s a trial tracked, {bare:.1f} s bare: {100 * shares[-1]:+.1f} %")
    print(f"median {100 * statistics.median(shares):+.1f} %")


if __name__ == "__main__":
    main()
