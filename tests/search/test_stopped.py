"""A sweep that is stopped past the takeover, at thirty of its writes, and continued beside the one that took over."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from experiments.tracking import Tracker
from search.repair.examination import examine
from search.study.storage import open_storage
from tests.support.commands import Outcome
from tests.support.servers import wait_until
from tests.support.stopped_at import RACE_SECONDS, run, silence
from tests.support.stores import DATABASES, MadeOnce
from tests.support.sweeps import assert_nothing_lost, metric_points
from tests.support.warm import warm_context

TRIALS, EPOCHS = 2, 2
BLOCKED_SECONDS = 6.0  # after which a sweep that has not ended waits for what the stopped one has locked
QUICK = 22  # the strike that `make test` makes: in the middle of a trial
STRIKES = 30  # spread evenly over all writes of a sweep


@pytest.fixture(scope="module")
def made(made_once: MadeOnce) -> Path:
    """A folder with empty databases, and the names of the writes of a whole sweep."""

    def sweep(folder: Path) -> Outcome:
        Tracker(f"sqlite:///{folder / 'mlflow.db'}")
        open_storage(f"sqlite:///{folder / 'optuna.db'}")
        whole = folder / "whole"
        whole.mkdir()
        copy_databases(folder, whole)
        process = warm_context().Process(target=run, args=(whole,), kwargs={"names": folder / "writes"})
        process.start()
        process.join(120)
        assert process.exitcode == 0
        assert_whole(whole)
        return Outcome(0, "null", "")

    return made_once("stopped-sweep", sweep)[0]


def copy_databases(source: Path, target: Path) -> None:
    for name in DATABASES:
        shutil.copy(source / name, target)


def assert_whole(folder: Path) -> None:
    """Nothing is lost, nothing stands twice, and nothing is left over; the doctor agrees."""
    assert_nothing_lost(folder, "stopped", TRIALS, EPOCHS)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = {run.info.run_id: run for run in client.search_runs(experiments)}
    parents = {run_id for run_id, found in runs.items() if found.data.tags.get("sweep") == "parent"}
    for (run_id, metric), points in metric_points(uri, runs.values()).items():
        steps = points if run_id in parents else [step for step, _ in points]  # a parent's figures grow
        assert len(set(steps)) == len(points), (metric, points)
    models = client.search_logged_models(experiments)
    assert {model.source_run_id for model in models} <= runs.keys()
    with closing(sqlite3.connect(folder / "optuna.db")) as database:
        assert not database.execute("select count(*) from trials where state in ('RUNNING', 'WAITING')").fetchone()[0]
    assert examine(f"sqlite:///{folder / 'optuna.db'}", uri) == []


def running(folder: Path, owner: int) -> set[int]:
    """The numbers of the running trials that belong to a process."""
    query = "select number, value_json from trials natural join trial_user_attributes where key = 'owner' and state = ?"
    with closing(sqlite3.connect(folder / "optuna.db")) as database:
        return {
            number
            for number, told in database.execute(query, ("RUNNING",))
            if json.loads(json.loads(told))["pid"] == owner
        }


def is_locked(folder: Path) -> bool:
    """Whether the stopped sweep has the study locked: others wait for that, however long it has been silent."""
    for path in folder.glob("optuna.db-*lock"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def strike(folder: Path, made: Path, write: int, *, race: bool) -> set[int]:
    """Stop a sweep before a write, let another take over, continue the first; `race`: while the other is at work.

    Returns the trials that were taken over.
    """
    copy_databases(made, folder)
    stopped, other = (
        warm_context().Process(target=run, args=(folder,), kwargs=options)
        for options in ({"stop_at": write}, {"epoch_seconds": RACE_SECONDS if race else 0.0})
    )
    stopped.start()
    assert stopped.pid
    try:
        deadline = time.monotonic() + 60
        while psutil.Process(stopped.pid).status() != psutil.STATUS_STOPPED:
            assert stopped.exitcode is None, "it ended before that write"
            assert time.monotonic() < deadline, "it did not come to that write"
            time.sleep(0.02)
        taken = running(folder, stopped.pid) if silence(folder) and not is_locked(folder) else set()
        other.start()
        if taken:
            wait_until(lambda: not running(folder, stopped.pid), seconds=120)
        other.join((RACE_SECONDS if taken else 3.0) if race else BLOCKED_SECONDS)
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    for process in (stopped, other):
        process.join(120)
        assert process.exitcode == 0
    assert_whole(folder)
    return taken


@pytest.mark.parametrize(
    ("point", "race"),
    [
        pytest.param(
            point,
            race,
            id=f"{point}-{'at-work' if race else 'done'}",
            marks=() if point == QUICK else pytest.mark.slow,
        )
        for point in range(STRIKES)
        for race in (point % 3 == 0,)
    ],
)
def test_stopped_past_the_takeover_and_continued(point: int, race: bool, made: Path, tmp_path: Path) -> None:
    writes = (made / "writes").read_text().splitlines()
    taken = strike(tmp_path, made, 1 + point * (len(writes) - 1) // (STRIKES - 1), race=race)
    assert taken or point != QUICK
