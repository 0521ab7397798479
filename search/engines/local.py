"""The local engine: worker processes on this machine, replaced when they die or use too much memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from pathlib import Path

import psutil

from architectures.errors import UsageError
from experiments.cores import cores
from experiments.main_guard import check_main_guard
from experiments.training.messages import Failed
from experiments.training.precision import Gpu
from experiments.training.worker import Worker, WorkerEnded
from search.engines import WorkerFailed
from search.engines.gpu_workers import FIRST, GpuWorkers, may_have_gpu
from search.engines.messages import (
    PAUSED_BYTES,
    Died,
    EpochEnded,
    Event,
    Job,
    OnTheWay,
    Ready,
    WorkersChosen,
    WorkerSetup,
)

# The families take 300 MB, then each trial leaks 2 to 3: about 80 trials a worker, beside those that it holds paused.
MAX_GROWTH_BYTES = 500 * 2**20 + PAUSED_BYTES
WORKER_BYTES = 1_100 * 2**20  # largest memory of a worker before it is replaced
READY_BYTES = 400 * 2**20  # private memory of a worker that is ready, mostly TensorFlow's
MAX_EARLY_DEATHS = 3  # of replacement workers, in one sweep


@dataclass
class _Held:
    number: int  # from 0
    worker: Worker
    job: Job | None = None
    ready: bool = False
    trained: bool = False  # an epoch, so that the kernels of a GPU are prepared
    memory_when_ready: int = 0  # bytes


class LocalEngine:
    """Runs trials in worker processes.

    Use it as a context manager: on exit, it ends all workers, even busy ones.
    """

    def __init__(self, setup: WorkerSetup, workers: int, *, auto: bool = False) -> None:
        """Start the workers.

        Args:
            workers: how many.
            auto: if they train on a GPU, that is the most: begin with fewer, and add some while it has room for them.

        Raises:
            UsageError: for more workers than fit into memory.
            UnguardedScript: in a script that the workers cannot import.
        """
        check_main_guard()
        check_memory(workers)
        self._setup, self._most = setup, workers
        self._dataset_folder: Path | None = None
        self._was_ready = False
        self._died_early = 0
        self._on_gpu: GpuWorkers | None = None  # until the number of workers is final
        self._shares = shares(sorted(os.sched_getaffinity(0)), workers) if hasattr(os, "sched_getaffinity") else []
        self._workers: list[_Held] = []
        self._start_until(min(workers, FIRST) if auto and may_have_gpu() else workers)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_gpu:
            self._on_gpu.close()
        for held in self._workers:
            held.worker.connection.close()
            if held.job is not None or not held.ready:
                held.worker.process.kill()  # nothing in an unfinished trial is worth waiting for
        for held in self._workers:
            held.worker.join()

    def provide(self, dataset_folder: Path) -> None:
        """Send the folder of the data set to the workers, which are still importing TensorFlow."""
        self._dataset_folder = dataset_folder
        for held in self._workers:
            held.worker.send(dataset_folder)

    def wait_until_ready(self) -> Ready:
        """Wait for the first worker, which first imports TensorFlow.

        Raises:
            WorkerFailed: if it cannot start, for example because of a plugin or too little memory.
        """
        while True:
            match self.next_event():
                case Ready() as ready:
                    return ready
                case Failed(_, message, _, exit_code):
                    raise WorkerFailed(message, exit_code)

    def free_worker(self) -> str | None:
        """Return the name of the worker that `submit` would use, or None."""
        for held in self._workers:
            if held.ready and held.job is None:
                return f"worker {held.number + 1}"
        return None

    def submit(self, job: Job) -> None:
        """Submit a job to a free worker."""
        held = next(held for held in self._workers if held.ready and held.job is None)
        held.job = job
        held.worker.send(job)

    def reply(self, number: int, go_on: bool) -> None:
        """Answer a Built or EpochEnded event: whether the trial continues."""
        next(held for held in self._workers if held.job and held.job.number == number).worker.send(go_on)

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Return the next event of a worker, or None after `timeout` seconds.

        Raises:
            WorkerFailed: if a worker ends before it is ready, because the next one would too.
        """
        if self._on_gpu and (chosen := self._choose(self._on_gpu)):
            return chosen
        by_object: dict[object, _Held] = {}
        for held in self._workers:
            by_object[held.worker.connection] = held
            by_object[held.worker.process.sentinel] = held
        spoke = wait(list(by_object), timeout)  # type: ignore[arg-type]
        if not spoke:
            return None
        # First the events that a worker sent before it died.
        first = next((item for item in spoke if isinstance(item, Connection)), spoke[0])
        held = by_object[first]
        try:
            event: Event = held.worker.receive()
        except WorkerEnded as ended:
            return self._replace_dead(held, str(ended))
        if isinstance(event, Ready):
            if not self._was_ready:
                self._see(event.gpu)
            held.ready = self._was_ready = True
            held.memory_when_ready = self._memory(held)
        elif isinstance(event, OnTheWay):
            held.trained |= isinstance(event, EpochEnded)
        else:
            held.job = None
            if isinstance(event, Failed) and event.number is None:
                held.ready = False
            elif self._memory(held) - held.memory_when_ready > MAX_GROWTH_BYTES:
                self._replace(held)
        return event

    def _see(self, gpu: Gpu | None) -> None:
        """Start the other workers, unless they share a GPU."""
        if gpu is None:
            self._start_until(self._most)
        elif len(self._workers) < self._most:
            self._on_gpu = GpuWorkers(gpu)

    def _choose(self, on_gpu: GpuWorkers) -> WorkersChosen | None:
        """Start more workers if the GPU has room for them; return the number if it changed or is final."""
        running = len(self._workers)
        chosen = on_gpu.next(
            running,
            lambda: min(self._most, auto_workers(running, max(map(self._memory, self._workers)))),
            training=all(held.job and held.trained for held in self._workers),
        )
        if chosen:
            self._start_until(chosen.workers)
            if chosen.reason:
                on_gpu.close()
                self._on_gpu = None
        return chosen

    def _start_until(self, workers: int) -> None:
        self._workers += [self._start(number) for number in range(len(self._workers), workers)]

    def _start(self, number: int) -> _Held:
        cores = self._shares[number] if self._shares else ()
        worker = Worker("search.engines.local_worker:run_worker", self._setup, cores=cores)
        if self._dataset_folder:
            worker.send(self._dataset_folder)
        return _Held(number, worker)

    def _replace(self, held: _Held) -> None:
        held.worker.kill()
        self._workers[held.number] = self._start(held.number)

    def _replace_dead(self, held: _Held, reason: str) -> Died:
        if not held.ready and (not self._was_ready or self._died_early >= MAX_EARLY_DEATHS):
            raise WorkerFailed(f"A worker could not start: it ended ({reason}).", 1)
        self._died_early += not held.ready
        self._replace(held)
        return Died(held.job.number if held.job else None, f"its worker process ended ({reason})")

    def _memory(self, held: _Held) -> int:
        try:
            return psutil.Process(held.worker.process.pid).memory_info().rss
        except psutil.Error:
            return 0


def shares(cores: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """Divide the cores evenly among the workers; workers in excess of the cores share one.

    >>> shares([0, 1, 2, 3, 4], 2)
    [(0, 1, 2), (3, 4)]
    >>> shares([0, 1], 3)
    [(0,), (1,), (0,)]
    """
    if workers > len(cores):
        return [(cores[number % len(cores)],) for number in range(workers)]
    bounds = [-(-len(cores) * number // workers) for number in range(workers + 1)]
    return [tuple(cores[start:end]) for start, end in pairwise(bounds)]


def check_memory(workers: int) -> None:
    """Raise UsageError for more workers than fit into this machine's memory, even if it were all free."""
    memory = psutil.virtual_memory().total
    if workers > (most := max(1, memory // READY_BYTES)):
        raise UsageError(
            f"--workers {workers} needs {workers * READY_BYTES / 2**30:,.0f} GiB of memory, this machine has "
            f"{memory / 2**30:,.0f}: give at most {most}, or auto."
        )


def auto_workers(running: int = 0, largest: int = 0) -> int:
    """Return the number of workers for `--workers auto`: one per core, as far as free memory allows.

    Args:
        running: workers that have their memory already.
        largest: bytes that one of these has; a GPU's libraries may make it more than expected.
    """
    further = psutil.virtual_memory().available // max(WORKER_BYTES, largest)
    return max(1, min(cores(), running + further))
