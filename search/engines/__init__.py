"""Engines run trials in other processes; all use the messages in `search.engines.messages`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from architectures.errors import ProjectError
from search.engines.messages import Event, Job, Ready


class WorkerFailed(ProjectError):
    """A worker could not start; has the exit code of its error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Engine(Protocol):
    """Where trials are trained. A context manager: on exit, it ends what is still running."""

    def __enter__(self) -> Engine: ...

    def __exit__(self, *_: object) -> None: ...

    def provide(self, dataset_folder: Path) -> None:
        """Set the folder with the data set; workers may already be starting."""

    def wait_until_ready(self) -> Ready:
        """Wait until trials can be submitted; raise WorkerFailed if that is impossible."""

    def free_worker(self) -> str | None:
        """Return the name of the worker that `submit` would use, or None."""

    def submit(self, job: Job) -> None:
        """Submit a job."""

    def reply(self, number: int, go_on: bool) -> None:
        """Answer a Built or EpochEnded event: whether the trial continues."""

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Return the next event of a trial, or None after `timeout` seconds."""
