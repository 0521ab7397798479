"""The configurations that a new study tries first: learn them on some data, and measure on other data what they save.

Run: python benchmarks/portfolio.py learn FOLDER [--dataset NAME ...]
     python benchmarks/portfolio.py compare --dataset NAME [--seeds N] [OPTIONS OF search.sweep]

`learn` trains every combination of a grid on each data set (half an hour on two cores; FOLDER keeps what was trained)
and prints what `search/study/portfolio.py` holds: the configuration of each architecture with the best trade of
accuracy against time, in the order in which they are tried. The time of the median trial counts as half a point of
accuracy, and an architecture that stays two points behind the best is left as published.

`compare` sweeps data that nothing was learned on, once from the portfolio and once from what is published, in turns,
and prints when each sweep first logged an accuracy that both of them reach.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import optuna
from mlflow import MlflowClient
from optuna.trial import TrialState

from experiments import datasets

GRID = (
    *("--sampler", "grid", "--pruner", "none", "--trials", "1000"),
    *("--filters", "8,16,32", "--batch-size", "64,128", "--dropout", "0.1:0.3:0.2", "--keep", "1"),
)
FASHION = "idx:/usr/share/datasets/fashion-mnist"
# training images of Fashion-MNIST: few to learn from, many to tell configurations apart
TRAIN, VALIDATION, TEST = 5_000, 2_000, 1_000
WITHIN = 0.02  # of the best accuracy: an architecture that stays further behind is left as published
TIME_WORTH = 0.005  # of accuracy: what the time of the median trial is worth
Configuration = tuple[tuple[str, object], ...]


def sweep(folder: Path, *options: str) -> dict[str, object]:
    command = [sys.executable, "-m", "search.sweep", "--study", "study", "--figures", "off", *options, "--json"]
    return dict(json.loads(subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True).stdout))


def part_of_fashion(file: Path) -> str:
    """The data set of a part of Fashion-MNIST, which is written to a file."""
    split = datasets.load(FASHION).train
    chosen = np.random.default_rng(0).permutation(len(split))[: TRAIN + VALIDATION + TEST]
    parts = zip(("train", "val", "test"), np.split(chosen, [TRAIN, TRAIN + VALIDATION]), strict=True)
    arrays = {
        f"{axis}_{name}": values[part]
        for name, part in parts
        for axis, values in (("x", split.images), ("y", split.labels))
    }
    np.savez(file, **arrays)
    return f"npz:{file}"


def learn(arguments: argparse.Namespace, options: list[str]) -> None:
    found = []  # for each data set: difference to its best accuracy, and duration in its median, by configuration
    for name in arguments.dataset:
        folder = (arguments.folder / name.replace("/", "_")).absolute()
        if not folder.exists():
            folder.mkdir(parents=True)
            data = part_of_fashion(folder / "fashion.npz") if name == FASHION else name
            sweep(folder, "--dataset", data, *GRID, *options)
        study = optuna.load_study(study_name="study", storage=f"sqlite:///{folder / 'optuna.db'}")
        ended = study.get_trials(states=(TrialState.COMPLETE,))
        best, usual = study.best_value, statistics.median(one.duration.total_seconds() for one in ended)
        found.append(
            {
                tuple(sorted(one.params.items())): (best - one.value, one.duration.total_seconds() / usual)
                for one in ended
            }
        )
    cost = {  # of each configuration: what it lacks, and what its time is worth
        configuration: statistics.fmean(lack + TIME_WORTH * slowness for lack, slowness in figures)
        for configuration in set.intersection(*map(set, found))
        if (figures := [one[configuration] for one in found])
    }
    chosen: dict[object, Configuration] = {}
    for configuration in sorted(cost, key=cost.__getitem__):
        chosen.setdefault(dict(configuration)["architecture"], configuration)
    for configuration in chosen.values():
        lack, slowness = (statistics.fmean(each) for each in zip(*(one[configuration] for one in found), strict=True))
        use = "" if lack <= WITHIN else "not in it: "
        print(f"{use}{dict(configuration)},  # {lack:.4f} below the best, {slowness:.2f} of the usual time")


def course(store: Path, started: float) -> list[tuple[float, float]]:
    """When each epoch of a store's runs was logged, in seconds since the start, and its accuracy."""
    client = MlflowClient(f"sqlite:///{store}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, "params.architecture != ''")
    points = (point for run in runs for point in client.get_metric_history(run.info.run_id, "val_accuracy"))
    return sorted((point.timestamp / 1e3 - started, point.value) for point in points)


def compare(arguments: argparse.Namespace, options: list[str]) -> None:
    ratios = []
    for seed in range(arguments.seeds):
        courses, seconds = {}, {}
        for start in ("off", "portfolio"):
            with tempfile.TemporaryDirectory() as folder:
                started = time.time()
                told = "--dataset", arguments.dataset, "--seed", str(seed), "--warm-start", start
                sweep(Path(folder), *told, *options)
                seconds[start] = time.time() - started
                courses[start] = course(Path(folder, "mlflow.db"), started)
        best = {start: max(value for _, value in points) for start, points in courses.items()}
        wanted = min(best.values())
        until = {start: next(when for when, value in each if value >= wanted) for start, each in courses.items()}
        ratios.append(until["off"] / until["portfolio"])
        print(
            f"seed {seed}: published first: best {best['off']:.4f} in {seconds['off']:.1f} s; portfolio first: "
            f"{best['portfolio']:.4f} in {seconds['portfolio']:.1f} s; {wanted:.4f} after {until['off']:.1f} and "
            f"{until['portfolio']:.1f} s",
            flush=True,
        )
    print(f"from the portfolio {statistics.median(ratios):.2f} times as early, in the median")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    learning = commands.add_parser("learn")
    learning.add_argument("folder", type=Path)
    learning.add_argument("--dataset", nargs="+", default=[FASHION, "digits"])
    learning.set_defaults(run=learn)
    comparing = commands.add_parser("compare")
    comparing.add_argument("--dataset", required=True)
    comparing.add_argument("--seeds", type=int, default=5)
    comparing.set_defaults(run=compare)
    arguments, options = parser.parse_known_args()
    arguments.run(arguments, options)


if __name__ == "__main__":
    main()
