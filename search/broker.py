"""A sweep on a Ray cluster: the broker, an actor on this node, owns the study; this process follows it.

Tasks report to the broker. If it dies, another one continues the study; if this process dies, Ray ends the broker and
its tasks, and running the sweep again continues it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.markup import escape

from architectures.command import one_line, traceback_text
from architectures.display import say
from architectures.errors import ProjectError
from architectures.redaction import redact
from experiments.interruption import interruptible
from search.config import SweepConfig
from search.engines import WorkerFailed
from search.engines.cluster import Share, check_nodes, connected, facts, trials_at_a_time
from search.engines.messages import Event, WorkerSetup
from search.orchestrate import SweepResult, sweep
from search.trials.progress import TrialProgress

if TYPE_CHECKING:
    from search.engines.ray import RayEngine

MAX_BROKERS = 3  # that may die in one sweep
FOLLOW_SECONDS = 0.5  # between checks for Ctrl-C
NOT_PASSED_ON = ("RAY_", "CUDA_", "OMP_")  # prefixes of environment variables that the broker does not inherit


@dataclass(frozen=True)
class SweepEnded:
    """The result or the error of the sweep in a broker."""

    result: SweepResult | None = None
    message: str = ""
    traceback: str = ""
    exit_code: int = 0


class Broker:
    """An actor that runs a sweep in a thread, and answers its tasks and the process that started it."""

    def __init__(self) -> None:
        self._said: list[tuple[str, tuple[object, ...]]] = []  # calls of TrialProgress to forward
        self._engine: RayEngine | None = None
        self._interrupted = False

    async def run(self, config: SweepConfig, myself: Any, folder: str, environment: dict[str, str]) -> SweepEnded:
        """Run the sweep, in the folder and environment of the process that started it."""
        os.chdir(folder)
        os.environ.update(environment)
        return await asyncio.to_thread(self._sweep, config, myself)

    async def say(self, ticket: int, event: Event | None, content: bytes | None) -> bool:
        """Handle an event of a task; return whether the task continues."""
        return self._engine is not None and await asyncio.wrap_future(self._engine.hear(ticket, event, content))

    async def follow(self) -> list[tuple[str, tuple[object, ...]]]:
        """Return the calls of TrialProgress since the last time."""
        await asyncio.sleep(FOLLOW_SECONDS if not self._said else 0.05)
        said, self._said = self._said, []
        return said

    async def interrupt(self) -> None:
        """End the sweep; its trials are requeued."""
        self._interrupted = True

    def _sweep(self, config: SweepConfig, myself: Any) -> SweepEnded:
        from search.engines.ray import RayEngine  # and Ray

        def engine(setup: WorkerSetup) -> RayEngine:
            made = RayEngine(
                replace(setup, facts=tuple(facts().items())),
                myself,
                Share(config.cpus_per_trial, config.gpus_per_trial),
                _most_workers(config),
            )
            self._engine = made
            return made

        progress = cast(TrialProgress, _Relay(self._said_something))
        try:
            with contextlib.redirect_stderr(_Lines(progress)):
                return SweepEnded(sweep(config, engine, progress, lambda: self._interrupted))
        except Exception as error:
            code = error.exit_code if isinstance(error, ProjectError) else 1
            return SweepEnded(message=one_line(error), traceback=traceback_text(error), exit_code=code)

    def _said_something(self, call: str, arguments: tuple[object, ...]) -> None:
        self._said.append((call, arguments))


class _Relay:
    """Forwards calls of a TrialProgress to the driver, which has the terminal."""

    def __init__(self, tell) -> None:  # type: ignore[no-untyped-def]
        self._tell = tell

    def __enter__(self) -> _Relay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, call: str):  # type: ignore[no-untyped-def]
        return lambda *arguments: self._tell(call, arguments)


class _Lines(io.TextIOBase):
    """Replaces stderr: warnings are shown where the progress is."""

    def __init__(self, progress: TrialProgress) -> None:
        self._progress, self._rest = progress, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            self._progress.say(escape(line))
        return len(text)


def _most_workers(config: SweepConfig) -> int | None:
    """Return how many trials may run at a time; None: as many as the cluster has room for."""
    return config.workers if "workers" in config.asked and isinstance(config.workers, int) else None


def sweep_on_ray(config: SweepConfig) -> SweepResult:
    """Run a sweep on the cluster at `config.ray_address`, or on one that is started for it.

    Raises:
        ProjectError: as `search.orchestrate.sweep`, and if there is no such cluster.
    """
    share = Share(config.cpus_per_trial, config.gpus_per_trial)
    with (
        interruptible() as early,  # Ctrl-C would be lost while Ray's processes start
        connected(config.ray_address or os.environ.get("RAY_ADDRESS")),  # Ray handles SIGTERM itself
        interruptible() as later,
    ):
        from ray.exceptions import RayActorError

        at_a_time = min(trials_at_a_time(share), _most_workers(config) or sys.maxsize)
        check_nodes(facts())
        for _ in range(MAX_BROKERS):
            try:
                ended = _follow(config, at_a_time, lambda: early() or later())
            except RayActorError as error:
                reason = str(error).strip().partition("\n")[0]
                say(f"warning: the sweep's broker died: {redact(reason)}", file=sys.stderr)
                continue
            if ended.result is None:
                raise WorkerFailed(ended.message, ended.exit_code) from ProjectError(ended.traceback)
            return ended.result
    raise ProjectError(
        f"The sweep's broker died {MAX_BROKERS} times. Nothing is lost: continue with python -m search.sweep --study "
        f"{config.study}."
    )


def _follow(config: SweepConfig, at_a_time: int, interrupted: Callable[[], bool]) -> SweepEnded:
    """Start a broker on this node, show its progress, and forward interruptions.

    Raises:
        KeyboardInterrupt: if the broker has no trials yet that it would have to requeue.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
    with TrialProgress(config.trials, at_a_time, pruner=config.resolved_pruner) as progress:
        progress.waiting("starting the broker")
        broker: Any = ray.remote(Broker).options(num_cpus=0, scheduling_strategy=here).remote()
        running = broker.run.remote(config, broker, str(Path.cwd()), environment)
        begun = told = over = False
        while not over:
            over = bool(ray.wait([running], timeout=0)[0])
            for call, arguments in ray.get(broker.follow.remote()):
                getattr(progress, call)(*arguments)
                begun = begun or call == "done"
            if interrupted() and not begun:
                raise KeyboardInterrupt  # here, not in the middle of one of Ray's calls, which may crash
            if interrupted() and not told:
                told = True
                broker.interrupt.remote()
        return ray.get(running)
