"""Engines place trials on processes; each speaks the messages of `search.engines.messages`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from architectures.errors import ProjectError
from search.engines.messages import Event, Job, Ready


class WorkerFailed(ProjectError):
    """A worker could not start; carries the exit code of the error that it met."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Engine(Protocol):
    """Where trials are trained. A context manager: leaving it ends what it runs."""

    def __enter__(self) -> Engine: ...

    def __exit__(self, *_: object) -> None: ...

    def provide(self, dataset_folder: Path) -> None:
        """Say where the data set lies; workers may have been started before."""

    def wait_until_ready(self) -> Ready:
        """Wait until trials can be placed; raises WorkerFailed where that fails."""

    def free_worker(self) -> str | None:
        """Name of the place that `submit` would find, if there is one."""

    def submit(self, job: Job) -> None:
        """Place a job."""

    def reply(self, number: int, go_on: bool) -> None:
        """Answer a Built or EpochEnded: whether the trial goes on."""

    def next_event(self, timeout: float | None = None) -> Event | None:
        """The next thing that a trial says, or None once `timeout` seconds have passed."""
