"""Processes forked from one that has imported everything: real processes, without the seconds of a cold start.

Importing TensorFlow, MLflow and coremltools takes six seconds of a processor, a small trial one. What only a cold start
can show is tested by `commands.run_module`; for everything else the start is not the point.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkProcess, ForkServerContext, ForkServerProcess
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any
from unittest.mock import patch

from tests.support.commands import entry_point, environment

PRELOADED = "tests.support.preloaded"
PATIENCE_SECONDS = 600.0  # for a program's end; less than the limit of a test, which would not say what it printed
SESSION_ENVIRONMENT = environment()  # before a test has changed something


class _Warm(ForkServerProcess):
    """A forked process has the environment that its server was started with: it takes this process' own along."""

    def __init__(self, *, target: Callable[..., object], args: Iterable[Any] = (), **options: Any) -> None:
        super().__init__(target=_begin, args=(dict(os.environ), target, *args), **options)

    def start(self) -> None:
        with patch.dict(os.environ, SESSION_ENVIRONMENT, clear=True):
            forkserver.ensure_running()
        super().start()


def start_server(output: Path) -> str:
    """Start the server of this process, and return its address; what its children say to nobody goes to a file."""
    warm_context()
    said = os.dup(1), os.dup(2)
    with output.open("ab") as file, patch.dict(os.environ, SESSION_ENVIRONMENT, clear=True):
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            forkserver.ensure_running()
        finally:
            for number, stream in enumerate(said, 1):
                os.dup2(stream, number)
                os.close(stream)
    server: Any = forkserver._forkserver
    return server._forkserver_address


def use_server(address: str) -> None:
    """Let this process fork from another one's server, which lives as long as that process."""
    server: Any = forkserver._forkserver
    server._forkserver_address = address
    server._forkserver_alive_fd = os.open(os.devnull, os.O_RDONLY)  # what a child would keep its server alive by
    server.ensure_running = forkserver.ensure_running = lambda: None  # it is not this one's to look after


class WarmContext(ForkServerContext):
    """Starts processes that have imported what a worker, a command or a sweep needs."""

    Process = _Warm


class _Forked(ForkProcess):
    """A child of a warm process."""

    def __init__(self, *, target: Callable[..., object], args: Iterable[Any] = (), **options: Any) -> None:
        super().__init__(target=_close_and_run, args=(target, *args), **options)


class _ForkContext(ForkContext):
    """Forks a warm process' own children, which must not hold the parent's ends of pipes: they wait for its end."""

    Process = _Forked
    parents_ends: list[Connection] = []  # noqa: RUF012  # of one process, which has one such context

    def Pipe(self, duplex: bool = True) -> tuple[Connection, Connection]:
        ours, theirs = super().Pipe(duplex)
        self.parents_ends.append(ours)
        return ours, theirs


def _begin(values: dict[str, str], target: Callable[..., object], *args: object, **options: object) -> None:
    from experiments.training import worker

    assert PRELOADED in sys.modules, "the server of warm processes is cold"
    os.environ.clear()
    os.environ.update(values)
    # Workers start before anything runs that would not survive a fork; one that replaces a dead one is forked beside
    # the sweep's thread of signs of life, and holds none of its locks. A real replacement is tested cold.
    worker.CONTEXT = _ForkContext()  # type: ignore[assignment]
    target(*args, **options)


def _close_and_run(target: Callable[..., object], *args: object) -> None:
    for end in _ForkContext.parents_ends:
        if not end.closed:
            end.close()
    target(*args)


def warm_context() -> WarmContext:
    """The context of this session, whose server is started with its first process."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([PRELOADED])
    return WarmContext()


class Program:
    """A module run as by `python -m`, in a warm process; with the interface of `subprocess.Popen`, as far as used."""

    def __init__(self, module: str, *arguments: object, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it in a folder, in this process' environment or another one."""
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = Path(self._folder.name, "out"), Path(self._folder.name, "err")
        words = [str(argument) for argument in arguments]
        values = dict(os.environ if env is None else env)
        self._process = warm_context().Process(target=_run, args=(module, words, cwd, values, self._outputs))
        self._process.start()
        atexit.register(self._process.kill)  # else a test that failed before its end would keep pytest from ending
        assert self._process.pid
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code; negative for the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float = PATIENCE_SECONDS) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            error = TimeoutExpired(self._process.name, timeout)
            error.add_note(f"stderr until then: {self._outputs[1].read_text()[-2000:]}")
            raise error
        return self._process.exitcode

    def communicate(self, timeout: float = PATIENCE_SECONDS) -> tuple[str, str]:
        """What it wrote to stdout and stderr, once it has ended."""
        self.wait(timeout)
        out, err = (path.read_text() for path in self._outputs)
        return out, err


def _run(module: str, arguments: list[str], cwd: Path, values: dict[str, str], outputs: tuple[Path, Path]) -> None:
    os.environ.clear()
    os.environ.update(values)
    os.chdir(cwd)
    sys.path.insert(0, str(cwd))
    for number, path in enumerate(outputs, 1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.argv = [module, *arguments]
    code: object = 1
    try:
        code = entry_point(module)(arguments)
    except SystemExit as stopped:
        code = stopped.code
    finally:
        with contextlib.suppress(OSError):
            atexit._run_exitfuncs()  # which multiprocessing's children leave out, unlike a program
    sys.exit(code)
