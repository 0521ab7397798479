"""What sweeps on several hosts live through: shared studies, servers and databases that go away, hosts that die."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from mlflow import MlflowClient
from optuna.trial import TrialState

from experiments.names import folder_name
from tests.support.components import require
from tests.support.servers import AnyProcess, MlflowServer, PostgresServer, wait_until
from tests.support.sweeps import DIGITS, PUBLISHED, TINY, assert_nothing_lost, load_study
from tests.support.sweeps import start as start_sweep
from tests.support.warm import Program

EPOCHS = 4
Start = Callable[..., Program]  # (epoch_seconds, *, elsewhere=False, **options of SweepConfig)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path) as started:
        yield started


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[MlflowServer]:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    with MlflowServer(folder) as started:
        yield started


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a sweep whose training does nothing, in the test's folder; `elsewhere`: on a host of another name."""
    started: list[Program] = []

    def begin(epoch_seconds: float, *, elsewhere: bool = False, **options: object) -> Program:
        config = {"study": "shared", "epochs": EPOCHS, "pruner": "none", "keep": 2} | options
        module = "tests.support.elsewhere" if elsewhere else "tests.support.untrained"
        started.append(Program(module, json.dumps(config), str(epoch_seconds), cwd=tmp_path))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def finished(process: AnyProcess, seconds: float = 240) -> str:
    """What a sweep wrote to stderr, once it has ended well."""
    _, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return err


def stop_outside_a_transaction(process: Program, storage: str) -> None:
    """Stop a process while it holds no lock in PostgreSQL, which it would hold as long as it stands."""
    engine = sqlalchemy.create_engine(storage, poolclass=sqlalchemy.NullPool)
    of_others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    in_transaction = sqlalchemy.text(f"SELECT count(*) {of_others} AND state <> 'idle'")

    def is_stopped() -> bool:
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)  # a statement that was sent may still run
        with engine.connect() as connection:
            busy = connection.scalar(in_transaction)
        if busy:
            process.send_signal(signal.SIGCONT)
        return not busy

    wait_until(is_stopped, process)


def trials_of(storage: str) -> list[optuna.trial.FrozenTrial]:
    return load_study(storage, "shared").trials


def count(storage: str, state: TrialState) -> int:
    return sum(trial.state == state for trial in trials_of(storage))


def in_the_middle(storage: str) -> bool:
    """Whether a trial runs that has reported an epoch."""
    return any(trial.state == TrialState.RUNNING and trial.intermediate_values for trial in trials_of(storage))


def host_of(trial: optuna.trial.FrozenTrial) -> str:
    return json.loads(trial.user_attrs["owner"])["host"]


def require_other_host() -> None:
    able = subprocess.run(["unshare", "--uts", "hostname", "elsewhere"], capture_output=True, check=False)
    require(able.returncode == 0, install="nothing: changing the host name for a test needs root")


@pytest.mark.slow
def test_two_sweeps_started_at_once_on_fresh_databases(tmp_path: Path, start: Start) -> None:
    both = [start(0.05, tracking_uri="sqlite:///mlflow.db", trials=11) for _ in range(2)]
    for process in both:
        finished(process)
    assert_nothing_lost(tmp_path, "shared", 11, EPOCHS)
    owners = {json.loads(trial.user_attrs["owner"])["pid"] for trial in trials_of(f"sqlite:///{tmp_path}/optuna.db")}
    assert owners == {process.pid for process in both}
    configurations = [tuple(trial.params.items()) for trial in trials_of(f"sqlite:///{tmp_path}/optuna.db")]
    assert len(set(configurations)) > 8  # they do not draw the same things


@pytest.mark.slow
def test_two_sweeps_share_a_study_on_postgresql_and_one_is_killed(
    tmp_path: Path, database: PostgresServer, mlflow_server: MlflowServer
) -> None:
    """Real sweeps on a PostgreSQL study and an MLflow server, both fresh; the survivor ends the other's trial."""
    stores = ["--storage", database.url, "--tracking-uri", mlflow_server.uri, "--study", "shared"]
    arguments = [*stores, "--trials", "4", *TINY, *DIGITS, *PUBLISHED]
    arguments[arguments.index("--epochs") + 1] = "8"
    both = [start_sweep(tmp_path, *arguments) for _ in range(2)]
    try:

        def victim() -> bool:
            running = [t for t in trials_of(database.url) if t.state == TrialState.RUNNING and t.intermediate_values]
            return any(json.loads(trial.user_attrs["owner"])["pid"] == both[0].pid for trial in running)

        wait_until(victim, *both)
        both[0].kill()
        both[0].communicate()
        assert "owner is gone; requeued" in finished(both[1], 400)
    finally:
        for process in both:
            if process.poll() is None:
                process.kill()
                process.wait()
    assert_nothing_lost(tmp_path, "shared", 4, 8, storage=database.url, tracking_uri=mlflow_server.uri)


@pytest.mark.slow
def test_trials_of_a_dead_host_are_taken_over(tmp_path: Path, database: PostgresServer, start: Start) -> None:
    options = {"tracking_uri": "sqlite:///mlflow.db", "storage": database.url, "trials": 6, "takeover_after": 4}
    require_other_host()
    other = start(0.5, elsewhere=True, **options)
    wait_until(
        lambda: any(t.state == TrialState.RUNNING and t.intermediate_values for t in trials_of(database.url)), other
    )
    other.kill()
    other.wait()
    said = finished(start(0.02, **options))
    # Its start alone may have taken longer than a sign of life is waited for.
    assert "owner is gone" in said or "taking up 1 interrupted trial" in said, said
    assert_nothing_lost(tmp_path, "shared", 6, EPOCHS, storage=database.url)
    assert count(database.url, TrialState.COMPLETE) == 6


@pytest.mark.slow
def test_a_silent_host_that_comes_back_leaves_its_trial_to_the_other(
    tmp_path: Path, database: PostgresServer, mlflow_server: MlflowServer, start: Start
) -> None:
    stores = {"tracking_uri": mlflow_server.uri, "storage": database.url}
    options = stores | {"trials": 5, "takeover_after": 4}
    require_other_host()
    other = start(0.5, elsewhere=True, **options)
    wait_until(
        lambda: any(t.state == TrialState.RUNNING and t.intermediate_values for t in trials_of(database.url)), other
    )
    stop_outside_a_transaction(other, database.url)
    left = next(trial.number for trial in trials_of(database.url) if trial.state == TrialState.RUNNING)
    survivor = start(1.0, **options)
    wait_until(lambda: host_of(trials_of(database.url)[left]) == platform.node(), survivor)  # it is the survivor's now
    other.send_signal(signal.SIGCONT)
    assert "taken over by another sweep" in finished(other)
    finished(survivor)
    assert_nothing_lost(tmp_path, "shared", 5, EPOCHS, **stores)


@pytest.mark.slow
def test_postgresql_is_killed_and_comes_back_after_twenty_seconds(
    tmp_path: Path, database: PostgresServer, start: Start
) -> None:
    options = {"tracking_uri": "sqlite:///mlflow.db", "storage": database.url, "trials": 6}
    both = [start(0.3, **options) for _ in range(2)]
    wait_until(lambda: count(database.url, TrialState.COMPLETE) >= 1, *both)
    database.kill()
    time.sleep(20)
    database.start()
    for process in both:
        assert "the study storage does not answer; waiting for it" in finished(process)
    assert_nothing_lost(tmp_path, "shared", 6, EPOCHS, storage=database.url)


def test_the_mlflow_server_is_killed_and_training_goes_on(
    tmp_path: Path, mlflow_server: MlflowServer, start: Start
) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    process = start(0.2, tracking_uri=mlflow_server.uri, storage=storage, trials=7)
    wait_until(lambda: count(storage, TrialState.COMPLETE) >= 2, process)
    mlflow_server.kill()
    before = len(trials_of(storage))
    wait_until(lambda: len(trials_of(storage)) >= before + 2, process)  # further trials were started meanwhile
    assert list((tmp_path / "mlflow-outbox" / folder_name("shared")).glob("*.jsonl"))
    mlflow_server.start()
    err = finished(process)
    assert "MLflow is unavailable; training continues" in err
    assert "MLflow is back" in err
    assert_nothing_lost(tmp_path, "shared", 7, EPOCHS, storage=storage, tracking_uri=mlflow_server.uri)


@pytest.mark.slow
def test_server_and_sweep_are_killed_and_what_was_kept_on_disk_is_delivered(
    tmp_path: Path, mlflow_server: MlflowServer, start: Start
) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db"
    options = {"tracking_uri": mlflow_server.uri, "storage": storage, "trials": 6}
    process = start(0.2, **options)
    wait_until(lambda: count(storage, TrialState.COMPLETE) >= 1, process)
    mlflow_server.kill()
    kept = tmp_path / "mlflow-outbox" / folder_name("shared")
    wait_until(lambda: any('"finish"' in path.read_text() for path in kept.glob("*.jsonl")), process)
    process.kill()
    process.communicate()
    mlflow_server.start()
    assert "result delivered from disk to MLflow" in finished(start(0.0, **options))
    assert_nothing_lost(tmp_path, "shared", 6, EPOCHS, storage=storage, tracking_uri=mlflow_server.uri)
    client = MlflowClient(mlflow_server.uri)
    for trial in trials_of(storage):  # with the times at which they were measured
        points = client.get_metric_history(trial.user_attrs["run_id"], "loss")
        assert [point.timestamp for point in points] == sorted(point.timestamp for point in points)
