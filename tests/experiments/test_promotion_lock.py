"""The promotion lock, on each kind of store: one holder at a time, free at its death, and told to those who wait."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import locks
from experiments.tracking import Tracker
from tests.support.locks import Holder
from tests.support.servers import MlflowServer, PostgresServer, wait_until
from tests.support.warm import Program

KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow), pytest.param("server", marks=pytest.mark.slow)]


@pytest.fixture(params=KINDS)
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A store of each kind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'mlflow.db'}"
    elif request.param == "postgresql":
        with PostgresServer(tmp_path) as database:
            yield database.url
    else:
        with MlflowServer(tmp_path) as server:
            yield server.uri


def test_one_holds_it_and_who_waits_says_for_whom(uri: str, tmp_path: Path) -> None:
    Tracker(uri)
    first = Holder(uri, "first", tmp_path)
    first.wait()
    second = Holder(uri, "second", tmp_path)
    wait_until(lambda: "waiting for" in second.told, second.process)
    assert not second.holds
    assert f"held by process {first.process.pid} on {os.uname().nodename}: first" in second.told
    assert first.end() == (0, "")
    second.wait()
    assert second.end()[0] == 0
    assert not list(tmp_path.glob("mlflow.db-promotions*"))


def test_it_is_free_at_its_holders_death(uri: str, tmp_path: Path) -> None:
    Tracker(uri)
    first = Holder(uri, "first", tmp_path)
    first.wait()
    second = Holder(uri, "second", tmp_path)
    wait_until(lambda: "waiting for" in second.told, second.process)
    first.process.kill()
    second.wait()
    assert second.end()[0] == 0


def test_ctrl_c_ends_the_wait(uri: str, tmp_path: Path) -> None:
    Tracker(uri)
    first = Holder(uri, "first", tmp_path)
    first.wait()
    second = Holder(uri, "second", tmp_path)
    wait_until(lambda: "waiting for" in second.told, second.process)
    second.process.send_signal(signal.SIGINT)
    second.process.communicate(60)
    assert second.process.returncode == 1  # of an uncaught KeyboardInterrupt
    assert not second.holds
    third = Holder(uri, "third", tmp_path)  # not behind what the second left
    assert first.end()[0] == 0
    third.wait()
    assert third.end()[0] == 0


def test_an_error_in_the_block_frees_it(uri: str) -> None:
    tracker = Tracker(uri)
    for _ in range(2):
        with pytest.raises(KeyError), tracker.promotion_lock("fails"):
            raise KeyError
    assert tracker.registry.registered_names() == []


def test_a_lock_file_that_was_removed_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with locks.file_lock(path, "lock", "holds") as check:
        check()
        path.unlink()
        with pytest.raises(locks.LockLost, match="was removed or replaced"):
            check()
        with locks.file_lock(path, "lock", "holds, too"):
            pass


@pytest.mark.slow
def test_a_database_that_ends_takes_the_lock_along(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as database:
        tracker = Tracker(database.url)
        with tracker.promotion_lock("holds") as check:
            check()
            database.kill()
            database.start()
            with pytest.raises(locks.LockLost, match="promotion lock is lost"):
                check()


@pytest.mark.slow
def test_two_that_open_a_new_database_at_once_make_its_tables_once(tmp_path: Path) -> None:
    opens = "import sys; from experiments.tracking import Tracker; Tracker(sys.argv[1]); print('opened')"
    with PostgresServer(tmp_path) as database:
        three = [Program("tests.support.code", opens, database.url, cwd=tmp_path) for _ in range(3)]
        said = [one.communicate(120) for one in three]
    assert [one.returncode for one in three] == [0, 0, 0], said
    assert [out for out, _ in said] == ["opened\n"] * 3


@pytest.mark.slow
def test_another_machines_ticket_runs_out(tmp_path: Path) -> None:
    """Its process stands still past the lease: another machine takes over, and it may not write any more."""
    with MlflowServer(tmp_path) as server:
        Tracker(server.uri)
        times = {"lease": 3.0, "sign": 0.5}
        first = Holder(server.uri, "first", tmp_path, XDG_CACHE_HOME=str(tmp_path / "one"), **times)
        first.wait()
        second = Holder(server.uri, "second", tmp_path, XDG_CACHE_HOME=str(tmp_path / "two"), **times)
        wait_until(lambda: "waiting for" in second.told, second.process)
        first.process.send_signal(signal.SIGSTOP)
        second.wait()
        first.process.send_signal(signal.SIGCONT)
        code, err = first.end()
        assert code == 1
        assert "The promotion lock is lost" in err
        assert second.end()[0] == 0


@pytest.mark.slow
def test_a_living_ticket_does_not_run_out(tmp_path: Path) -> None:
    with MlflowServer(tmp_path) as server:
        Tracker(server.uri)
        first = Holder(server.uri, "first", tmp_path, lease=2, sign=0.3, XDG_CACHE_HOME=str(tmp_path / "one"))
        first.wait()
        second = Holder(server.uri, "second", tmp_path, lease=2, sign=0.3, XDG_CACHE_HOME=str(tmp_path / "two"))
        until = time.monotonic() + 6  # three leases
        while time.monotonic() < until:
            assert not second.holds
            time.sleep(0.1)
        assert first.end()[0] == 0
        second.wait()
        assert second.end()[0] == 0
