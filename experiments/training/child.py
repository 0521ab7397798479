"""Training in a process of its own, whose environment is set before this module is imported."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from architectures import registry
from architectures.command import one_line
from architectures.quiet import import_tensorflow
from architectures.scratch import scratch_folder
from experiments import datasets
from experiments.config import EpochMetrics, ModelSize
from experiments.training.loop import TrainingStopped, count_macs, train
from experiments.training.messages import Failed, Request, Retrained
from experiments.training.precision import visible_gpu

if TYPE_CHECKING:
    import keras


def train_again(connection: Connection, request: Request) -> None:
    """Train what is asked for; each epoch, and in the end what came of it or why nothing did, goes to `connection`."""
    started = False
    try:
        import_tensorflow()
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(request.threads)
        tf.config.threading.set_inter_op_parallelism_threads(request.threads)
        gpu = visible_gpu()
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
        connection.send(Failed(one_line(error), not started))
