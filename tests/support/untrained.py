"""A sweep whose training does nothing.  Run: python -m tests.support.untrained '{"study": ..., ...}' EPOCH_SECONDS

With one worker there is no process beside the sweep's; with more the local engine starts them, as ever.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.no_training import NoTraining
from experiments.training.messages import Failed
from experiments.training.precision import Gpu
from experiments.training.worker import Worker
from search.engines import Engine, local
from search.engines.messages import Built, EpochEnded, WorkerSetup


def serve(connection: Connection, behaviour: tuple[float, int | None, Gpu | None]) -> None:
    """Serve jobs without training, as if on a GPU; the trial of the number `failing` fails."""
    epoch_seconds, failing, gpu = behaviour
    engine = NoTraining(epoch_seconds)
    try:
        folder = connection.recv()
        engine.provide(folder)
        connection.send(replace(engine.wait_until_ready(), gpu=gpu))
        while True:
            job = connection.recv()
            engine.submit(job)
            while event := engine.next_event():
                if isinstance(event, EpochEnded) and job.number == failing:
                    connection.send(Failed(failing, "failed", "failed", 1))
                    engine = NoTraining(epoch_seconds)
                    engine.provide(folder)
                    break
                connection.send(event)
                if isinstance(event, Built | EpochEnded):
                    engine.reply(job.number, connection.recv())
    except (EOFError, ConnectionError):
        pass  # the sweep is gone


def idle_worker(
    epoch_seconds: float = 0.0, failing: int | None = None, gpu: Gpu | None = None
) -> Callable[..., Worker]:
    """What the local engine can start in place of its workers."""

    def start(_serve: str, _setup: WorkerSetup, *, cores: Sequence[int]) -> Worker:
        return Worker("tests.support.untrained:serve", (epoch_seconds, failing, gpu), cores=cores)

    return start


def untrained(setup: WorkerSetup, workers: int, epoch_seconds: float = 0.0, failing: int | None = None) -> Engine:
    """An engine that trains nothing."""
    if workers == 1:
        return NoTraining(epoch_seconds)
    local.Worker = idle_worker(epoch_seconds, failing)  # type: ignore[assignment, misc]
    return local.LocalEngine(setup, workers)


def main(arguments: list[str]) -> None:
    from architectures.errors import ProjectError
    from search.config import SweepConfig
    from search.orchestrate import sweep

    asked: dict[str, Any] = json.loads(arguments[0])
    asked.setdefault("figures", False)  # nobody looks at them
    given: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in asked.items()}
    config = SweepConfig(**given, given=tuple(given))
    try:
        result = sweep(config, engine=lambda setup: untrained(setup, int(config.workers), float(arguments[1])))
    except ProjectError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(result.counts))


if __name__ == "__main__":
    main(sys.argv[1:])
