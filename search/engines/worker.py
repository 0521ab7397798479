"""A worker process: holds TensorFlow and the data set, and trains one trial after another.

Importing TensorFlow for each trial would double a short trial's time.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import traceback
from multiprocessing.connection import Connection

from search.engines.messages import (
    Built,
    EpochEnded,
    Failed,
    Finished,
    Job,
    Known,
    Placed,
    Ready,
    Stopped,
    WorkerSetup,
)


def main(connection: Connection, setup: WorkerSetup) -> None:
    """Receive the data set's folder, then serve jobs until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the sweep decides
    # TensorFlow's C++ writes to stderr before it reads its log level, and coremltools prints: stdout is the sweep's.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        _serve(connection, setup)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the sweep is gone
    except BaseException as error:
        _send_failure(connection, None, error)


def _serve(connection: Connection, setup: WorkerSetup) -> None:
    if setup.cores:
        os.sched_setaffinity(0, setup.cores)  # before TensorFlow starts its threads

    import tensorflow as tf

    from experiments.precision import prepare_gpu

    tf.config.threading.set_intra_op_parallelism_threads(setup.threads)
    tf.config.threading.set_inter_op_parallelism_threads(setup.threads)
    gpu = prepare_gpu()

    import tqdm

    from architectures import registry
    from architectures.command import one_line
    from architectures.errors import PluginError, UsageError
    from conversion.convert import coreml_bytes, coremltools
    from experiments.config import EpochMetrics, ModelSize
    from experiments.tracking import environment
    from experiments.training import TrainingStopped, count_macs, train
    from search.engines.shared_data import open_dataset

    # The lock that tqdm makes by default is a semaphore, of which a killed worker would leave a warning at exit.
    tqdm.tqdm.set_lock(threading.RLock())
    coremltools()
    for plugin in setup.plugins:
        registry.load_plugin(plugin)
    dataset = open_dataset(connection.recv())

    known, warnings = [], [one_line(error) for error in registry.left_out()]
    for name in setup.architectures or registry.names():
        architecture = registry.get(name)
        misfit = None
        try:
            architecture.build(dataset.input_shape, dataset.num_classes)
        except UsageError as error:  # images too small for this one
            misfit = str(error)
        except PluginError as error:
            if name in setup.architectures:
                raise
            misfit = one_line(error)  # of an installed plugin that nobody asked for
            warnings.append(misfit)
        knobs = tuple(sorted(architecture.knobs.items()))
        known.append(Known(name, architecture.default_filters, architecture.default_dropout, misfit, knobs))
    # coremltools collects garbage three times per conversion; without the imports' objects that costs nothing.
    gc.collect()
    gc.freeze()
    connection.send(Ready(tuple(known), tuple(warnings), gpu))

    where = environment(setup.threads, gpu, setup.plugins)
    while True:
        job: Job = connection.recv()
        connection.send(Placed(job.number, where))

        def measure(classifier, job=job) -> ModelSize:  # type: ignore[no-untyped-def]  # keras.Model
            shipped = coreml_bytes(classifier, job.facts, compression=job.config.compress)
            return ModelSize(classifier.count_params(), count_macs(classifier), shipped)

        def on_built(size: ModelSize, job=job) -> bool:  # type: ignore[no-untyped-def]
            connection.send(Built(job.number, size))
            return connection.recv()

        def on_epoch(metrics: EpochMetrics, job=job) -> bool:  # type: ignore[no-untyped-def]
            connection.send(EpochEnded(job.number, metrics))
            return connection.recv()

        try:
            result = train(
                job.config,
                dataset,
                keras_file=job.keras_file,
                size=job.size or measure,
                on_built=on_built,
                on_epoch=on_epoch,
            )
            connection.send(Finished(job.number, result))
        except TrainingStopped:
            connection.send(Stopped(job.number))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            _send_failure(connection, job.number, error)


def _send_failure(connection: Connection, number: int | None, error: BaseException) -> None:
    from architectures.command import one_line
    from architectures.errors import ProjectError

    code = error.exit_code if isinstance(error, ProjectError) else 1
    connection.send(Failed(number, one_line(error), "".join(traceback.format_exception(error)), code))
