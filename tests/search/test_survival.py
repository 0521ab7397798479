"""Sweeps that are interrupted, killed or moved, and continued: one run per trial whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import psutil
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from search.engines import local
from search.study.owner import as_owner, may_live
from search.study.storage import open_storage
from tests.support.commands import Command, invoke
from tests.support.servers import wait_until
from tests.support.sweeps import (
    DIGITS,
    NO_FIGURES,
    PUBLISHED,
    TINY,
    assert_nothing_lost,
    assert_whole,
    children_of,
    in_the_middle_of_a_trial,
    parents_of,
    start,
    study_of,
)
from tests.support.warm import Program


@pytest.mark.slow
def test_interruption_while_the_databases_are_made(tmp_path: Path) -> None:
    for seconds in (0.5, 1.5, 2.5, 3.5, 5):
        process = start(tmp_path, "--study", "early", "--trials", "1", *TINY, *PUBLISHED, cold=True)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        expected = {130, -signal.SIGINT}  # the latter before Python listens
        assert process.returncode in (expected | {0} if seconds == 5 else expected), err  # by then it may be done
        if process.returncode == 130:
            assert err.splitlines()[-1].startswith("interrupted"), err
    done = invoke("search.sweep", "--study", "early", "--trials", "1", *TINY, *PUBLISHED, cwd=tmp_path)
    assert done.code == 0, done.err
    assert_whole(tmp_path, "early", 1, 2)
    assert not list(tmp_path.glob(".*.db*"))


def test_an_empty_file_is_made_a_study_storage_by_one_of_several(tmp_path: Path) -> None:
    """Whoever has only looked for a study may have left it."""
    (tmp_path / "optuna.db").touch()
    together = threading.Barrier(4)

    def opened(_: int) -> list[str]:
        together.wait()
        return optuna.get_all_study_names(open_storage(f"sqlite:///{tmp_path}/optuna.db", create=True))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(opened, range(4))) == [[]] * 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_and_continuation(number: signal.Signals, tmp_path: Path) -> None:
    arguments = ["--study", "stopped", "--trials", "2", *TINY, *DIGITS, *PUBLISHED]
    arguments[arguments.index("--epochs") + 1] = "8"  # long enough to be struck in the middle
    process = start(tmp_path, *arguments)
    wait_until(in_the_middle_of_a_trial(tmp_path, "stopped", 1), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "interrupted; to continue: python -m search.sweep --study stopped --trials 2" in err
    assert "Traceback" not in err
    assert not psutil.wait_procs(workers, timeout=10)[1]
    states = [trial.state for trial in study_of(tmp_path, "stopped").trials]
    assert states == [TrialState.COMPLETE, TrialState.WAITING]
    first, second = children_of(tmp_path, "stopped")
    assert (first.info.status, second.info.status) == ("FINISHED", "KILLED")
    assert second.data.tags["outcome"] == "interrupted"
    (parent,) = parents_of(tmp_path, "stopped")
    assert (parent.info.status, parent.data.tags["outcome"]) == ("KILLED", "interrupted")
    assert "chollet-0" in out  # the leaderboard so far

    done = invoke("search.sweep", "--study", "stopped", *NO_FIGURES, cwd=tmp_path)  # --trials is recorded
    assert done.code == 0, done.err
    study = study_of(tmp_path, "stopped")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for trial, run in zip(study.trials, children_of(tmp_path, "stopped"), strict=True):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
        assert steps == list(trial.intermediate_values) == list(range(1, len(steps) + 1))
        assert run.info.status == "FINISHED"
        assert "outcome" not in run.data.tags


def kill_a_sweep(folder: Path, name: str, number: int, *arguments: str, cold: bool) -> None:
    """Start a sweep, and kill it in the middle of the trial of that number."""
    process = start(folder, *arguments, cold=cold)
    wait_until(in_the_middle_of_a_trial(folder, name, number), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive  # a worker hears of its sweep's end by its pipe


def kill_a_worker(folder: Path, name: str, number: int, *arguments: str, cold: bool) -> None:
    """Start a sweep, and kill its worker in the middle of the trial of that number: it goes on with another."""
    process = start(folder, *arguments, cold=cold)
    wait_until(in_the_middle_of_a_trial(folder, name, number), process)
    worker = max(psutil.Process(process.pid).children(), key=lambda child: child.memory_info().rss)
    os.kill(worker.pid, signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "killed by signal 9, which a system without free memory sends" in err
    assert "resource_tracker" not in err


def test_kill_9_of_the_sweep_and_continuation(tmp_path: Path) -> None:
    arguments = ["--study", "killed", "--trials", "2", *TINY, *DIGITS, *PUBLISHED]
    arguments[arguments.index("--epochs") + 1] = "6"
    kill_a_sweep(tmp_path, "killed", 1, *arguments, cold=False)
    done = invoke("search.sweep", "--study", "killed", "--trials", "2", *NO_FIGURES, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert_whole(tmp_path, "killed", 2, 6)
    assert done.json["candidate"] is not None


def test_kill_9_of_a_worker_loses_one_attempt(tmp_path: Path) -> None:
    arguments = ["--study", "died", "--trials", "1", *TINY, *DIGITS, *PUBLISHED]
    arguments[arguments.index("--epochs") + 1] = "6"
    kill_a_worker(tmp_path, "died", 0, *arguments, cold=False)
    assert_whole(tmp_path, "died", 1, 6)
    assert study_of(tmp_path, "died").trials[0].user_attrs["lost_attempts"] == 1


@pytest.mark.slow
def test_kill_9_of_a_sweep_and_of_the_worker_of_its_continuation_from_a_cold_start(tmp_path: Path) -> None:
    arguments = ["--study", "cold", "--trials", "2", *TINY, *DIGITS, *PUBLISHED]
    arguments[arguments.index("--epochs") + 1] = "6"
    kill_a_sweep(tmp_path, "cold", 0, *arguments, cold=True)
    kill_a_worker(tmp_path, "cold", 1, *arguments, cold=True)
    assert_whole(tmp_path, "cold", 2, 6)
    lost = [trial.user_attrs.get("lost_attempts", 0) for trial in study_of(tmp_path, "cold").trials]
    assert lost[1] == 1


@pytest.mark.usefixtures("without_training")
def test_workers_that_have_grown_are_replaced(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MAX_GROWTH_BYTES", -1)
    started = []
    start = local.LocalEngine._start
    monkeypatch.setattr(local.LocalEngine, "_start", lambda *place: started.append(1) or start(*place))
    found = command("search.sweep", "--study", "grown", "--trials", "2", *TINY, *PUBLISHED)
    assert found.code == 0, found.err
    assert_whole(tmp_path, "grown", 2, 2)
    assert len(started) == 3  # the first, and one after each trial


@pytest.mark.usefixtures("without_training")
def test_models_that_cannot_be_written_are_one_line_and_a_continuation_mends_it(tmp_path: Path) -> None:
    """A file in the place of the artifact folder."""
    (tmp_path / "mlruns").write_text("in the way")
    arguments = ["--study", "full", "--trials", "2", *TINY, *PUBLISHED]
    failed = invoke("search.sweep", *arguments, cwd=tmp_path)
    assert failed.code == 1
    (line,) = [line for line in failed.err.splitlines() if not line.startswith("trial ")]
    assert line.startswith("error: ")
    (tmp_path / "mlruns").unlink()
    done = invoke("search.sweep", "--study", "full", "--trials", "2", *NO_FIGURES, cwd=tmp_path)
    assert done.code == 0, done.err
    assert_whole(tmp_path, "full", 2, 2)


def test_a_process_that_was_killed_and_that_nobody_has_collected_is_gone() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        started = psutil.Process(process.pid).create_time()
        owner = json.loads(as_owner("worker 1")) | {"pid": process.pid, "started": started}
        trial = optuna.create_trial(value=0.0, user_attrs={"owner": json.dumps(owner)})
        assert may_live(trial)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not may_live(trial)


@pytest.mark.parametrize(
    ("database", "pages", "trials"),
    [
        ("optuna.db", 0, 10),  # enough for the study to grow
        pytest.param("mlflow.db", 1, 2, marks=pytest.mark.slow),
        pytest.param("mlflow.db", 20, 8, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_one_line_and_the_same_command_goes_on_once_there_is_space(
    database: str, pages: int, trials: int, tmp_path: Path
) -> None:
    arguments = ["--study", "full", "--trials", trials, *TINY, *PUBLISHED]
    failed = Program("tests.support.full_disk", database, pages, *arguments, cwd=tmp_path)
    _, err = failed.communicate()
    assert failed.returncode == 1, err
    (line,) = [line for line in err.splitlines() if not line.startswith("trial ")]
    assert line == f"error: No space left on the disk for {database}. Free some and try again."
    done = Program("tests.support.full_disk", database, 1_000, *arguments, cwd=tmp_path)
    assert done.wait() == 0, done.communicate()
    assert_nothing_lost(tmp_path, "full", trials, 2)


@pytest.mark.slow
def test_epochs_from_other_threads_are_not_continued(cores: list[int], tmp_path: Path) -> None:
    """Another number of threads changes the bits: the trial's run is begun anew."""
    if len(cores) < 2:
        pytest.skip("on one core every worker has one thread")
    arguments = ["--study", "moved", "--trials", "1", *TINY, *DIGITS, "--architecture", "malireddi"]
    arguments[arguments.index("--epochs") + 1] = "8"
    process = start(tmp_path, *arguments, cold=True)
    wait_until(in_the_middle_of_a_trial(tmp_path, "moved", 0), process)
    process.kill()
    process.communicate()
    (before,) = children_of(tmp_path, "moved")
    done = invoke("search.sweep", "--study", "moved", "--workers", "2", *NO_FIGURES, cwd=tmp_path)
    assert before.data.tags["threads"] == "2"
    assert done.code == 0, done.err
    (after,) = children_of(tmp_path, "moved")
    assert after.info.run_id != before.info.run_id
    assert after.data.tags["threads"] == "1"


def test_two_workers(tmp_path: Path) -> None:
    done = invoke(
        *("search.sweep", "--study", "two", "--trials", "3", *TINY, *DIGITS, *PUBLISHED, "--workers", "2", "--json"),
        cwd=tmp_path,
    )
    assert done.code == 0, done.err
    assert_whole(tmp_path, "two", 3, 2)
