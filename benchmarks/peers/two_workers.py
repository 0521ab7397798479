"""Trials per minute of two workers on two cores, one each, against one worker on one core.

Run: python benchmarks/peers/two_workers.py --repeats 3

The same trials in both, malireddi with 16 filters at dropouts that differ by 0.01: the same arithmetic, no duplicates.
The sweep's own process runs on the workers' cores. Timed is from the first worker's readiness to the last trial's end,
and, without start and tail, the time between the ends of the second trial and of the last but one, from MLflow.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def throughput(workers: int, cores: list[int], arguments: argparse.Namespace) -> tuple[float, float]:
    """Trials a minute of the whole search, and in its middle."""
    trials = [
        {"architecture": "malireddi", "filters": 16, "dropout": 0.1 + 0.01 * number, "batch_size": 128}
        for number in range(arguments.trials)
    ]
    command = [sys.executable, "-m", "search.sweep", "--json", "--pruner", "none", "--augment", "off"]
    command += ["--workers", str(workers), "--epochs", str(arguments.epochs), "--trials", str(arguments.trials)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trials.json"
        file.write_text(json.dumps(trials), encoding="utf-8")
        os.sched_setaffinity(0, cores)  # inherited
        command += ["--enqueue", str(file), "--architecture", "malireddi"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        result = json.loads(done.stdout)
        if result["counts"]["complete"] != arguments.trials:
            sys.exit(f"Not all of {arguments.trials} trials are complete: {result['counts']}")
        ends = last_epochs(folder, arguments.epochs)
    middle = 60 * (len(ends) - 3) / (ends[-2] - ends[1])
    return 60 * arguments.trials / result["trials_seconds"], middle


def last_epochs(folder: str, epochs: int) -> list[float]:
    """When each trial ended its last epoch, in seconds since 1970, sorted."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    histories = [client.get_metric_history(run.info.run_id, "val_accuracy") for run in runs]
    return sorted(one.timestamp / 1e3 for history in histories for one in history if one.step == epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or arguments.trials < 4:
        sys.exit("Two cores and four trials are needed.")
    whole, middles = [], []
    for repeat in range(1, arguments.repeats + 1):
        one, one_middle = throughput(1, cores[:1], arguments)
        two, two_middle = throughput(2, cores[:2], arguments)
        whole.append(two / one)
        middles.append(two_middle / one_middle)
        print(
            f"repeat {repeat}: one worker {one:.1f} trials a minute, two {two:.1f}, ratio {whole[-1]:.2f}; in the "
            f"middle {one_middle:.1f} and {two_middle:.1f}, ratio {middles[-1]:.2f}; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(whole):.2f}, in the middle {statistics.median(middles):.2f}")


if __name__ == "__main__":
    main()
