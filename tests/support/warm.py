"""Processes forked from one that has imported everything: real processes, without the seconds of a cold start.

Importing TensorFlow, MLflow and coremltools takes six seconds of a processor, a small trial one. What only a cold start
can show is tested by `commands.run_module`; for everything else the start is not the point.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from multiprocessing import forkserver
from multiprocessing.context import ForkContext, ForkProcess, ForkServerContext, ForkServerProcess
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any
from unittest.mock import patch


class _Process(ForkServerProcess):
    """A forked process has the environment that its server was started with: it takes this process' own along."""

    def __init__(self, *, target: Callable[..., object], args: Iterable[Any] = (), **options: Any) -> None:
        super().__init__(target=_in_environment, args=(dict(os.environ), target, *args), **options)

    def start(self) -> None:
        with patch.dict(os.environ, ENVIRONMENT, clear=True):
            forkserver.ensure_running()
        super().start()


class WarmContext(ForkServerContext):
    """Starts processes that have imported what a worker, a command or a sweep needs."""

    Process = _Process


PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when its parent ends
ENVIRONMENT = dict(os.environ)  # of this session, before a test has changed something


def _in_environment(
    environment: dict[str, str], target: Callable[..., object], *args: object, **options: object
) -> None:
    from experiments import retraining
    from search.engines import local

    os.environ.clear()
    os.environ.update(environment)
    # Its own children are forked from it: nothing has run in it yet that would not survive.
    local.CONTEXT = retraining.CONTEXT = _ForkContext()  # type: ignore[assignment]
    target(*args, **options)


class _Forked(ForkProcess):
    """A forked process holds both ends of its pipe: it never hears that its parent was killed, and must end anyhow."""

    def __init__(self, *, target: Callable[..., object], args: Iterable[Any] = (), **options: Any) -> None:
        super().__init__(target=_until_parent_ends, args=(target, *args), **options)


class _ForkContext(ForkContext):
    Process = _Forked


def _until_parent_ends(target: Callable[..., object], *args: object) -> None:
    with contextlib.suppress(AttributeError):  # there is none on a Mac
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    target(*args)


def warm_context() -> WarmContext:
    """The context of this session, whose server is started with its first process."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.support.preloaded"])
    return WarmContext()


class Program:
    """A module run as `python -m` would, in a warm process; what `subprocess.Popen` offers of it, as far as used."""

    def __init__(self, module: str, *arguments: object, cwd: Path, **environment: str) -> None:
        """Start it in a folder."""
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = Path(self._folder.name, "out"), Path(self._folder.name, "err")
        words = [str(argument) for argument in arguments]
        self._process = warm_context().Process(target=_run, args=(module, words, cwd, environment, self._outputs))
        self._process.start()
        assert self._process.pid
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code; negative for the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired(self._process.name, timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to stdout and stderr, once it has ended."""
        self.wait(timeout)
        out, err = (path.read_text() for path in self._outputs)
        return out, err


def _imported(module: str) -> Any:
    """The module that `python -m` would run: of a package its `__main__`, unless the package itself has a `main`."""
    found = importlib.import_module(module)
    return found if hasattr(found, "main") else importlib.import_module(f"{module}.__main__")


Process = Program | Popen[str] | Popen[bytes]


def _run(module: str, arguments: list[str], cwd: Path, environment: dict[str, str], outputs: tuple[Path, Path]) -> None:
    os.environ.update(environment)
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
        code = _imported(module).main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    finally:
        with contextlib.suppress(OSError):
            atexit._run_exitfuncs()  # which multiprocessing's children leave out, unlike a program
    sys.exit(code)  # type: ignore[arg-type]
