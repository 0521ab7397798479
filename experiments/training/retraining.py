"""Train a recorded run again, in a worker process whose environment is set before this module is imported."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from architectures import registry
from architectures.scratch import scratch_folder
from experiments import datasets
from experiments.config import EpochMetrics, ModelSize
from experiments.datasets import Dataset
from experiments.training.loop import count_macs, train
from experiments.training.messages import Request, Retrained, failed
from experiments.training.precision import Gpu
from experiments.training.preparation import TrainingStopped
from experiments.training.starting import start_tensorflow

if TYPE_CHECKING:
    import keras


ONLY = 0  # the number of this process's only training


def serve_request(connection: Connection, request: Request) -> None:
    """Train as requested, and send the metrics of each epoch, then the result.

    Raises:
        Exception: if a plugin or data set cannot be loaded.
    """
    gpu = start_tensorflow(request.threads, request.plugins)
    registry.get(request.config.architecture)
    dataset = datasets.load(request.config.dataset)
    if dataset.digest != request.dataset_digest:
        connection.send(Retrained(dataset.digest, gpu))
        return
    try:
        connection.send(_train_again(connection, request, dataset, gpu))
    except BaseException as error:
        connection.send(failed(ONLY, error))


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
            pass  # stopped like the recorded run
    return Retrained(dataset.digest, gpu, tuple(epochs), sizes[0], weights)
