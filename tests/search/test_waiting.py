"""Databases that another process holds, an MLflow that goes away at the end: waited for, said, interruptible."""

from __future__ import annotations

import importlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from experiments.databases import exclusive
from experiments.tracking import Tracker
from tests.support.commands import environment
from tests.support.servers import MlflowServer, wait_until
from tests.support.sweeps import assert_nothing_lost
from tests.support.warm import warm_context

AWAY_SECONDS = 8.0  # longer than SQLite waits by itself
STEPS = (  # of a sweep: what calls MLflow without the outbox
    "search.orchestrate:_open_study",
    "search.ending:evaluate_leftover_models",
    "search.ending:_register",
    "search.ending:write_report",
    "search.ending:end_parent",
)


def locked_at(folder: Path, steps: tuple[str, ...]) -> None:
    """In a process of its own: sweep, while MLflow is away from each of these steps on, for some seconds."""
    os.chdir(folder)
    with Path("err").open("w") as file:
        os.dup2(file.fileno(), 2)
    for step in steps:
        lock_at(folder, step)
    sweep_here()


def lock_at(folder: Path, step: str) -> None:
    """Let MLflow's database be locked at the first call of a step."""
    module, _, name = step.partition(":")
    holder = importlib.import_module(module)
    real = getattr(holder, name)

    calls = 0

    def away(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            (folder / f"away at {step}").touch()
            held = sqlite3.connect(folder / "mlflow.db", isolation_level=None, check_same_thread=False)
            held.execute("BEGIN EXCLUSIVE")
            threading.Timer(AWAY_SECONDS, held.rollback).start()
        return real(*arguments, **options)

    setattr(holder, name, away)


def sweep_here(uri: str = "sqlite:///mlflow.db") -> None:
    from search.config import SweepConfig
    from search.orchestrate import sweep
    from tests.support.untrained import untrained

    options: dict[str, Any] = {"trials": 2, "epochs": 2, "filters": (4, 8), "pruner": "none", "keep": 1}
    config = SweepConfig(uri, "away", figures=False, **options)
    sweep(config, engine=lambda setup: untrained(setup, 1))


def in_a_process(target: Callable[..., None], *arguments: object) -> int | None:
    process = warm_context().Process(target=target, args=arguments)
    process.start()
    process.join(180)
    return process.exitcode


@pytest.mark.parametrize(
    ("steps", "outages"),
    [(STEPS[2:3], 1), pytest.param(STEPS, 4, marks=pytest.mark.slow)],  # evaluating and registering: one for a person
    ids=["registering", "every step"],
)
def test_a_locked_mlflow_is_waited_for(steps: tuple[str, ...], outages: int, tmp_path: Path) -> None:
    Tracker(f"sqlite:///{tmp_path}/mlflow.db")
    assert in_a_process(locked_at, tmp_path, steps) == 0
    assert all((tmp_path / f"away at {step}").exists() for step in steps)
    assert (tmp_path / "err").read_text().count("MLflow is unavailable; waiting for it") == outages
    assert_nothing_lost(tmp_path, "away", 2, 2)


def killed_at(folder: Path, step: str, server: int, uri: str, killed: Path) -> None:
    """In a process of its own: sweep, while the server is killed at a step."""
    os.chdir(folder)
    module, _, name = step.partition(":")
    holder = importlib.import_module(module)
    real = getattr(holder, name)

    def away(*arguments: object, **options: object) -> object:
        if not killed.exists():
            os.killpg(server, signal.SIGKILL)
            killed.touch()
        return real(*arguments, **options)

    setattr(holder, name, away)
    sweep_here(uri)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS[2:4])
def test_a_server_that_goes_away_at_the_end_is_waited_for(step: str, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with MlflowServer(folder) as server:
        killed = tmp_path / "killed"
        assert server.process
        arguments = (tmp_path, step, server.process.pid, server.uri, killed)
        process = warm_context().Process(target=killed_at, args=arguments)
        process.start()
        wait_until(killed.exists)
        server.process.wait(30)
        time.sleep(4)
        assert process.is_alive()
        server.start()
        process.join(180)
        assert process.exitcode == 0
        assert_nothing_lost(tmp_path, "away", 2, 2, tracking_uri=server.uri)


def hold(path: str, url: str) -> None:
    with exclusive(url, "anything"):
        Path(path).touch()
        time.sleep(600)


@pytest.mark.parametrize("stopped", [pytest.param(True, marks=pytest.mark.slow), False])
def test_who_holds_a_lock_is_said_and_ctrl_c_ends_the_wait(stopped: bool, tmp_path: Path) -> None:
    url, held = f"sqlite:///{tmp_path}/optuna.db", tmp_path / "held"
    holder = warm_context().Process(target=hold, args=(str(held), url))
    holder.start()
    wait_until(held.exists)
    assert holder.pid
    if stopped:
        os.kill(holder.pid, signal.SIGSTOP)
    code = f"from experiments.databases import exclusive\nwith exclusive({url!r}, 'x'): pass"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as waiting:
        try:
            assert waiting.stderr
            said = waiting.stderr.readline()
            assert f"waiting for optuna.db-lock, held by process {holder.pid}" in said
            assert (f"is stopped (kill -CONT {holder.pid} resumes it)" in said) == stopped
            waiting.send_signal(signal.SIGINT)
            waiting.wait(20)
            assert waiting.returncode == -signal.SIGINT
        finally:
            waiting.kill()
            holder.kill()


def test_a_ctrl_c_that_was_only_noted_ends_the_next_wait() -> None:
    code = (
        "import os, signal\nfrom experiments.interruption import interruptible, pause\n"
        "with interruptible() as interrupted:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    try:\n        pause(60)\n    except KeyboardInterrupt:\n        print('ended')\n"
        "    assert interrupted()\n    pause(0)\n    print('went on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["ended", "went on", ""]


def open_store(folder: Path, kill: bool) -> None:
    os.chdir(folder)
    from experiments.tracking import store

    real = store._make_store

    def killed(uri: str) -> None:
        real(uri)
        os._exit(9)

    if kill:
        store._make_store = killed
    Tracker("sqlite:///mlflow.db").experiment("mine")


def test_an_empty_mlflow_db_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    """A look at it may have left it; two sweeps at once, after one that was killed in the middle."""
    (tmp_path / "mlflow.db").touch()
    assert in_a_process(open_store, tmp_path, True) == 9
    assert not (tmp_path / "mlflow.db").stat().st_size
    both = [warm_context().Process(target=open_store, args=(tmp_path, False)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("select count(*) from experiments where name = 'mine'").fetchone() == (1,)
