"""An engine that trains nothing: its trials end at once, with invented accuracies. Only the bookkeeping is left.

It is for measurements and tests of everything around training; no command offers it, because its numbers are invented.
"""

from __future__ import annotations

import random
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments.config import Environment, EpochMetrics, ModelSize, RunResult
from experiments.evaluation.expected import RESAMPLES
from search.engines.messages import Built, EpochEnded, Event, Finished, Job, KnownArchitecture, Placed, Ready, Stopped
from search.engines.shared_data import open_dataset

ARCHITECTURES = (KnownArchitecture("chollet", 32, 0.25, None), KnownArchitecture("malireddi", 32, 0.2, None))


class NoTraining:
    """Answers as an engine with one worker would, without one."""

    def __init__(self, epoch_seconds: float = 0.0) -> None:
        self._events: deque[Event] = deque()
        self._job: Job | None = None
        self._epoch = 0
        self._epoch_seconds = epoch_seconds

    def __enter__(self) -> NoTraining:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def provide(self, dataset_folder: Path) -> None:
        dataset = open_dataset(dataset_folder)
        self._probabilities = np.eye(dataset.num_classes, dtype=np.float32)[dataset.val.labels]
        self._shape = dataset.input_shape

    def wait_until_ready(self) -> Ready:
        return Ready(ARCHITECTURES, (), None, ())

    def free_worker(self) -> str | None:
        return "worker 1" if self._job is None else None

    def submit(self, job: Job) -> None:
        self._job, self._epoch = job, 0
        filters = job.config.filters or 8
        size = job.size or ModelSize(filters * 100, filters * 1_000, filters * 500)
        self._size = size
        self._events += [Placed(job.number, Environment("nowhere", "none", 1, "none", None)), Built(job.number, size)]

    def reply(self, number: int, go_on: bool) -> None:
        job = self._job
        assert job is not None
        if not go_on:
            self._events.append(Stopped(number))
            return
        if self._epoch < job.config.epochs:
            self._epoch += 1
            self._events.append(EpochEnded(number, self._metrics(job, self._epoch)))
            return
        epochs = tuple(self._metrics(job, epoch) for epoch in range(1, job.config.epochs + 1))
        best = max(epochs, key=lambda one: one.merit(job.config.objective))
        correct = round(best.val_accuracy * len(self._probabilities))
        job.keras_file.write_bytes(b"none")
        result = RunResult(
            epochs=epochs,
            best_epoch=best.epoch,
            best_val_accuracy=best.val_accuracy,
            best_val_loss=best.val_loss,
            best_val_balanced_accuracy=best.val_balanced_accuracy,
            size=self._size,
            keras_bytes=4,
            keras_sha256="0" * 64,
            weights_sha256=f"{number:064x}",
            latency_ms=1.0,
            images_per_second=1e4,
            keras_file=job.keras_file,
            input_shape=self._shape,
            num_classes=10,
            val_probabilities=self._probabilities,
            resampled=((correct + 1,) * RESAMPLES, (correct,) * RESAMPLES),
        )
        self._events.append(Finished(number, result))

    def next_event(self, timeout: float | None = None) -> Event | None:
        if not self._events:
            time.sleep(timeout or 0)
            return None
        event = self._events.popleft()
        if isinstance(event, EpochEnded):
            time.sleep(self._epoch_seconds)
        if isinstance(event, Finished | Stopped):
            self._job = None
        return event

    def _metrics(self, job: Job, epoch: int) -> EpochMetrics:
        # The same configuration always gives the same, as training does, here on every machine.
        config = replace(job.config, precision="float32")
        chance = random.Random(f"{config.parameters()} {epoch}").random()
        accuracy = 0.5 + 0.4 * epoch / job.config.epochs + 0.09 * chance
        return EpochMetrics(epoch, 1 - accuracy, accuracy, 1 - accuracy, accuracy, 0.0, accuracy - 0.1)
