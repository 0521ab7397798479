"""How many workers `--workers auto` takes on a GPU: more while it has time and memory to spare and more workers help.

What nvidia-smi measures is read while trials train; `choose_workers` is the rule.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from experiments.training.precision import Gpu
from search.engines.messages import WorkersChosen

TOOL = "nvidia-smi"
DRIVER = Path("/dev/nvidiactl")  # also in containers that have a GPU without NVIDIA's tools
COLUMNS = ("uuid", "name", "utilization.gpu", "memory.used", "memory.free")
ANSWER_SECONDS = 10.0  # until a tool that does not answer is given up: without a daemon it first starts the driver
READ_SECONDS = 1.0  # between two readings; each is of the last second or less
READINGS = 15  # of a load: trials of small networks take seconds, of which building one on the processor is half

FIRST = 2  # workers: one computes while the other builds or converts a network
BUSY = 80  # percent of the time; above, workers mostly wait for each other
LEAST_GAIN = 0.25  # of what each of the workers before had kept the GPU busy
LEAST_BYTES = 2**29  # of the GPU's memory for a worker: its kernels alone take that
MEMORY_MARGIN = 2  # times what workers take so far: a trial to come may have a larger network or batch


class Unreadable(Exception):
    """nvidia-smi does not tell the load of the GPU; the message says why."""


@dataclass(frozen=True)
class Reading:
    """What nvidia-smi says of a GPU."""

    busy: float  # percent of the last moment in which it computed anything
    used: int  # bytes of its memory, by whatever program
    free: int


@dataclass(frozen=True)
class Load:
    """The load of a GPU while a number of workers trained."""

    workers: int
    busy: float  # percent of the time
    used: int  # bytes of its memory, the largest reading
    free: int  # bytes, the smallest reading


def choose_workers(loads: Sequence[Load], most: int) -> WorkersChosen:
    """Return the number of workers after these loads, each with more workers than the one before.

    The number grows to what would keep the GPU busy, but at most doubles. What other programs do on the GPU counts as
    if the workers did it, so that less is left to them.

    Args:
        most: as the machine's cores and memory allow.

    >>> few, many = Load(2, 20, used=2**30, free=2**36), Load(4, 39, used=2**31, free=2**36)
    >>> choose_workers([few], 16)
    WorkersChosen(workers=4, reason='')
    >>> choose_workers([few, many], 16)
    WorkersChosen(workers=8, reason='')
    >>> choose_workers([few, many, Load(8, 81, used=2**32, free=2**35)], 16)
    WorkersChosen(workers=8, reason='the GPU is busy 81 % of the time')
    """
    last = loads[-1]
    if last.busy >= BUSY:
        return WorkersChosen(last.workers, f"the GPU is busy {last.busy:.0f} % of the time")
    if len(loads) > 1:
        before = loads[-2]
        each = (last.busy - before.busy) / (last.workers - before.workers)
        if each <= LEAST_GAIN * before.busy / before.workers:
            busy = f"{last.busy:.0f} % of the time, with {before.workers} workers {before.busy:.0f} %"
            return WorkersChosen(last.workers, f"the GPU is busy {busy}")
    wanted = max(last.workers + 1, int(last.workers * BUSY / max(last.busy, 1)))
    fitting = last.workers + int(last.free / (MEMORY_MARGIN * max(LEAST_BYTES, last.used / last.workers)))
    chosen = min(wanted, 2 * last.workers, fitting)
    if chosen >= most:
        return WorkersChosen(max(most, last.workers), "as many as the cores and the memory allow")
    if chosen == last.workers:
        return WorkersChosen(chosen, f"the GPU has {last.free / 2**30:.1f} GiB of memory left")
    return WorkersChosen(chosen)


class GpuWorkers:
    """Chooses the number of workers that train on a GPU; reads its load in a thread, as nvidia-smi may hang."""

    def __init__(self, gpu: Gpu) -> None:
        self._name = gpu.name
        self._told = self._trained = False
        self._loads: list[Load] = []
        self._readings: list[Reading] = []  # with the present number of workers
        self._read: queue.SimpleQueue[Reading | Unreadable] = queue.SimpleQueue()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Read no more."""
        self._closed.set()

    def next(self, workers: int, most: Callable[[], int], *, training: bool) -> WorkersChosen | None:
        """Return how many workers there should be, None while this is being found out.

        With a reason, the number is final. At first it is the one with which the workers began.

        Args:
            training: whether all of the workers have a trial that has trained an epoch. A reading counts if they have,
                now and at the last call.
        """
        counts, self._trained = training and self._trained, training
        if not self._told:
            self._told = True
            return WorkersChosen(workers)
        while not self._read.empty():
            found = self._read.get()
            if isinstance(found, Unreadable):
                return WorkersChosen(workers, str(found))
            if counts:
                self._readings.append(found)
        if len(self._readings) < READINGS:
            return None
        self._loads.append(
            Load(
                workers,
                mean(one.busy for one in self._readings),
                max(one.used for one in self._readings),
                min(one.free for one in self._readings),
            )
        )
        self._readings = []
        return choose_workers(self._loads, most())

    def _watch(self) -> None:
        while not self._closed.wait(READ_SECONDS):
            try:
                self._read.put(read_gpu(self._name))
            except Unreadable as error:
                self._read.put(error)
                return


def may_have_gpu() -> bool:
    """Whether this machine may have an NVIDIA GPU that workers see; only TensorFlow knows."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and (DRIVER.exists() or shutil.which(TOOL) is not None)


def read_gpu(name: str) -> Reading:
    """Read the load of the GPU that TensorFlow computes on: the first of CUDA_VISIBLE_DEVICES, of this name.

    Raises:
        Unreadable: if nvidia-smi does not tell, as of a part of a GPU (MIG), or if another GPU is in its place: CUDA
            counts the fastest first, nvidia-smi by their slots.
    """
    try:
        listed = subprocess.run(
            [TOOL, f"--query-gpu={','.join(COLUMNS)}", "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=ANSWER_SECONDS,
            check=True,
        ).stdout
    except subprocess.TimeoutExpired:
        raise Unreadable(f"{TOOL} did not answer within {ANSWER_SECONDS:g} s") from None
    except subprocess.CalledProcessError as error:
        raise Unreadable(f"{TOOL} failed with exit code {error.returncode}") from None
    except OSError as error:
        raise Unreadable(f"{TOOL} cannot be run: {error.strerror}") from None
    rows = [line.split(", ") for line in listed.decode(errors="replace").splitlines()]
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0].strip()
    if first.isdigit():
        rows = rows[int(first) :][:1]
    try:
        row = next(row for row in rows if row[1] == name and (first.isdigit() or row[0].startswith(first)))
        _, _, busy, used, free = row
        return Reading(float(busy), int(used) * 2**20, int(free) * 2**20)
    except (StopIteration, IndexError, ValueError):
        raise Unreadable(f"{TOOL} does not tell the load of {name}") from None
