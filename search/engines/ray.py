"""The Ray engine: each trial is a Ray task, on whichever node of the cluster has room for it.

It lives in the sweep's broker (search/broker.py), to which the tasks report. Files of a task stay on its node, except
the model, whose bytes are sent with the result.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from architectures.scratch import scratch_folder
from experiments.training.messages import Failed, failed
from experiments.training.state import write_whole
from search.engines import WorkerFailed
from search.engines.cluster import Share, check_this_node
from search.engines.messages import (
    Built,
    Died,
    EpochEnded,
    Event,
    Finished,
    Job,
    OnTheWay,
    Placed,
    Ready,
    StateNotKept,
    WorkerSetup,
)
from search.engines.shared_data import PackedDataset, pack_dataset
from search.engines.trainer import Trainer

MAX_CALLS = 80  # trials that a process trains before Ray replaces it: each leaks 2 to 3 MB


@dataclass
class _Task:
    job: Job
    place: int  # from 1: the lowest free one
    reference: ray.ObjectRef | None = None
    begun: bool = False  # False: it waits for room in the cluster
    answer: Future[bool] | None = None  # that it waits for
    kept: bool = True  # whether the state of its training could be written so far


class RayEngine:
    """Runs trials as tasks of the cluster that this process is connected to."""

    def __init__(self, setup: WorkerSetup, broker: Any, share: Share, workers: int | None) -> None:
        """Prepare to run trials.

        Args:
            broker: handle of the actor that passes the tasks' events to `hear`.
            share: resources of the cluster for one trial.
            workers: maximum number of trials at a time; None: as many as there is room for.
        """
        self._setup, self._broker, self._share, self._workers = setup, broker, share, workers
        # Ray does not retry: a trial whose task dies is requeued in the study, which counts its attempts.
        options: dict[str, Any] = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_retries": 0}
        self._describe: Any = ray.remote(**options)(_describe)  # with a GPU, Ray's own max_calls is 1
        # TensorFlow keeps a GPU until its process ends, and the next task there may have been given another one.
        self._train: Any = ray.remote(**options, max_calls=1 if share.gpus else MAX_CALLS)(_train)
        self._tickets = itertools.count()
        self._tasks: dict[int, _Task] = {}  # by ticket: each attempt at a trial has a new one
        self._heard: queue.SimpleQueue[tuple[int, Event | None, bytes | None]] = queue.SimpleQueue()

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *_: object) -> None:
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            if task.reference is not None:
                with contextlib.suppress(RayError):
                    ray.cancel(task.reference, force=True)

    def provide(self, dataset_folder: Path) -> None:
        """Put the data set into the object store: each node fetches it once, and its processes map it read-only."""
        self._dataset = ray.put(pack_dataset(dataset_folder))

    def wait_until_ready(self) -> Ready:
        """Wait for a first task, which imports TensorFlow; its process is reused by the first trial.

        Raises:
            WorkerFailed: if it cannot start: a plugin fails or is not on its node, memory is short.
        """
        probe = self._describe.remote(self._setup, self._dataset)
        try:
            found: Ready | Failed = probe.future().result()
        except RayError as error:
            raise WorkerFailed(f"A Ray task could not start: {_reason(error)}", 1) from error
        if isinstance(found, Failed):
            raise WorkerFailed(found.message, found.exit_code)
        return found

    def free_worker(self) -> str | None:
        """Return the name of a place for one more trial, or None.

        One trial may wait in Ray's queue: it starts as soon as another one ends, and shows an autoscaling cluster that
        there is demand.
        """
        if self._workers is not None and len(self._tasks) >= self._workers:
            return None
        waiting = sum(not task.begun for task in self._tasks.values())
        if waiting and waiting >= self._share.fits(ray.available_resources()):
            return None
        return f"ray {self._free_place()}"

    def submit(self, job: Job) -> None:
        """Give a job to Ray."""
        ticket = next(self._tickets)
        task = self._tasks[ticket] = _Task(job, self._free_place())
        task.reference = self._train.remote(self._broker, ticket, self._setup, self._dataset, job)
        task.reference.future().add_done_callback(lambda ended: self._heard.put((ticket, _end(job, ended), None)))

    def _free_place(self) -> int:
        taken = {task.place for task in self._tasks.values()}
        return next(place for place in itertools.count(1) if place not in taken)

    def reply(self, number: int, go_on: bool) -> None:
        """Answer a Built or EpochEnded event: whether the trial continues."""
        for task in self._tasks.values():
            if task.job.number == number and task.answer:
                answer, task.answer = task.answer, None  # first: once answered, the task sends the next event
                answer.set_result(go_on)

    def hear(self, ticket: int, event: Event | None, content: bytes | None) -> Future[bool]:
        """Handle an event of a task, in any thread; return the future of the answer.

        Args:
            event: None when the task begins, and when it sends the state of its training.
            content: bytes of the model of a finished trial, or that state.
        """
        answer: Future[bool] = Future()
        task = self._tasks.get(ticket)
        if task is None:  # considered dead: its trial has another owner now
            answer.set_result(False)
            return answer
        task.begun = True
        if isinstance(event, Built | EpochEnded):
            task.answer = answer
        else:
            answer.set_result(True)
        if event or content:
            self._heard.put((ticket, event, content))
        return answer

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Return the next event of a task, or None after `timeout` seconds."""
        try:
            ticket, event, content = self._heard.get(timeout=timeout)
        except queue.Empty:
            return None
        task = self._tasks.get(ticket)
        if task is None:
            return None  # the end of a task that has already sent its last event
        if event is None:
            return self._keep(task, content)
        if not isinstance(event, OnTheWay):
            del self._tasks[ticket]
        if isinstance(event, Finished):
            assert content is not None
            task.job.keras_file.write_bytes(content)
            return replace(event, result=replace(event.result, keras_file=task.job.keras_file))
        return event

    def _keep(self, task: _Task, state: bytes | None) -> Event | None:
        """Write the state of a task's training to this node's disk, because the task's node may die."""
        if task.kept and task.job.state_file and state:
            try:
                write_whole(task.job.state_file, state)
            except OSError as error:
                task.kept = False  # report this once
                return StateNotKept(task.job.number, str(error))
        return None


def _end(job: Job, ended: Future[None]) -> Event:
    """Return the event for a task that ended without sending one."""
    error = ended.exception()
    if isinstance(error, RayTaskError):  # it could not start
        return Failed(None, f"A Ray task failed: {_reason(error)}", str(error), 1)
    return Died(job.number, f"its Ray task ended ({_reason(error) if error else 'without a result'})")


def _reason(error: BaseException) -> str:
    if isinstance(error, RayTaskError):
        return " ".join(str(error.cause).split())[:300]
    first = str(error).strip().partition("\n")[0].partition(". ")[0]
    return f"{type(error).__name__}: {first[:200]}"


# The code below runs in the processes of the cluster.

_trainer: tuple[Trainer, Ready] | None = None  # of this process, which belongs to one sweep


def _prepared(setup: WorkerSetup, dataset: PackedDataset) -> tuple[Trainer, Ready]:
    global _trainer
    if _trainer is None:
        check_this_node(setup.facts)
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # otherwise all trials of a node would use its first GPU
        made = Trainer(setup)
        _trainer = made, made.hold(dataset.open())
    return _trainer


def _describe(setup: WorkerSetup, dataset: PackedDataset) -> Ready | Failed:
    """Return the known architectures."""
    try:
        return _prepared(setup, dataset)[1]
    except Exception as error:
        return failed(None, error)


def _train(broker: Any, ticket: int, setup: WorkerSetup, dataset: PackedDataset, job: Job) -> None:
    """Train one job, and report to the broker."""

    def ask(event: Event | None, content: bytes | None = None) -> bool:
        try:
            # Not ray.get: while a task waits in it, Ray gives its processors to another task.
            return broker.say.remote(ticket, event, content).future().result()
        except RayError as error:
            raise ConnectionError("The broker is gone.") from error

    with scratch_folder() as folder:
        here = replace(job, keras_file=folder / "model.keras")

        def write(state: bytes) -> None:
            ask(None, state)

        def send(event: Event) -> None:
            ask(event, here.keras_file.read_bytes() if isinstance(event, Finished) else None)

        ask(None)
        try:
            trainer, _ = _prepared(setup, dataset)
        except ConnectionError:
            raise
        except Exception as error:
            send(failed(None, error))
            return
        send(Placed(job.number, trainer.environment))
        trainer.train(here, send, ask, write)
