"""A sweep that is killed at random statements of its databases, or at chosen writes, and continued: nothing is lost.

The training does nothing here; studies, runs, metrics and models are written to real databases. A kill is `os._exit`
before or after a statement that any of the two databases is sent, wherever that is: nothing is flushed or closed.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import sys
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from killed_at import KILLED, arm
from mlflow import MlflowClient
from optuna.trial import TrialState
from sweeps import BENCHMARKS, assert_nothing_lost, study_of

from search.config import OBJECTIVES
from search.standing import val_accuracies

SEEDS = range(30)
TRIALS, EPOCHS = 4, 3

# A write to a store, which of its calls, and on which side of it the process ends at once, as by kill -9.
KILL_POINTS = (
    ("experiments.tracking:Tracker._log", 1, "before"),  # the parent run has no parameters
    ("search.study:Study.create", 1, "before"),
    ("search.study:open_storage", 1, "after"),
    ("search.study:Study.ask", 1, "before"),
    ("search.study:Study.ask", 1, "after"),
    ("experiments.tracking:Tracker._log", 2, "before"),  # the trial's run has no parameters
    ("experiments.tracking:Tracker.start_run", 1, "after"),
    ("experiments.tracking:Tracker.log_epoch", 2, "before"),
    ("experiments.tracking:Tracker._store", 1, "after"),
    ("mlflow:MlflowClient.finalize_logged_model", 1, "before"),
    ("experiments.tracking:Tracker.finish", 1, "before"),
    ("search.study:Study.tell", 1, "before"),
    ("search.study:Study.tell", 1, "after"),
    ("experiments.tracking:Tracker.register", 1, "after"),
    ("search.report:write_report", 1, "before"),
)


def run_sweep(
    folder: Path,
    trials: int,
    kill_at: int | tuple[str, int, str] | None,
    after: bool = False,
    counted: Path | None = None,
    **options: object,
) -> None:
    """In a process of its own: sweep in a folder, and end at the statement of that number, or one of KILL_POINTS."""
    os.chdir(folder)
    sys.path.insert(0, str(BENCHMARKS))
    from no_training import NoTraining
    from sqlalchemy import Engine, event

    from search.config import SweepConfig
    from search.orchestrate import sweep

    if isinstance(kill_at, tuple):
        arm(*kill_at)
    statements = 0

    def count(*_: object, **__: object) -> None:
        nonlocal statements
        statements += 1
        if statements == kill_at:
            os._exit(KILLED)

    event.listen(Engine, "after_cursor_execute" if after else "before_cursor_execute", count)
    config = SweepConfig(
        tracking_uri="sqlite:///mlflow.db",
        study="cut",
        trials=trials,
        epochs=EPOCHS,
        filters=(4, 8),
        pruner="none",
        keep=2,
        replicates=1 if trials == TRIALS else 0,
    )
    config = replace(config, **options)
    sweep(config, {"trials": trials}, engine=lambda _: NoTraining())
    if counted:
        counted.write_text(str(statements))


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Processes forked from one that has imported what a sweep does, but not TensorFlow."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["search.orchestrate", "search.report", "mlflow.keras", "sklearn.metrics"])
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, context: ForkServerContext) -> Path:
    """A folder with empty databases, and the number of statements that a whole sweep sends."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("mlflow.db", "optuna.db"):
        assert not (folder / name).exists()
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments(max_results=1)
    whole = tmp_path_factory.mktemp("whole")
    shutil.copy(folder / "mlflow.db", whole)
    assert run(context, whole, TRIALS, None, False, folder / "statements") == 0
    assert_nothing_lost(whole, "cut", TRIALS, EPOCHS)
    return folder


def run(context: ForkServerContext, folder: Path, *arguments: object, **options: object) -> int | None:
    process = context.Process(target=run_sweep, args=(folder, *arguments), kwargs=options)
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the sweep hangs"
    return process.exitcode


@pytest.mark.parametrize("point", KILL_POINTS, ids=lambda point: "-".join(map(str, point)))
def test_killed_at_a_write_and_continued(
    point: tuple[str, int, str], made: Path, tmp_path: Path, context: ForkServerContext
) -> None:
    shutil.copy(made / "mlflow.db", tmp_path)
    assert run(context, tmp_path, TRIALS, point) == KILLED
    assert run(context, tmp_path, TRIALS, None) == 0
    assert_nothing_lost(tmp_path, "cut", TRIALS, EPOCHS)


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_anywhere_and_continued(seed: int, made: Path, tmp_path: Path, context: ForkServerContext) -> None:
    shutil.copy(made / "mlflow.db", tmp_path)
    statements = int((made / "statements").read_text())
    chance = random.Random(seed)
    for kill_at in chance.choices(range(1, statements + 1), k=chance.choice((1, 1, 1, 2))):
        assert run(context, tmp_path, TRIALS, kill_at, chance.random() < 0.5) in (KILLED, 0)
    assert run(context, tmp_path, TRIALS, None) == 0
    assert_nothing_lost(tmp_path, "cut", TRIALS, EPOCHS)


@pytest.mark.parametrize(
    ("objectives", "pruner"), [*((OBJECTIVES[0], one) for one in ("median", "hyperband")), (OBJECTIVES[1], "front")]
)
def test_a_trial_that_was_found_hopeless_is_pruned_though_its_sweep_was_killed(
    objectives: tuple[str, ...], pruner: str, made: Path, tmp_path: Path, context: ForkServerContext
) -> None:
    options = {"objectives": objectives, "pruner": pruner, "epochs": 4}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
        shutil.copy(made / "mlflow.db", folder)
    assert run(context, whole, 10, None, **options) == 0
    expected = study_of(whole, "cut").trials
    hopeless = next(trial.number for trial in expected if trial.state == TrialState.PRUNED)
    reports = sum(len(val_accuracies(trial)) for trial in expected[: hopeless + 1])
    assert run(context, cut, 10, ("search.study:Study.report", reports, "after"), **options) == KILLED
    assert run(context, cut, 10, None) == 0
    ends = [
        [(trial.state, trial.params, val_accuracies(trial)) for trial in study_of(folder, "cut").trials]
        for folder in (whole, cut)
    ]
    assert ends[0] == ends[1]
