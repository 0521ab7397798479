"""Compare a sweep with two objectives with and without pruning: the front that is found, and the time it takes.

Run: python benchmarks/pareto_pruning.py --seeds 3

For each seed there are two sweeps of mnist5k with the same number of trials, one with `--pruner front` and one without
pruning, in turn. It prints the seconds of their trials and the hypervolume of their fronts (accuracy above 0.8 times
decades of bytes below 10 MB), also that of the unpruned sweep after the pruned one's number of full trainings.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile

from search.study.ranking import Scored, front

WORST_ACCURACY, WORST_BYTES = 0.8, 10_000_000


def hypervolume(scored: list[Scored]) -> float:
    """What the front dominates of the rectangle down to the worst accuracy and up to the worst size."""
    volume, largest = 0.0, float(WORST_BYTES)
    for one in front(scored):  # the most accurate and largest first
        decades = max(0.0, math.log10(largest / one.coreml_bytes))
        volume += decades * max(0.0, one.value - WORST_ACCURACY)
        largest = min(largest, one.coreml_bytes)
    return volume


def sweep(pruner: str, seed: int, arguments: argparse.Namespace) -> tuple[float, list[Scored]]:
    """The seconds of a sweep's trials, and its complete ones by number."""
    command = [sys.executable, "-m", "search.sweep", "--json", "--objective", "val_accuracy,coreml_bytes"]
    command += ["--pruner", pruner, "--seed", str(seed), "--trials", str(arguments.trials)]
    command += ["--epochs", str(arguments.epochs), "--filters", arguments.filters, "--learning-rate", "3e-4:1e-2"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result = json.loads(done.stdout)
    found = [
        Scored(int(row["run"].rpartition("-")[2]), row["val_accuracy"], row["coreml_bytes"])
        for row in result["leaderboard"]
    ]
    return result["trials_seconds"], sorted(found, key=lambda one: one.number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--filters", default="4,8,16,32")
    arguments = parser.parse_args()
    times, same_trials, same_trainings = [], [], []
    for seed in range(arguments.seeds):
        seconds, plain = sweep("none", seed, arguments)
        pruned_seconds, pruned = sweep("front", seed, arguments)
        volume = hypervolume(pruned)
        times.append(pruned_seconds / seconds)
        same_trials.append(volume / hypervolume(plain))
        same_trainings.append(volume / hypervolume(plain[: len(pruned)]))
        print(
            f"seed {seed}: {len(pruned)} of {len(plain)} trials trained fully, {pruned_seconds:.0f} s for "
            f"{seconds:.0f} s ({times[-1]:.2f}); hypervolume {same_trials[-1]:.4f} of the unpruned sweep's, "
            f"{same_trainings[-1]:.4f} of what it had after as many full trainings",
            flush=True,
        )
    print(
        f"median: time {statistics.median(times):.2f}, hypervolume {statistics.median(same_trials):.4f}, "
        f"at the same number of full trainings {statistics.median(same_trainings):.4f}"
    )


if __name__ == "__main__":
    main()
