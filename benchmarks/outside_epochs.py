"""Measure how much of a sweep's time is spent in epochs.

Run: python benchmarks/outside_epochs.py [--workers N] [OPTIONS OF search.sweep]

It prints the seconds of the whole command and of its parts, with their shares. Epochs are summed over all trials and
divided by the workers; the rest of the time in which trials ran is building, tracing and converting networks, saving
states and models, and waiting workers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient

sys.path.insert(0, str(Path(__file__).parents[1]))

from search.engines.local import auto_workers


def epoch_seconds(store: Path) -> float:
    """The seconds of all epochs in a store of one sweep."""
    client = MlflowClient(f"sqlite:///{store}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, "params.architecture != ''")
    return sum(point.value for run in runs for point in client.get_metric_history(run.info.run_id, "epoch_seconds"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=auto_workers())
    arguments, options = parser.parse_known_args()
    workers = arguments.workers
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "search.sweep", "--workers", str(workers), *options, "--json"]
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True)
        whole = time.perf_counter() - started
        swept = json.loads(done.stdout)
        epochs = epoch_seconds(Path(folder, "mlflow.db"))
    start, trials = swept["startup_seconds"], swept["trials_seconds"]
    parts = {
        "interpreter and imports of the command": whole - swept["seconds"],
        "until the first trial could start": start,
        f"epochs, of {workers} workers at a time": epochs / workers,
        "the rest of the trials": trials - epochs / workers,
        "after the last trial": swept["seconds"] - start - trials,
    }
    for name, seconds in {**parts, "whole command": whole}.items():
        print(f"{name:<40} {seconds:7.1f} s {seconds / whole:6.0%}")


if __name__ == "__main__":
    main()
