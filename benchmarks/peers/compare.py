"""A sweep of this project, a KerasTuner search and the usual Optuna + MLflow script on the same trials, in turn.

Run: python benchmarks/peers/compare.py --trials 6 --epochs 5      (pip install -e '.[peers]')

Each runs in a fresh process and folder on the same `--cores` (2). Equal: networks, widths, dropout, batch size, digits,
epochs, Adam with a cosine from 3e-3, no augmentation, no pruning. Not equal: ours trains whole batches only (31 of 32
steps at batch size 128), in bfloat16 where the processor has it (then ours in float32 is printed, too), measures sizes
and latency and keeps three models, where the script logs every one; KerasTuner tracks nothing in MLflow. `search`
leaves out imports, data and databases, `CPU` counts the processor's seconds of the whole command.

`--part pruning` gives ours its default pruner and four trials more, which it draws, and asks when the best accuracy
that a script found is first in MLflow, from the start of each command on; 0 is never. The script is the usual one here,
with Adam as Keras has it; `--part all` does both parts and asks the same of the script with our rate. Which search
finds the better network by a digit or two is luck, so ask for several `--seeds`: what is printed last are medians.

`--part first` asks the same of whole searches: the script with our rate and our augmentation, 24 trials of which TPE
draws 16, and our sweep as it is by default with one worker, which ends once it has the script's best, or has taken as
long as the script did for all. Give it `--epochs 15`, as a sweep has.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import same_work

from architectures.command import INTERRUPTED
from architectures.fields import Whole

HERE = Path(__file__).parent
DRAWN = 4  # trials that ours draws beside the given ones, as a default sweep does
WHOLE = 24  # trials of the script's whole search
ENDLESS = 1_000  # trials of ours
LOOK = 2.0  # seconds between two looks at what was logged
ROUNDING = 1e-6  # Keras' accuracies are float32


@dataclass(frozen=True)
class Timed:
    """What one command took."""

    seconds: float
    search_seconds: float  # without imports, data and databases
    cpu_seconds: float  # of all its processes
    best_val_accuracy: float
    started: float  # seconds since 1970
    folder: Path


def timed(command: list[str], folder: Path, than: Timed | None = None) -> Timed:
    """Run a command in a new folder; its last line on stdout is a JSON object.

    Args:
        than: interrupt it once it is as good as this one, or has taken as long.
    """
    folder.mkdir()
    started, before, cpu = time.time(), time.perf_counter(), cpu_seconds()
    with (folder / "out").open("w+") as out, (folder / "err").open("w+") as err:
        process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=out, stderr=err)
        while than and process.poll() is None:
            time.sleep(LOOK)
            if time.perf_counter() - before > than.seconds or logged(folder) >= than.best_val_accuracy - ROUNDING:
                process.send_signal(signal.SIGINT)
                break
        code = process.wait()
        seconds = time.perf_counter() - before
    stdout = (folder / "out").read_text()
    if code not in (0, INTERRUPTED if than else 0):
        sys.exit(f"{' '.join(command)} ended with {code}:\n{(folder / 'err').read_text()}{stdout}")
    printed = json.loads(stdout.strip().splitlines()[-1])
    if "leaderboard" in printed:  # ours
        search = printed["seconds"] - printed["startup_seconds"]
        best = logged(folder) if than else printed["leaderboard"][0]["val_accuracy"]  # no trial may have ended
    else:
        search, best = printed["search_seconds"], printed["best_val_accuracy"]
    return Timed(seconds, search, cpu_seconds() - cpu, best, started, folder)


def logged(folder: Path) -> float:
    """Return the best validation accuracy that was logged to MLflow."""
    with contextlib.suppress(sqlite3.OperationalError):  # there is no database yet
        store = sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True)
        with contextlib.closing(store):
            found = store.execute("select max(value) from metrics where key = 'val_accuracy'").fetchone()[0]
            return found or 0.0
    return 0.0


def cpu_seconds() -> float:
    """Of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reached(one: Timed, accuracy: float) -> float:
    """Seconds from a command's start until a validation accuracy was logged to MLflow; infinite if none was."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{one.folder / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    times = [
        metric.timestamp / 1e3 - one.started
        for run in runs
        for metric in client.get_metric_history(run.info.run_id, "val_accuracy")
        if metric.value >= accuracy - ROUNDING
    ]
    return min(times, default=math.inf)


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def measured(folder: Path, arguments: argparse.Namespace, precision: str, seed: int) -> dict[str, float]:
    """Run what was asked for once, in turn, and print it; returns how many times as fast ours was at what."""
    folder.mkdir()
    trials = same_work.TRIALS[: arguments.trials]
    file = folder / "trials.json"
    file.write_text(json.dumps(trials), encoding="utf-8")
    common = ["--epochs", str(arguments.epochs), "--seed", str(seed), "--enqueue", str(file)]
    script = [str(HERE / "optuna_mlflow_script.py"), *common]
    commands = {}

    def ours(what: str, trials: int, *options: str) -> None:
        sweep = ["-m", "search.sweep", "--json", "--augment", "off", "--trials", str(trials), *common, *options]
        commands[f"ours, {what}"] = sweep
        if precision != "float32":
            commands[f"ours, {what}, float32"] = [*sweep, "--precision", "float32"]

    if arguments.part in ("speed", "all"):
        commands["script"] = script
        commands["KerasTuner"] = [str(HERE / "keras_tuner_search.py"), *common]
        for workers in ("auto", "1"):
            ours(f"workers {workers}", len(trials), "--pruner", "none", "--workers", workers)
    if arguments.part in ("pruning", "all"):
        commands["script, usual rate"] = [*script, "--usual"]
        ours("pruned", len(trials) + DRAWN, "--workers", "auto")
    if arguments.part == "first":
        own = ["--epochs", str(arguments.epochs), "--seed", str(seed)]
        drawn = WHOLE - len(same_work.TRIALS)
        commands["script, our recipe"] = [script[0], *own, "--drawn", str(drawn), "--augment"]
        sweep = ["-m", "search.sweep", "--json", "--workers", "1", "--trials", str(ENDLESS)]
        commands["ours, pruned, default"] = [*sweep, *own]

    found = {}
    for what, command in commands.items():
        than = found["script, our recipe"] if what == "ours, pruned, default" else None
        found[what] = one = timed(command, folder / what.replace(" ", "-"), than)
        print(
            f"{what:28} {one.seconds:6.1f} s, search {one.search_seconds:6.1f} s, CPU {one.cpu_seconds:6.1f} s, "
            f"best val_accuracy {one.best_val_accuracy:.4f}, {load()}",
            flush=True,
        )
    faster = {}
    for what, one in found.items():
        if what.startswith("ours, workers"):
            for peer in ("KerasTuner", "script"):
                other = found[peer]
                faster[f"{what}, against {peer}, whole"] = other.seconds / one.seconds
                faster[f"{what}, against {peer}, search alone"] = other.search_seconds / one.search_seconds
                faster[f"{what}, against {peer}, CPU"] = other.cpu_seconds / one.cpu_seconds
        elif what.startswith("ours, pruned"):
            for peer in found:
                if peer.startswith("script"):
                    other = found[peer]
                    best = other.best_val_accuracy
                    theirs, seconds = reached(other, best), reached(one, best)
                    print(f"{best:.4f}: {peer} after {theirs:.1f} s, {what} after {seconds:.1f} s", flush=True)
                    faster[f"{what}, to the best of {peer}, as that found it"] = theirs / seconds
                    faster[f"{what}, to the best of {peer}, at its end"] = other.seconds / seconds
    return faster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, help=f"at most {len(same_work.TRIALS)}")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seeds", type=Whole(1), default=1)
    parser.add_argument("--part", choices=("speed", "pruning", "first", "all"), default="speed")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])  # children inherit it

    from experiments.training.precision import resolve_precision

    precision = resolve_precision("auto")
    print(
        f"{arguments.trials} trials of {arguments.epochs} epochs on {arguments.cores} cores; ours is {precision}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        ratios = []
        for seed in range(arguments.seeds):
            print(f"seed {seed}")
            ratios.append(measured(Path(name) / str(seed), arguments, precision, seed))
    for what in ratios[0]:
        values = [one[what] for one in ratios]
        each = f" ({', '.join(f'{value:.2f}' for value in values)})" if len(values) > 1 else ""
        print(f"{what}: {statistics.median_low(values):.2f} times as fast{each}")


if __name__ == "__main__":
    main()
