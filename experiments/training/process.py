"""Train a configuration again in a process of its own, as a sweep's worker does: TensorFlow's threads are set once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from architectures.errors import ProjectError
from architectures.quiet import import_tensorflow
from architectures.scratch import scratch_folder
from experiments.config import EpochMetrics, ModelSize, RunConfig
from experiments.main_guard import check_main_guard, raise_if_unguarded
from experiments.training.precision import Gpu, visible_gpu

CONTEXT = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Request:
    """What to train, and under which conditions."""

    config: RunConfig
    dataset_digest: str  # of the data that are to be used; others are not
    threads: int  # TensorFlow's
    plugins: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]  # environment variables
    epochs: int | None  # after which to end, where the recorded run was ended by somebody


@dataclass(frozen=True)
class Retrained:
    """What came of it."""

    dataset_digest: str
    gpu: Gpu | None  # that TensorFlow sees
    epochs: tuple[EpochMetrics, ...] = ()  # none where the data are others
    size: ModelSize | None = None  # its coreml_bytes are not measured
    weights_sha256: str | None = None  # of the kept weights, where training ended by itself


@dataclass(frozen=True)
class _Failed:
    message: str
    before_training: bool


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
                case _Failed(text, before_training):
                    raise (CannotTrain if before_training else ProjectError)(text)
    finally:
        process.kill()
        process.join()


def _main(connection: Connection, request: Request) -> None:
    from architectures.command import one_line

    # TensorFlow's C++ writes to stderr before it reads its log level, plugins print: stdout is the command's.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    started = False
    try:
        os.environ.update(request.settings)

        import_tensorflow()
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(request.threads)
        tf.config.threading.set_inter_op_parallelism_threads(request.threads)
        gpu = visible_gpu()

        from architectures import registry
        from experiments import datasets
        from experiments.training.loop import TrainingStopped, count_macs, train

        for plugin in request.plugins:
            registry.load_plugin(plugin)
        registry.get(request.config.architecture)
        dataset = datasets.load(request.config.dataset)
        if dataset.digest != request.dataset_digest:
            connection.send(Retrained(dataset.digest, gpu))
            return
        started = True
        epochs: list[EpochMetrics] = []
        sizes: list[ModelSize] = []

        def measure(classifier: keras.Model) -> ModelSize:
            sizes.append(ModelSize(classifier.count_params(), count_macs(classifier), coreml_bytes=0))
            return sizes[0]

        def on_epoch(metrics: EpochMetrics) -> bool:
            epochs.append(metrics)
            connection.send(metrics)
            return metrics.epoch != request.epochs

        weights = None
        with scratch_folder() as folder:
            try:
                keras_file = folder / "model.keras"
                result = train(request.config, dataset, keras_file=keras_file, size=measure, on_epoch=on_epoch)
                weights = result.weights_sha256
            except TrainingStopped:
                pass  # as the recorded run was
        connection.send(Retrained(dataset.digest, gpu, tuple(epochs), sizes[0], weights))
    except BaseException as error:
        connection.send(_Failed(one_line(error), not started))
