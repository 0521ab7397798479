"""A training process, controlled by the process that started it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pkgutil
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from experiments.main_guard import check_main_guard, raise_if_unguarded
from experiments.training.messages import failed

CONTEXT = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
STOP_SECONDS = 5  # for a worker to end by itself before it is killed


class WorkerEnded(Exception):
    """The process of a worker has ended, and there are no more messages."""


class Worker:
    """A child process that serves a pipe. It is silent, and ends with its parent."""

    def __init__(
        self,
        serve: str,
        setup: object,
        *,
        settings: Sequence[tuple[str, str]] = (),
        cores: Sequence[int] = (),
    ) -> None:
        """Start it.

        Args:
            serve: `module:function`, called with the child's end of the pipe and `setup`. The child imports the module
                by itself, after its environment and its cores are set: NumPy and TensorFlow read them once.
            setup: what the function needs, sent to the child.
            cores: processor cores that it may run on; empty: all.

        Raises:
            UnguardedScript: in a script that the child cannot import.
        """
        check_main_guard()
        self.connection, theirs = CONTEXT.Pipe()
        # A daemon ends with this process; if that is killed, the closed pipe ends the worker.
        self.process = CONTEXT.Process(target=_main, args=(theirs, serve, setup, settings, cores), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, message: object) -> None:
        """Send a message; if the process has ended, `receive` raises."""
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def receive(self) -> Any:
        """Wait for the next message.

        Raises:
            WorkerEnded: with the reason, if the process has ended.
            UnguardedScript: if it ended because the script that it imports starts processes.
        """
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(STOP_SECONDS)
        code = self.process.exitcode
        raise_if_unguarded(code)
        reason = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL:
            reason += ", which a system without free memory sends"
        raise WorkerEnded(reason)

    def kill(self) -> None:
        """End the process at once."""
        self.connection.close()
        self.process.kill()
        self.process.join()

    def join(self) -> None:
        """Wait for the process, whose pipe was closed, and kill it if it does not end."""
        self.process.join(STOP_SECONDS)
        if self.process.is_alive():
            self.kill()


def _main(
    connection: Connection, serve: str, setup: object, settings: Sequence[tuple[str, str]], cores: Sequence[int]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    # TensorFlow's C++ writes to stderr before it reads its log level, and coremltools prints: stdout is the parent's.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.environ.update(settings)
    try:
        if cores:
            os.sched_setaffinity(0, cores)
        pkgutil.resolve_name(serve)(connection, setup)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the parent is gone
            connection.send(failed(None, error))
