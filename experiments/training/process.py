"""Train a configuration again in a process of its own, as a sweep's worker does: TensorFlow's threads are set once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection

from architectures.errors import ProjectError
from experiments.config import EpochMetrics
from experiments.main_guard import check_main_guard, raise_if_unguarded
from experiments.training.messages import Failed, Request, Retrained

CONTEXT = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork


class CannotTrain(ProjectError):
    """There is no such data set, architecture or plugin here."""


def retrain(request: Request, on_epoch: Callable[[EpochMetrics], None]) -> Retrained:
    """Train in a fresh process.

    Raises:
        CannotTrain: where it cannot start.
        ProjectError: where training fails.
    """
    check_main_guard()
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_main, args=(theirs, request), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            try:
                message = ours.recv()
            except EOFError:
                process.join()
                raise_if_unguarded(process.exitcode)
                raise ProjectError(f"The process that trains ended with exit code {process.exitcode}.") from None
            match message:
                case EpochMetrics():
                    on_epoch(message)
                case Retrained():
                    return message
                case Failed(text, before_training):
                    raise (CannotTrain if before_training else ProjectError)(text)
    finally:
        process.kill()
        process.join()


def _main(connection: Connection, request: Request) -> None:
    # TensorFlow's C++ writes to stderr before it reads its log level, plugins print: stdout is the command's.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.environ.update(request.settings)
    from experiments.training import child  # and NumPy, which reads these settings

    child.train_again(connection, request)
