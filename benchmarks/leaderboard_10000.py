"""Measure the leaderboard and the search for the best run among 10,000 runs in MLflow.

Run: python benchmarks/leaderboard_10000.py

One run is written as a sweep writes it; the others are its copies with other names, widths, metrics and studies,
inserted through MLflow's own table classes, since 10,000 runs through its client take ten minutes. Every hundredth
run's model is a registered version. It prints the seconds of each query in a process that has imported MLflow, in turn
with reading all runs, and those of whole commands.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from architectures.quiet import set_defaults

set_defaults()

EXPERIMENT = "mnist5k"
STUDY_RUNS = 100  # of one study
VERSION_EVERY = 100  # runs
REPLICATE_EVERY = 50  # runs: two further seeds
EPOCHS = 10
ARCHITECTURES = ("malireddi", "chollet", "resnet", "pocket")


def make_store(uri: str, runs: int, *, seed: int = 0) -> None:
    """Fill an empty store."""
    import numpy as np
    from mlflow.store.tracking.dbmodels import models as tables
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    from experiments.config import EpochMetrics, ModelSize, RunConfig
    from experiments.datasets import Dataset, Split
    from experiments.tracking import Tracker, dataset_facts, environment, run_start

    tracker = Tracker(uri)
    split = Split(np.zeros((500, 28, 28, 1), np.uint8), np.zeros(500, np.int64))
    dataset = Dataset(EXPERIMENT, tuple("0123456789"), split, split, split)
    config = RunConfig("pocket", EXPERIMENT, filters=8, dropout=0.1)
    study = {"study": "study-0", "trial_number": 0}
    experiment_id = tracker.experiment(EXPERIMENT)
    parent = tracker.parents.start(experiment_id, "study-0", {}, dataset=dataset_facts(dataset, EXPERIMENT))
    tracker.writer.end(parent, "FINISHED")
    facts = {"dataset": dataset, "environment": environment(2), "parent": parent, **study}
    first = tracker.writer.start_run(run_start(experiment_id, "pocket-0", config, **facts))
    tracker.writer.log_size(first, ModelSize(4_954, 300_000, 21_224))
    for epoch in range(1, EPOCHS + 1):
        tracker.writer.log_epoch(first, EpochMetrics(epoch, 0.1, 0.9, 0.1, 0.9, 0.5))
    ended = {"best_epoch": EPOCHS, "best_val_accuracy": 0.9, "best_val_loss": 0.1, "keras_bytes": 43_210}
    tracker._store.log(first, metrics=ended | {"host_latency_ms": 0.9, "images_per_second": 9_000.0})
    tracker.writer.end(first, "FINISHED")

    store = _get_sqlalchemy_store(uri, None)
    random_ = random.Random(seed)
    kinds = (tables.SqlRun, tables.SqlParam, tables.SqlTag, tables.SqlMetric, tables.SqlLatestMetric)
    with store.ManagedSessionMaker(read_only=False) as session:
        template = {}
        for kind in kinds:
            found = session.query(kind).filter(kind.run_uuid == first).all()
            template[kind] = [{key.name: getattr(row, key.key) for key in kind.__mapper__.columns} for row in found]
        rows: dict[Any, list[dict[str, Any]]] = {kind: [] for kind in kinds}
        for number in range(1, runs):
            run_id = uuid.UUID(int=random_.getrandbits(128), version=4).hex
            architecture = random_.choice(ARCHITECTURES)
            study_number = number // STUDY_RUNS
            changed = {
                "architecture": architecture,
                "filters": str(random_.choice((8, 16, 32))),
                "seed": "0",
                "study": f"study-{study_number}",
                "trial_number": str(number % STUDY_RUNS),
                "mlflow.runName": f"{architecture}-{number % STUDY_RUNS}",
                "best_val_accuracy": round(random_.betavariate(12, 1.5) * 500) / 500,
                "coreml_bytes": float(random_.randint(20_000, 5_000_000)),
            }
            replicate = {"replicate_of": str((number - number % REPLICATE_EVERY + 1) % STUDY_RUNS)}
            if number % REPLICATE_EVERY not in (2, 3):
                replicate = {}
            for kind in kinds:
                for row in template[kind]:
                    made = row | {"run_uuid": run_id}
                    if row.get("key") in changed:
                        made["value"] = changed[row["key"]]
                    if kind is tables.SqlRun:
                        made |= {"name": changed["mlflow.runName"], "start_time": row["start_time"] + number}
                        made["artifact_uri"] = row["artifact_uri"].replace(first, run_id)
                    rows[kind].append(made)
            if number % REPLICATE_EVERY == 1:
                replicate = {"replicated": "True"}
            for key, value in replicate.items():
                rows[tables.SqlTag].append({"key": key, "value": value, "run_uuid": run_id})
            if number % 1_000 == 0 or number == runs - 1:
                for kind in kinds:
                    session.bulk_insert_mappings(kind, [_by_attribute(kind, row) for row in rows[kind]])
                    rows[kind].clear()


def _by_attribute(kind: Any, row: dict[str, Any]) -> dict[str, Any]:
    names = {column.name: attribute.key for attribute in kind.__mapper__.column_attrs for column in attribute.columns}
    return {names[key]: value for key, value in row.items()}


def register_some(uri: str) -> None:
    """Make versions of every so many runs, with the tags of a kept model and no files."""
    from mlflow.store.model_registry.dbmodels import models as tables
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    from experiments.tracking import Selection, Tracker, is_original

    tracker = Tracker(uri)
    name = f"{EXPERIMENT}-classifier"
    tracker._client.create_registered_model(name)
    chosen = list(filter(is_original, tracker.selections.finished(Selection(EXPERIMENT))))[::VERSION_EVERY]
    with _get_sqlalchemy_store(uri, None).ManagedSessionMaker(read_only=False) as session:
        for version, run in enumerate(chosen, 1):
            at = {"name": name, "version": version}
            now = int(time.time() * 1000)
            times = {"creation_time": now, "last_updated_time": now}
            session.add(tables.SqlModelVersion(**at, **times, source="file:///nowhere", run_id=run.run_id))
            tags = {"model_id": f"m-{run.run_id}", "keras_sha256": "0" * 64}
            tags |= {"best_val_accuracy": repr(run.metrics["best_val_accuracy"])}
            tags |= {"expected_coreml_bytes": str(int(run.metrics["coreml_bytes"]))}
            session.flush()
            session.add_all(tables.SqlModelVersionTag(**at, key=key, value=value) for key, value in tags.items())


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def command_seconds(folder: Path, *arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    from experiments.tracking import Selection, Tracker
    from experiments.views import leaderboard

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        started = time.perf_counter()
        make_store(uri, arguments.runs)
        register_some(uri)
        print(f"{arguments.runs:,} runs made in {time.perf_counter() - started:.0f} s", flush=True)
        tracker = Tracker(uri)
        every = Selection(EXPERIMENT)
        looks: dict[str, Callable[[], object]] = {
            "the best run": lambda: tracker.selections.best(every, 1),
            "the best registered version": lambda: tracker.registry.best(f"{EXPERIMENT}-classifier"),
            "leaderboard": lambda: leaderboard.rows(tracker, every, limit=11),
            "leaderboard of one study": lambda: leaderboard.rows(tracker, Selection(EXPERIMENT, "study-7"), limit=11),
            "leaderboard of two architectures": lambda: leaderboard.rows(
                tracker, Selection(EXPERIMENT, None, ARCHITECTURES[:2]), limit=11
            ),
            "leaderboard of versions": lambda: leaderboard.version_rows(
                tracker, f"{EXPERIMENT}-classifier", every, limit=11
            ),
        }
        whole = leaderboard.rows(tracker, every)
        for number, look in enumerate(looks.values()):
            first = time.perf_counter()
            look()
            if number == 0:
                print(f"first look at a store that SQLite has no statistics of: {time.perf_counter() - first:.2f} s")
        assert leaderboard.rows(tracker, every, limit=100) == whole[:100]
        for what, look in looks.items():
            print(f"{what}: {median_seconds(look, arguments.repeats):.2f} s", flush=True)
        reading = median_seconds(lambda: leaderboard.rows(tracker, every), 1)
        print(f"for comparison, a leaderboard of all {arguments.runs:,} runs: {reading:.1f} s")
        imports = "from architectures.quiet import set_defaults; set_defaults(); from mlflow import MlflowClient"
        for what, line in {
            "python and MLflow alone": ["-c", imports],
            "python -m experiments.leaderboard": ["-m", "experiments.leaderboard"],
        }.items():
            taken = median_seconds(lambda line=line: command_seconds(folder, *line), 3)  # type: ignore[misc]
            print(f"{what}, whole command: {taken:.1f} s")


if __name__ == "__main__":
    main()
