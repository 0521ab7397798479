"""Train a recorded run again, in a worker process whose environment is set before this module is imported."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from architectures import registry
from architectures.quiet import import_tensorflow
from architectures.scratch import scratch_folder
from experiments import datasets
from experiments.config import EpochMetrics, ModelSize
from experiments.datasets import Dataset
from experiments.training.loop import TrainingStopped, count_macs, train
from experiments.training.messages import Request, Retrained, failed
from experiments.training.precision import Gpu, visible_gpu

if TYPE_CHECKING:
    import keras


def start_tensorflow(threads: int, plugins: Sequence[str]) -> Gpu | None:
    """Import TensorFlow, set its threads and load plugins; returns the GPU that it sees."""
    import_tensorflow()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    gpu = visible_gpu()
    for plugin in plugins:
        registry.load_plugin(plugin)
    return gpu


def serve_request(connection: Connection, request: Request) -> None:
    """Train what is requested, and send the metrics of each epoch, then what was found."""
    gpu = start_tensorflow(request.threads, request.plugins)
    registry.get(request.config.architecture)
    dataset = datasets.load(request.config.dataset)
    if dataset.digest != request.dataset_digest:
        connection.send(Retrained(dataset.digest, gpu))
        return
    try:
        connection.send(_train_again(connection, request, dataset, gpu))
    except Exception as error:
        connection.send(failed(0, error))


def _train_again(connection: Connection, request: Request, dataset: Dataset, gpu: Gpu | None) -> Retrained:
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
    return Retrained(dataset.digest, gpu, tuple(epochs), sizes[0], weights)
