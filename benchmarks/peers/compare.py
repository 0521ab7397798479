"""A sweep of this project, a KerasTuner search and the usual Optuna + MLflow script on the same trials, in turn.

Run: python benchmarks/peers/compare.py --trials 6 --epochs 5      (pip install -e '.[peers]')

Each runs in a fresh process and folder on the same `--cores` (2). Equal: networks, widths, dropout, batch size, digits,
epochs, Adam with a cosine from 3e-3, no augmentation, no pruning. Not equal: ours trains whole batches only (31 of 32
steps at batch size 128), in bfloat16 where the processor has it (then ours in float32 is printed, too), measures sizes
and latency and keeps three models, where the script logs every one; KerasTuner tracks nothing in MLflow. `search`
leaves out imports, data and databases, `CPU` counts the processor's seconds of the whole command.

`--part pruning` gives ours its default pruner and four trials more, which it draws, and asks when the best accuracy
that the script found is first in MLflow, from the start of each command on. `--part all` does both.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import same_work

HERE = Path(__file__).parent
DRAWN = 4  # trials that ours draws beside the given ones, as a default sweep does
ROUNDING = 1e-6  # Keras' accuracies are float32


@dataclass(frozen=True)
class Timed:
    """What one command took."""

    seconds: float
    search_seconds: float  # without imports, data and databases
    cpu_seconds: float  # of all its processes
    best_val_accuracy: float
    started: float  # seconds since 1970


def timed(command: list[str], folder: Path) -> Timed:
    """Run a command in a new folder; its last line on stdout is a JSON object."""
    folder.mkdir()
    started, before, cpu = time.time(), time.perf_counter(), cpu_seconds()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - before
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
    printed = json.loads(done.stdout.strip().splitlines()[-1])
    if "leaderboard" in printed:  # ours
        search = printed["seconds"] - printed["startup_seconds"]
        best = printed["leaderboard"][0]["val_accuracy"]
    else:
        search, best = printed["search_seconds"], printed["best_val_accuracy"]
    return Timed(seconds, search, cpu_seconds() - cpu, best, started)


def cpu_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reached(folder: Path, accuracy: float, started: float) -> float | None:
    """Seconds until a validation accuracy was logged to MLflow, or None."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    times = [
        metric.timestamp / 1e3 - started
        for run in runs
        for metric in client.get_metric_history(run.info.run_id, "val_accuracy")
        if metric.value >= accuracy - ROUNDING
    ]
    return min(times, default=None)


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def sweep(file: Path, trials: int, epochs: int, *options: str) -> list[str]:
    common = ["-m", "search.sweep", "--json", "--augment", "off", "--enqueue", str(file)]
    return [*common, "--trials", str(trials), "--epochs", str(epochs), *options]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, help=f"at most {len(same_work.TRIALS)}")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--part", choices=("speed", "pruning", "all"), default="speed")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])  # children inherit it

    from experiments.precision import resolve_precision

    trials = same_work.TRIALS[: arguments.trials]
    epochs = arguments.epochs
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "trials.json"
        file.write_text(json.dumps(trials))

        def peer(script: str) -> list[str]:
            return [str(HERE / script), "--epochs", str(epochs), "--enqueue", str(file)]

        precision = resolve_precision("auto")
        commands = {"script": peer("optuna_mlflow_script.py")}

        def ours(what: str, trials: int, *options: str) -> None:
            commands[f"ours, {what}"] = sweep(file, trials, epochs, *options)
            if precision != "float32":
                commands[f"ours, {what}, float32"] = sweep(file, trials, epochs, *options, "--precision", "float32")

        if arguments.part != "pruning":
            commands["KerasTuner"] = peer("keras_tuner_search.py")
            for workers in ("auto", "1"):
                ours(f"workers {workers}", len(trials), "--pruner", "none", "--workers", workers)
        if arguments.part != "speed":
            ours("pruned", len(trials) + DRAWN, "--workers", "auto")

        print(f"{len(trials)} trials of {epochs} epochs on {arguments.cores} cores; ours is {precision}", flush=True)
        found = {}
        for what, command in commands.items():
            found[what] = one = timed(command, folder / what.replace(" ", "-"))
            print(
                f"{what:28} {one.seconds:6.1f} s, search {one.search_seconds:6.1f} s, CPU {one.cpu_seconds:6.1f} s, "
                f"best val_accuracy {one.best_val_accuracy:.4f}, {load()}",
                flush=True,
            )
        script = found["script"]
        for what, one in found.items():
            if what.startswith("ours, workers"):
                for name, other in (("KerasTuner", found["KerasTuner"]), ("script", script)):
                    whole, search = other.seconds / one.seconds, other.search_seconds / one.search_seconds
                    cpu = other.cpu_seconds / one.cpu_seconds
                    print(f"{what} against {name}: {whole:.2f}x faster, search alone {search:.2f}x, CPU {cpu:.2f}x")
        if arguments.part != "speed":
            best = script.best_val_accuracy
            theirs = reached(folder / "script", best, script.started)
            assert theirs is not None  # it is the script's own best
            print(f"script: {best:.4f} after {theirs:.1f} s")
            for what, one in found.items():
                if what.startswith("ours, pruned"):
                    seconds = reached(folder / what.replace(" ", "-"), best, one.started)
                    if seconds is None:
                        print(f"{what}: not reached in {one.seconds:.1f} s, its best is {one.best_val_accuracy:.4f}")
                    else:
                        print(
                            f"{what}: after {seconds:.1f} s, {theirs / seconds:.2f}x faster; the script's whole search "
                            f"took {script.seconds / seconds:.2f} times as long"
                        )


if __name__ == "__main__":
    main()
