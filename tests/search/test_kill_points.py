"""A sweep that is struck at random statements of its databases, or at chosen writes, and continued: nothing is lost.

The training does nothing here; studies, runs, metrics and models are written to real databases. A strike comes before
or after a statement that any of the two databases is sent, wherever that is. It is `os._exit`, as by kill -9: nothing
is flushed or closed; or SIGTERM; or the kill -9 of a worker process.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient
from optuna.trial import FrozenTrial, TrialState

from search.study.results import RESAMPLED, values_by_epoch
from tests.support.commands import Outcome
from tests.support.killed_at import KILLED, arm
from tests.support.stores import MadeOnce
from tests.support.sweeps import assert_nothing_lost, study_of
from tests.support.warm import warm_context

OBJECTIVES = (("val_accuracy",), ("val_accuracy", "coreml_bytes"))

SEEDS = [pytest.param(seed, marks=pytest.mark.slow if seed else ()) for seed in range(30)]
TRIALS, EPOCHS = 3, 2  # and their replicates; one model more than are kept
BY_KILL, BY_TERM, A_WORKER = "the sweep by kill -9", "the sweep by SIGTERM", "a worker process by kill -9"
STRUCK = 10  # the exit code of a sweep that was struck and came to an end of its own

# A write to a store, which of its calls, and on which side of it the process ends at once, as by kill -9.
KILL_POINTS = (
    ("experiments.tracking.store:Store.log", 1, "before"),  # the parent run has no parameters
    ("search.study.study:Study.create", 1, "before"),
    ("search.study.study:open_storage", 1, "after"),
    ("search.study.lifecycle:Lifecycle.ask", 1, "before"),
    ("search.study.lifecycle:Lifecycle.ask", 1, "after"),
    ("experiments.tracking.store:Store.log", 2, "before"),  # the trial's run has no parameters
    ("experiments.tracking.writer:Writer.start_run", 1, "after"),
    ("experiments.tracking.writer:Writer.log_epoch", 2, "before"),
    ("experiments.tracking.models:Models.store", 1, "after"),
    ("mlflow:MlflowClient.finalize_logged_model", 1, "before"),
    ("experiments.tracking.writer:Writer.finish", 1, "before"),
    ("search.study.lifecycle:Lifecycle.tell", 1, "before"),
    ("search.study.lifecycle:Lifecycle.tell", 1, "after"),
    ("experiments.tracking.registry:Registry.register", 1, "after"),
    ("search.ending:write_report", 1, "before"),
)
AROUND_THE_END = KILL_POINTS[10:12]  # of a trial: what MLflow holds must be there before the study is told


def run_sweep(
    folder: Path,
    trials: int,
    kill_at: int | tuple[str, int, str] | None,
    after: bool = False,
    counted: Path | None = None,
    struck: str = BY_KILL,
    **options: object,
) -> None:
    """In a process of its own: sweep in a folder, struck at the statement of that number, or one of KILL_POINTS."""
    os.chdir(folder)
    from sqlalchemy import Engine, event

    from search.config import SweepConfig
    from search.engines import WorkerFailed, local
    from search.engines.messages import WorkerSetup
    from search.orchestrate import sweep
    from tests.support.untrained import untrained

    if isinstance(kill_at, tuple):
        arm(*kill_at)
    statements, landed = 0, False
    engine: list[object] = []

    def place(setup: WorkerSetup) -> object:
        engine.append(untrained(setup, int(config.workers)))
        return engine[0]

    def count(*_: object, **__: object) -> None:
        nonlocal statements, landed
        statements += 1
        if landed or not isinstance(kill_at, int) or statements < kill_at:
            return
        if struck == BY_KILL:
            os._exit(KILLED)
        if struck == BY_TERM:
            landed = True
            os.kill(os.getpid(), signal.SIGTERM)
        elif engine and (workers := cast(local.LocalEngine, engine[0])._workers):  # else as soon as there are some
            landed = True
            os.kill(cast(int, workers[statements % len(workers)].worker.process.pid), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute" if after else "before_cursor_execute", count)
    config = SweepConfig(
        tracking_uri="sqlite:///mlflow.db",
        study="cut",
        trials=trials,
        epochs=EPOCHS,
        filters=(4, 8),
        pruner="none",
        keep=2,
        figures=False,
        replicates=1 if trials == TRIALS else 0,
    )
    config = replace(config, given=("trials",), **options)
    try:
        sweep(config, engine=place)
    except WorkerFailed:  # it had not started yet
        assert struck == A_WORKER
    if landed:
        sys.exit(STRUCK)
    if counted:
        counted.write_text(str(statements))


@pytest.fixture(scope="module")
def made(made_once: MadeOnce) -> Path:
    """A folder with an empty MLflow, and the number of statements that a whole sweep sends."""

    def sweep(folder: Path) -> Outcome:
        assert not (folder / "mlflow.db").exists()
        MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments(max_results=1)
        whole = folder / "whole"
        whole.mkdir()
        shutil.copy(folder / "mlflow.db", whole)
        assert run(whole, TRIALS, None, False, folder / "statements") == 0
        assert_nothing_lost(whole, "cut", TRIALS, EPOCHS)
        return Outcome(0, "null", "")

    return made_once("struck-sweep", sweep)[0]


@pytest.fixture
def uninterrupted(made: Path, made_once: MadeOnce) -> Callable[..., list[FrozenTrial]]:
    """The trials of a sweep that nothing strikes; each is made once, whatever strikes are compared with it."""

    def trials_of(trials: int, **options: Any) -> list[FrozenTrial]:
        def sweep(folder: Path) -> Outcome:
            shutil.copy(made / "mlflow.db", folder)
            assert run(folder, trials, None, **options) == 0
            return Outcome(0, "null", "")

        name = "-".join(map(str, ["whole", trials, options["epochs"], options["pruner"], *options["objectives"]]))
        return study_of(made_once(name, sweep)[0], "cut").trials

    return trials_of


def run(folder: Path, *arguments: object, **options: object) -> int | None:
    process = warm_context().Process(target=run_sweep, args=(folder, *arguments), kwargs=options)
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the sweep hangs"
    return process.exitcode


@pytest.mark.parametrize(
    "point",
    [pytest.param(point, marks=() if point in AROUND_THE_END else pytest.mark.slow) for point in KILL_POINTS],
    ids=lambda point: "-".join(map(str, point)),
)
def test_killed_at_a_write_and_continued(point: tuple[str, int, str], made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "mlflow.db", tmp_path)
    assert run(tmp_path, TRIALS, point) == KILLED
    assert run(tmp_path, TRIALS, None) == 0
    assert_nothing_lost(tmp_path, "cut", TRIALS, EPOCHS)


def drawn_options(chance: random.Random) -> dict[str, Any]:
    """What a sweep is asked for; a limit of 3,000 bytes makes the trials with 8 filters infeasible.

    Where something may be pruned, there are trials enough for the median to do it.
    """
    objectives = chance.choice(OBJECTIVES)
    pruner = chance.choice(("auto", "none", "halving", *(("hyperband",) if objectives == OBJECTIVES[0] else ())))
    return {
        "objectives": objectives,
        "pruner": pruner,
        "max_coreml_bytes": chance.choice((None, None, 3_000)),
        "workers": chance.choice((1, 1, 2)),
        "replicates": chance.choice((0, 1)),
        "epochs": {"none": 2, "halving": 6}.get(pruner, 4),  # with fewer no trial is pruned, or paused
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_struck_anywhere_and_continued(seed: int, made: Path, tmp_path: Path) -> None:
    """Each seed strikes at least once."""
    statements = int((made / "statements").read_text())
    chance = random.Random(seed)
    options = drawn_options(chance)
    trials, epochs = 3 if options["pruner"] == "none" else 5, options["epochs"]
    kinds = (BY_KILL, BY_KILL, BY_TERM) if options["workers"] == 1 else (BY_KILL, BY_TERM, A_WORKER, A_WORKER)
    folder = tmp_path
    for strike in range(chance.choice((1, 1, 1, 2))):
        kill_at, after, struck = chance.randint(1, statements), chance.random() < 0.5, chance.choice(kinds)
        while True:
            if not strike:
                folder = tmp_path / str(kill_at)
                folder.mkdir()
                shutil.copy(made / "mlflow.db", folder)
            code = run(folder, trials, kill_at, after, struck=struck, **options)
            assert code in (KILLED, STRUCK, -signal.SIGTERM, 0)
            if code or strike:
                break
            kill_at //= 2  # this sweep sends fewer statements: struck earlier, from a fresh start
    assert run(folder, trials, None, **options) == 0
    assert_nothing_lost(folder, "cut", trials, epochs)


REPORTED = "search.study.judge:Judge.report"
MARKED = "optuna.storages._cached_storage:_CachedStorage.set_trial_system_attr"  # as Hyperband does on each rung
UNTIL_ONE_IS_PRUNED = 7  # trials, with every pruner


@pytest.mark.parametrize(
    ("objectives", "pruner", "place"),
    [
        pytest.param(OBJECTIVES[0], "median", REPORTED, marks=pytest.mark.slow),
        pytest.param(OBJECTIVES[0], "hyperband", REPORTED, marks=pytest.mark.slow),
        pytest.param(OBJECTIVES[0], "hyperband", MARKED, marks=pytest.mark.slow),
        pytest.param(OBJECTIVES[1], "front", REPORTED, marks=pytest.mark.slow),
    ],
)
def test_a_trial_that_was_found_hopeless_is_pruned_though_its_sweep_was_killed(
    objectives: tuple[str, ...],
    pruner: str,
    place: str,
    uninterrupted: Callable[..., list[FrozenTrial]],
    made: Path,
    tmp_path: Path,
) -> None:
    options = {"objectives": objectives, "pruner": pruner, "epochs": 4}
    expected = uninterrupted(UNTIL_ONE_IS_PRUNED, **options)
    hopeless = next(trial.number for trial in expected if trial.state == TrialState.PRUNED)
    until_then = expected[: hopeless + 1]
    call = sum(
        sum(key.startswith(("completed_rung", RESAMPLED)) for key in trial.system_attrs)
        if place == MARKED
        else len(values_by_epoch(trial))
        for trial in until_then
    )
    shutil.copy(made / "mlflow.db", tmp_path)
    assert run(tmp_path, UNTIL_ONE_IS_PRUNED, (place, call, "after"), **options) == KILLED
    assert run(tmp_path, UNTIL_ONE_IS_PRUNED, None) == 0
    assert ends(study_of(tmp_path, "cut").trials) == ends(expected)


def ends(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    return [(trial.state, trial.params, values_by_epoch(trial)) for trial in trials]


PAUSE = "search.study.lifecycle:Lifecycle.requeue"
AROUND_A_PAUSE = (  # with one objective and with two in turn: what is written there does not depend on them
    (OBJECTIVES[1], (REPORTED, 4, "after")),
    (OBJECTIVES[1], (PAUSE, 1, "before")),
    (OBJECTIVES[0], (PAUSE, 1, "after")),
    (OBJECTIVES[1], ("search.study.lifecycle:Lifecycle.ask", 9, "after")),  # eight have started: a trial resumes
    (OBJECTIVES[0], ("search.trials.loop:end_pruned", 1, "before")),
    (OBJECTIVES[1], ("search.study.lifecycle:Lifecycle.adopt_paused", 1, "after")),
    (OBJECTIVES[0], ("experiments.tracking.writer:Writer.end", 12, "after")),  # the second prune, after ten pauses
    (OBJECTIVES[0], (REPORTED, 6, "after")),  # a trial that is pruned without going on
    (OBJECTIVES[1], (REPORTED, 6, "after")),
)
QUICK = AROUND_A_PAUSE[2]  # the one in `make test`


@pytest.mark.parametrize(
    ("objectives", "point"),
    [
        pytest.param(
            *case, id="-".join(map(str, (*case[0], *case[1]))), marks=() if case == QUICK else pytest.mark.slow
        )
        for case in AROUND_A_PAUSE
    ],
)
def test_a_sweep_killed_around_a_pause_ends_as_if_it_had_not_been(
    objectives: tuple[str, ...],
    point: tuple[str, int, str],
    uninterrupted: Callable[..., list[FrozenTrial]],
    made: Path,
    tmp_path: Path,
) -> None:
    options = {"objectives": objectives, "pruner": "halving", "epochs": 6}
    expected = uninterrupted(10, **options)
    shutil.copy(made / "mlflow.db", tmp_path)
    assert run(tmp_path, 10, point, **options) == KILLED
    assert run(tmp_path, 10, None) == 0
    assert_nothing_lost(tmp_path, "cut", 10, 6)
    found = ends(study_of(tmp_path, "cut").trials)
    assert found == ends(expected)
    assert {TrialState.COMPLETE, TrialState.PRUNED} == {state for state, *_ in found}
