"""Measure commands on large stores: a study of 2,000 finished trials, and 1,000 versions with 300 promotions.

Run: python benchmarks/large_stores.py

The commands themselves make a small sweep without training and one promotion; their rows in both databases are then
copied the requested number of times, with other ids, numbers and figures. It prints the processor seconds of each
command on the small and on the large store, and the difference, which is the cost of the size. The goal: 4 seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from contextlib import closing
from pathlib import Path

from architectures.fields import Whole

STUDY, MODEL = "large", "mnist5k-classifier"
EPOCHS = 5
SMALL = 12  # trials that the commands themselves make
SWEEP = f"""
from architectures.command import COLLECT_AFTER
from benchmarks.no_training import NoTraining
from search.config import SweepConfig
from search.orchestrate import sweep
import gc
import sys
gc.set_threshold(COLLECT_AFTER)  # as the command does
given = dict(study="{STUDY}", trials=int(sys.argv[1]), epochs={EPOCHS}, filters=(8,), architectures=("malireddi",),
             keep=2, register_as="swept", pruner="none", figures=False, tracking_uri="sqlite:///mlflow.db")
sweep(SweepConfig(**given, given=tuple(given)), engine=lambda setup: NoTraining(0.0))
"""
Row = dict[object, object]


def seconds(folder: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> float:
    """Processor seconds of a command."""
    before = os.times()
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        sys.exit(f"{' '.join(arguments)[:60]} ended with {done.returncode}: {done.stderr}")
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def copy(
    database: sqlite3.Connection,
    table: str,
    where: Row,
    columns: Row,
    values: tuple[str, str, Row] = ("", "", {}),
    *,
    drop: str = "",
) -> None:
    """Copy rows of a table.

    Args:
        database: that holds it.
        table: its name.
        where: columns that choose the rows.
        columns: what the copies hold in others' place, where the table has these columns.
        values: a column of keys, a column of values, and the values of some keys.
        drop: a column that the database fills.
    """
    terms = " AND ".join(f"{column} = ?" for column in where)
    cursor = database.execute(f"SELECT * FROM {table} WHERE {terms}", [*where.values()])  # our own names
    names = [each[0] for each in cursor.description]
    key, value, known = values
    for found in cursor.fetchall():
        row = dict(zip(names, found, strict=True))
        row |= {column: each for column, each in columns.items() if column in row}
        if row.get(key) in known:
            row[value] = known[row[key]]
        row.pop(drop, None)
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()])


def enlarge_study(folder: Path, trials: int) -> list[tuple[str, float, int]]:
    """Copy the study's last trial with its run; returns ids, accuracies and bytes of the runs."""
    random_ = random.Random(0)
    made = []
    with (
        closing(sqlite3.connect(folder / "optuna.db")) as study,
        closing(sqlite3.connect(folder / "mlflow.db")) as runs,
    ):
        (trial,) = study.execute(
            "SELECT t.trial_id FROM trials t LEFT JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND "
            "a.key = 'model_id' WHERE a.key IS NULL AND t.state = 'COMPLETE' ORDER BY t.number DESC LIMIT 1"
        ).fetchone()
        find = "SELECT value_json FROM trial_user_attributes WHERE trial_id = ? AND key = 'run_id'"
        run = {"run_uuid": json.loads(study.execute(find, (trial,)).fetchone()[0])}
        for number in range(SMALL, trials):
            run_id, new = uuid.UUID(int=random_.getrandbits(128), version=4).hex, {"trial_id": trial + number}
            accuracy, size = round(random_.uniform(0.3, 0.5), 6), random_.randint(30_000, 5_000_000)
            dropout = random_.uniform(0.01, 0.5)
            made.append((run_id, accuracy, size))
            of = {"trial_id": trial}
            steps: Row = dict.fromkeys(range(1, EPOCHS + 1), accuracy)  # type: ignore[arg-type]
            attributes: Row = {"run_id": json.dumps(run_id), "coreml_bytes": str(size)}
            copy(study, "trials", of, new | {"number": number})
            copy(study, "trial_values", of, new | {"value": accuracy}, drop="trial_value_id")
            drawn = ("param_name", "param_value", {"dropout": dropout})
            copy(study, "trial_params", of, new, drawn, drop="param_id")
            kept = ("key", "value_json", attributes)
            copy(study, "trial_user_attributes", of, new, kept, drop="trial_user_attribute_id")
            copy(study, "trial_system_attributes", of, new, drop="trial_system_attribute_id")
            course = ("step", "intermediate_value", steps)
            copy(study, "trial_intermediate_values", of, new, course, drop="trial_intermediate_value_id")
            name = f"malireddi-{number}"
            figures: Row = {"val_accuracy": accuracy, "best_val_accuracy": accuracy, "coreml_bytes": size}
            figures |= {"best_epoch": 1, "val_loss": 0.3, "best_val_loss": 0.3}
            other: Row = {"run_uuid": run_id, "name": name}
            copy(runs, "runs", run, other)
            for table in ("metrics", "latest_metrics"):
                copy(runs, table, run, other, ("key", "value", figures))
            copy(runs, "tags", run, other, ("key", "value", {"trial_number": str(number), "mlflow.runName": name}))
            copy(runs, "params", run, other, ("key", "value", {"dropout": str(dropout)}))
        study.commit()
        runs.commit()
    return made


def enlarge_registry(folder: Path, made: list[tuple[str, float, int]], versions: int, promotions: int) -> None:
    """Copy the last version, for other runs, and the promotion."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        for name, many in ((MODEL, versions), (f"{MODEL}-coreml", promotions)):
            find = "SELECT max(CAST(version AS INTEGER)) FROM model_versions WHERE name = ?"
            (last,) = database.execute(find, (name,)).fetchone()
            of = {"name": name, "version": last}
            for number, (run_id, accuracy, size) in zip(range(last + 1, many + 1), made, strict=False):
                other: Row = {"version": number} | ({"run_id": run_id} if name == MODEL else {})
                figures: Row = {"best_val_accuracy": repr(accuracy), "expected_coreml_bytes": str(size)}
                copy(database, "model_versions", of, other)
                copy(database, "model_version_tags", of, other, ("key", "value", figures))
        database.commit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=Whole(SMALL, 100_000), default=2_000)
    parser.add_argument("--versions", type=Whole(SMALL, 100_000), default=1_000)
    parser.add_argument("--promotions", type=Whole(1, 100_000), default=300)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the stores there, and leave them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.keep or Path(name)
        small, large = folder / "small", folder / "large"
        if not large.exists():
            small.mkdir(parents=True)
            seconds(small, "-c", SWEEP, str(SMALL))
            seconds(small, "-m", "search.trial", "--epochs", "1", "--architecture", "pocket")
            seconds(small, "-m", "conversion.promote")
            shutil.copytree(small, large)
            made = enlarge_study(large, arguments.trials)
            enlarge_registry(large, made, arguments.versions, arguments.promotions)
        for what, line in {
            "continuing the study": ("-c", SWEEP, None),
            "search.doctor": ("-m", "search.doctor", "--json"),
            "conversion.promote --dry-run": ("-m", "conversion.promote", "--dry-run", "--output", "other.mlmodel"),
            "experiments.leaderboard --json --limit 0": ("-m", "experiments.leaderboard", "--json", "--limit", "0"),
        }.items():
            both = []
            for place, trials in ((small, SMALL), (large, arguments.trials)):
                given = [str(trials) if each is None else each for each in line]
                both.append(seconds(place, *given, codes=(0, 1, 3)))
            print(f"{what}: {both[0]:.1f} s small, {both[1]:.1f} s large, {both[1] - both[0]:+.1f} s", flush=True)


if __name__ == "__main__":
    main()
