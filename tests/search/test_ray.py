"""Sweeps on a real Ray cluster of two nodes on this machine, whose parts are killed; each node is a `ray start`."""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from optuna.trial import TrialState

from architectures.errors import ProjectError
from conversion.coreml.facts import FileFacts
from experiments import datasets
from experiments.config import EpochMetrics, RunConfig
from search.engines.cluster import Share
from search.engines.messages import EpochEnded, Job, StateNotKept, Stopped, WorkerSetup
from search.engines.shared_data import pack_dataset, save_dataset
from tests.support.commands import Outcome, invoke
from tests.support.components import require
from tests.support.servers import free_port, wait_until
from tests.support.sweeps import (
    DIGITS,
    NO_FIGURES,
    assert_nothing_lost,
    children_of,
    in_the_middle_of_a_trial,
    study_of,
)
from tests.support.warm import Program

if TYPE_CHECKING:
    from search.engines.ray import RayEngine

ROOT = Path(__file__).parents[2]
EPOCHS = 7  # no early stop before; with small batches long enough to be struck in the middle
SLOW = ["--epochs", EPOCHS, "--filters", "16", "--batch-size", "16", "--dropout", "0.3:0.5", "--pruner", "none"]
SWEEP = [*map(str, SLOW), "--engine", "ray", "--architecture", "malireddi", "--keep", "2", "--optimizer", "adamw"]
SWEEP += NO_FIGURES


@dataclass
class Cluster:
    """Nodes with a CPU each: the head first."""

    address: str
    folder: Path
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
        node = subprocess.Popen(
            [*ray, *(arguments or ("--address", self.address))],
            cwd=self.folder,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.nodes.append(node)
        wait_until(lambda: self.raylet(node), node)
        return node

    def raylet(self, node: subprocess.Popen[bytes]) -> psutil.Process:
        (found,) = [child for child in psutil.Process(node.pid).children() if child.name() == "raylet"]
        return found

    def trials(self, node: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """Processes of a node that train a trial at the moment."""
        return self._named(node, "ray::_train")

    def brokers(self) -> list[psutil.Process]:
        return [one for node in self.nodes for one in self._named(node, "ray::Broker")]

    def _named(self, node: subprocess.Popen[bytes], name: str) -> list[psutil.Process]:
        return [one for one in self.raylet(node).children() if one.cmdline() and one.cmdline()[0].startswith(name)]

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """As if the host lost its power: the raylet first, so that it can tell nobody."""
        raylet = self.raylet(node)
        workers = raylet.children(recursive=True)
        for process in (raylet, *workers, node):
            process.kill()
        psutil.wait_procs([raylet, *workers], timeout=30)
        node.wait(30)
        self.nodes.remove(node)

    def end(self) -> None:
        for node in reversed(self.nodes):
            processes = psutil.Process(node.pid).children(recursive=True)
            node.terminate()
            for process in psutil.wait_procs(processes, timeout=10)[1]:
                process.kill()
            node.wait(30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require(find_spec("ray"), install="pip install 'pocketnets[ray]'")
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # 15 unless given: beside other tests they would wait for ever
        # A socket's path is at most 107 characters long.
        short = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        made = Cluster(f"127.0.0.1:{port}", tmp_path_factory.mktemp("cluster"))
        try:
            options = ("--port", str(port), "--temp-dir", str(short), "--include-dashboard", "false")
            made.add("--head", "--node-ip-address", "127.0.0.1", *options)
            made.add("--address", made.address, "--node-ip-address", "127.0.0.1")
            yield made
        finally:
            made.end()
            shutil.rmtree(short, ignore_errors=True)


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start a sweep; what of it a test has left is ended, since the cluster has no room for another."""
    with ExitStack() as left:

        def started(*arguments: object) -> Program:
            process = Program("search.sweep", *arguments, cwd=tmp_path)
            left.callback(process.kill)
            return process

        yield started


def ended(process: Program) -> Outcome:
    """What a sweep did, once it has ended."""
    out, err = process.communicate(400)
    return Outcome(process.wait(), out, err)


def training(cluster: Cluster, folder: Path, name: str) -> Callable[[], bool]:
    """A condition: both nodes train a trial, and two trials have reported an epoch."""

    def holds() -> bool:
        running = [trial for trial in study_of(folder, name).trials if trial.state == TrialState.RUNNING]
        reported = [trial for trial in running if trial.intermediate_values]
        return all(map(cluster.trials, cluster.nodes)) and len(reported) == 2

    return holds


def runs(folder: Path, name: str) -> dict[int, str]:
    return {int(run.data.tags["trial_number"]): run.info.run_id for run in children_of(folder, name)}


@pytest.mark.slow
def test_tasks_and_a_node_die_and_their_trials_go_on_elsewhere(
    cluster: Cluster, sweep: Callable[..., Program], tmp_path: Path
) -> None:
    head, other = cluster.nodes
    process = sweep("--study", "died", "--trials", "3", *SWEEP, "--ray-address", cluster.address)
    wait_until(training(cluster, tmp_path, "died"), process)
    (task,) = cluster.trials(head)
    task.kill()
    wait_until(lambda: any("lost_attempts" in trial.user_attrs for trial in study_of(tmp_path, "died").trials), process)
    wait_until(training(cluster, tmp_path, "died"), process)
    before = runs(tmp_path, "died")
    kept = (tmp_path / "training-state").glob
    wait_until(lambda: len({path.name.partition(".")[0] for path in kept("*/*")}) == 2, process)
    cluster.kill(other)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert err.count("; requeued") == 2, err
    assert_nothing_lost(tmp_path, "died", 3, EPOCHS)
    assert before.items() <= runs(tmp_path, "died").items()  # the runs that were cut off went on
    assert {run.data.params["weight_decay"] for run in children_of(tmp_path, "died")} == {"0.004"}  # adamw's own
    lost = [trial.user_attrs.get("lost_attempts", 0) for trial in study_of(tmp_path, "died").trials]
    assert sum(lost) == 2
    assert "Traceback" not in err
    assert "3 complete" in out
    resumed = [line for line in err.splitlines() if ": resumes after epoch " in line]
    assert resumed, err
    number = int(resumed[-1].removeprefix("trial ").partition(":")[0])
    again = invoke("experiments.reproduce", runs(tmp_path, "died")[number], "--json", cwd=tmp_path)
    assert (again.code, again.json["verdict"]) == (0, "identical"), again.err  # as if it had never been cut off
    assert not list(kept("*/*"))


@pytest.mark.slow
def test_broker_and_driver_die_and_the_study_is_continued(
    cluster: Cluster, sweep: Callable[..., Program], tmp_path: Path
) -> None:
    options = ["--study", "gone", "--trials", "2", *SWEEP, *DIGITS, "--ray-address", cluster.address]
    process = sweep(*options)
    wait_until(in_the_middle_of_a_trial(tmp_path, "gone", 0), process)
    before = runs(tmp_path, "gone")
    (broker,) = cluster.brokers()
    broker.kill()
    wait_until(lambda: cluster.brokers() and cluster.brokers() != [broker], process)
    wait_until(lambda: any(map(cluster.trials, cluster.nodes)), process)
    tasks = [task for node in cluster.nodes for task in cluster.trials(node)]
    (broker,) = cluster.brokers()
    process.kill()
    _, err = process.communicate()
    assert "the sweep's broker died" in err
    assert not psutil.wait_procs([broker, *tasks], timeout=60)[1]  # nothing of it goes on

    process = sweep(*options)
    wait_until(lambda: any(map(cluster.trials, cluster.nodes)), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert f"--engine ray --ray-address {cluster.address}" in err
    assert all(trial.state != TrialState.RUNNING for trial in study_of(tmp_path, "gone").trials)

    done = ended(sweep(*options, "--json"))
    assert done.code == 0, done.err
    assert_nothing_lost(tmp_path, "gone", 2, EPOCHS)
    assert before.items() <= runs(tmp_path, "gone").items()
    assert done.json["counts"]["complete"] == 2


@pytest.mark.slow
def test_node_with_other_code_is_refused(cluster: Cluster, sweep: Callable[..., Program], tmp_path: Path) -> None:
    for floor in ("architectures", "experiments", "conversion", "search"):
        shutil.copytree(ROOT / floor, tmp_path / "other" / floor)
    (tmp_path / "other" / "search" / "more.py").touch()
    node = cluster.add(PYTHONPATH=str(tmp_path / "other"))
    try:
        found = ended(sweep(*SWEEP, "--ray-address", cluster.address))
        assert found.code == 1
        assert "has other source code of pocketnets than the sweep: install the same version" in found.error
    finally:
        cluster.kill(node)


@pytest.mark.slow
def test_more_than_a_node_has_is_refused(cluster: Cluster, sweep: Callable[..., Program], tmp_path: Path) -> None:
    for option, amount, wanted in (("--cpus-per-trial", "2", "2 CPUs and 0"), ("--gpus-per-trial", "0.5", "and 0.5")):
        found = ended(sweep(*SWEEP, "--ray-address", cluster.address, option, amount))
        assert found.code == 1
        assert f"{wanted} GPUs of a trial. Nodes: 1 CPUs and 0 GPUs" in found.error
    assert not list(tmp_path.iterdir())


class Unending:
    """Stands for a task of a cluster."""

    def remote(self, *_: object) -> Unending:
        return self

    def future(self) -> Future[None]:
        return Future()


def without_cluster(*, workers: int) -> RayEngine:
    """An engine whose tasks are played by the test."""
    require(find_spec("ray"), install="pip install 'pocketnets[ray]'")
    from search.engines.ray import RayEngine

    engine = RayEngine(WorkerSetup((), (), 1), None, Share(1, 0), workers=workers)
    engine._train, engine._dataset = Unending(), None
    return engine


@pytest.mark.slow
def test_trials_that_run_at_the_same_time_are_in_different_places(tmp_path: Path) -> None:
    engine = without_cluster(workers=3)

    def start(number: int) -> str | None:
        place = engine.free_worker()
        engine.submit(job(number, tmp_path))
        engine.hear(number, None, None)
        return place

    assert [start(0), start(1)] == ["ray 1", "ray 2"]
    engine.hear(0, Stopped(0), None)
    engine.next_event()
    assert [start(2), start(3), engine.free_worker()] == ["ray 1", "ray 3", None]


@pytest.mark.slow
def test_a_task_may_report_its_next_epoch_while_it_is_answered(tmp_path: Path) -> None:
    engine = without_cluster(workers=1)
    engine.submit(job(0, tmp_path))
    epochs = [EpochEnded(0, EpochMetrics(epoch, 1.0, 0.5, 1.0, 0.5, 0.1)) for epoch in (1, 2)]
    answers = [engine.hear(0, epochs[0], None)]
    answers[0].add_done_callback(lambda _: answers.append(engine.hear(0, epochs[1], None)))  # as a resumed trial does
    for epoch in epochs:
        assert engine.next_event(1) == epoch
        engine.reply(0, True)
    assert [answer.done() for answer in answers] == [True, True]


def job(number: int, folder: Path) -> Job:
    config = RunConfig("chollet", "mnist5k", filters=4, dropout=0.2)
    facts = FileFacts((), "mnist5k", "", "chollet", "", "", "", 0.0)
    return Job(number, config, facts, None, folder / "model.keras", state_file=folder / "states" / "study" / "0.1")


@pytest.mark.slow
def test_the_state_that_a_task_hands_over_is_kept_beside_the_broker(tmp_path: Path) -> None:
    engine = without_cluster(workers=1)
    engine.submit(job(0, tmp_path))
    for state in (b"first", b"second"):
        assert engine.hear(0, None, state).result(1)  # the task trains on meanwhile
        assert engine.next_event(1) is None
        assert (tmp_path / "states" / "study" / "0.1").read_bytes() == state
    shutil.rmtree(tmp_path / "states")
    (tmp_path / "states").touch()  # in the way
    for _ in range(2):
        engine.hear(0, None, b"third")
    told = engine.next_event(1)
    assert isinstance(told, StateNotKept)
    assert "File exists" in told.reason
    assert engine.next_event(1) is None  # said once


def test_data_larger_than_memory_are_sent_as_the_path_of_their_file(tmp_path: Path) -> None:
    digits = datasets.load("digits")
    np.save(tmp_path / "cached.npy", digits.train.images)
    mapped = np.load(tmp_path / "cached.npy", mmap_mode="r")
    (tmp_path / "saved").mkdir()
    save_dataset(replace(digits, train=replace(digits.train, images=mapped)), tmp_path / "saved")
    packed = pack_dataset(tmp_path / "saved")
    sent = pickle.dumps(packed)
    assert len(sent) < digits.train.images.nbytes
    shutil.rmtree(tmp_path / "saved")  # of the sweep's host
    received = pickle.loads(sent).open()
    assert isinstance(received.train.images, np.memmap)
    assert np.array_equal(received.train.images, digits.train.images)
    assert np.array_equal(received.val.images, digits.val.images)
    assert np.array_equal(received.val.labels, digits.val.labels)
    (tmp_path / "cached.npy").unlink()
    with pytest.raises(ProjectError, match="cached.npy is not on this host"):
        pickle.loads(sent).open()
