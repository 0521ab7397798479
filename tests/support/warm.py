"""Child processes forked from one that has imported everything: real processes, without the seconds of a cold start.

Importing TensorFlow, MLflow and coremltools takes six seconds of a processor, a small trial one. A product's child
process is started by the method `spawn`; tests for which the start is not the point replace that by `forkserver`.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any


class _Process(ForkServerProcess):
    """A forked process has the environment that its server was started with: it takes this process' own along."""

    def __init__(self, *, target: Callable[..., object], args: Iterable[Any] = (), **options: Any) -> None:
        super().__init__(target=_in_environment, args=(dict(os.environ), target, *args), **options)


class WarmContext(ForkServerContext):
    """Starts processes that have imported what a worker, a command or a sweep needs."""

    Process = _Process


def _in_environment(environment: dict[str, str], target: Callable[..., object], *args: object) -> None:
    os.environ.clear()
    os.environ.update(environment)
    target(*args)


def warm_context() -> WarmContext:
    """The context of this session, whose server is started with the first process."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.support.preloaded"])
    return WarmContext()
