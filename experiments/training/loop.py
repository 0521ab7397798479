"""Train one configuration on one data set, and keep the weights of the best epoch."""

from __future__ import annotations

import hashlib
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from architectures import registry
from architectures.errors import ProjectError
from experiments.classifier import as_classifier, network_of, predict, weights_sha256
from experiments.config import EpochMetrics, ModelSize, RunConfig, RunResult, learns_on
from experiments.datasets import Dataset, Split
from experiments.evaluation.expected import ResampledEpochs
from experiments.training.distillation import SMALLEST_PROBABILITY
from experiments.training.graph_work import macs
from experiments.training.head_first import learn_head
from experiments.training.preparation import Prepared, TrainingStopped, prepare
from experiments.training.state import Keeper, Keeping

if TYPE_CHECKING:
    import keras

PATIENCE = 5  # epochs without a better one after which a run at a constant rate ends
LATENCY_REPEATS = 30  # single-image predictions whose median is the latency


class TrainingDiverged(ProjectError):
    """The loss became NaN or infinite."""


def train(
    config: RunConfig,
    dataset: Dataset,
    *,
    keras_file: Path,
    size: ModelSize | Callable[[keras.Model], ModelSize],
    on_built: Callable[[ModelSize], bool] = lambda _: True,
    on_epoch: Callable[[EpochMetrics], bool] = lambda _: True,
    keeping: Keeping | None = None,
) -> RunResult:
    """Train and keep the weights of the best epoch by the objective: see `EpochMetrics.merit`.

    For the sake of the same bits it switches TensorFlow's arithmetic optimisation of graphs off in this process and,
    where there is a GPU, kernels on that add in no fixed order. A plugin's layer that has no other kernel ends with an
    `UnimplementedError` there; TF_DETERMINISTIC_OPS=0 in the environment allows it.

    Args:
        config: what to train; the same values on the same machine and thread count give the same bits.
        dataset: its `train` and `val` splits are used.
        keras_file: where the kept model is written.
        size: the sizes where they are known, else measures a built classifier; called before the seed is set, so
            that it cannot change a result.
        on_built: told the sizes before the first epoch; returning False ends the run.
        on_epoch: told each epoch's metrics, those of an earlier attempt too; returning False ends the run.
        keeping: how its state is kept after epochs, and what an earlier attempt has kept; None: it is not.

    Raises:
        UsageError: for a configuration that does not fit the data.
        TrainingDiverged: if a loss is not finite.
        TrainingStopped: if `on_built` or `on_epoch` returned False.

    An example stands in docs/api.md.
    """
    prepared = prepare(config, dataset, size=size, on_built=on_built)
    return fit(prepared, keras_file=keras_file, on_epoch=on_epoch, keeping=keeping)


def fit(
    prepared: Prepared,
    *,
    keras_file: Path,
    on_epoch: Callable[[EpochMetrics], bool] = lambda _: True,
    keeping: Keeping | None = None,
) -> RunResult:
    """Train what was prepared, from the state that `keeping` has found if there is one.

    Without a usable state, a training that has begun before is prepared again. The other arguments, and the errors
    while training, are those of `train`.
    """
    config, dataset = prepared.config, prepared.dataset
    kept, learning, trained = prepared.kept, prepared.learning, prepared.trained
    images = len(dataset.train)
    shuffle = np.random.default_rng(config.seed)
    keeper = Keeper(keeping, prepared.variables, shuffle)

    epochs: list[EpochMetrics] = []
    best: EpochMetrics | None = None
    best_weights: list[np.ndarray] = []
    best_probabilities = np.empty((0, dataset.num_classes), np.float32)
    found = keeper.resume()
    if prepared.begun and not found:
        prepared.renew()  # its weights are not the initial ones; rare, so memory may hold it twice
        return fit(prepared, keras_file=keras_file, on_epoch=on_epoch, keeping=keeping and replace(keeping, found=None))
    prepared.begun = True
    if learns_on(config.knobs) and not found:
        learn_head(kept, registry.get(config.architecture), config, dataset, prepared.answers)
        if trained is not kept:
            trained.set_weights(kept.get_weights())
    expecting = ResampledEpochs(len(prepared.val), found.resampled if found else None)
    if found:
        epochs, best = [*found.epochs], found.best
        best_weights, best_probabilities = found.best_weights, found.best_probabilities
    for metrics in epochs:  # again: whoever listens may lack them
        if not on_epoch(metrics):
            raise TrainingStopped(f"Ended after epoch {metrics.epoch}.")
    for epoch in range(len(epochs) + 1, config.epochs + 1):
        started = time.perf_counter()
        order = shuffle.permutation(images) + images * ((epoch - 1) % max(1, config.views))
        loss, accuracy = (float(value) for value in prepared.run_epoch(order, epoch))
        if trained is not learning:
            learning.set_weights(trained.get_weights())
        prepared.averages.renew(order)
        val_loss, val_accuracy, val_balanced, probabilities = _validate(prepared.validated, prepared.val)
        if not (math.isfinite(loss) and math.isfinite(val_loss)):
            raise TrainingDiverged(
                f"The loss of {config.architecture} is not finite after epoch {epoch} "
                f"(learning rate {config.learning_rate:g}): lower the learning rate."
            )
        seconds = time.perf_counter() - started
        expecting.add(probabilities.argmax(axis=1) == prepared.val.labels)
        metrics = EpochMetrics(epoch, loss, accuracy, val_loss, val_accuracy, seconds, val_balanced)
        epochs.append(metrics)
        if best is None or metrics.merit(config.objective) > best.merit(config.objective):
            best, best_weights, best_probabilities = metrics, learning.get_weights(), probabilities
        keeper.keep(  # before the epoch is reported: a trial that is paused after it resumes from here
            prepared.run_epoch,
            epochs=epochs,
            best_epoch=best.epoch,
            best_weights=best_weights,
            best_probabilities=best_probabilities,
            resampled=expecting.resampled,
        )
        if not on_epoch(metrics):
            raise TrainingStopped(f"Ended after epoch {epoch}.")
        if config.schedule == "constant" and epoch - best.epoch >= PATIENCE:
            break  # a rate that falls has to fall to its end: the last epochs are where it pays

    assert best is not None  # config.epochs is at least 1
    learning.set_weights(best_weights)
    kept.save(keras_file)
    steady = [each for each in epochs if each.epoch not in keeper.began] or epochs
    steps = len(dataset.train) // config.batch_size
    return RunResult(
        epochs=tuple(epochs),
        best_epoch=best.epoch,
        best_val_accuracy=best.val_accuracy,
        best_val_loss=best.val_loss,
        best_val_balanced_accuracy=best.val_balanced_accuracy,
        size=prepared.size,
        keras_bytes=keras_file.stat().st_size,
        keras_sha256=hashlib.sha256(keras_file.read_bytes()).hexdigest(),
        weights_sha256=weights_sha256(kept),
        latency_ms=_latency_ms(prepared.forward, dataset.val),
        host_load=os.getloadavg()[0],
        images_per_second=steps * config.batch_size / statistics.median(m.epoch_seconds for m in steady),
        keras_file=keras_file,
        input_shape=dataset.input_shape,
        num_classes=dataset.num_classes,
        val_probabilities=best_probabilities,
        resampled=tuple(tuple(row) for row in expecting.resampled.tolist()),
    )


def _validate(forward: Callable[[np.ndarray], np.ndarray], split: Split) -> tuple[float, float, float, np.ndarray]:
    """Mean cross-entropy, accuracy and balanced accuracy over a split, and the probabilities (N, num_classes)."""
    probabilities = predict(forward, split.images)
    of_label = probabilities[np.arange(len(split)), split.labels] / np.maximum(
        probabilities.sum(axis=1), SMALLEST_PROBABILITY
    )
    loss = -float(np.log(np.clip(of_label, SMALLEST_PROBABILITY, 1)).mean())
    right = probabilities.argmax(axis=1) == split.labels
    images = np.bincount(split.labels)
    recalls = np.bincount(split.labels, weights=right)[images > 0] / images[images > 0]
    return loss, float(right.mean()), float(recalls.mean()), probabilities


def _latency_ms(forward: Callable[[np.ndarray], np.ndarray], split: Split) -> float:
    """Median time of one image through the model, in milliseconds; more than four digits of it would be noise."""
    times = []
    for index in range(LATENCY_REPEATS):
        image = split.images[index % len(split)][None]
        started = time.perf_counter()
        forward(image)
        times.append(time.perf_counter() - started)
    return float(f"{statistics.median(times) * 1e3:.4g}")


def published_macs(
    architecture: registry.Architecture, input_shape: tuple[int, int, int], num_classes: int, filters: int | None
) -> int:
    """Multiply-accumulates of an architecture for one image, for the table of architectures."""
    return count_macs(as_classifier(architecture.build(input_shape, num_classes, filters=filters)))


def count_macs(classifier: keras.Model) -> int:
    """Multiply-accumulates for one image, counted on the traced graph: convolutions and matrix products.

    >>> count_macs(as_classifier(registry.build("malireddi", (28, 28, 1), 10)))
    2575616
    """
    import tensorflow as tf

    network = network_of(classifier)
    graph = (
        tf.function(lambda image: network(image, training=False))
        .get_concrete_function(tf.TensorSpec((1, *network.input_shape[1:]), tf.float32))
        .graph
    )
    return sum(map(macs, graph.get_operations()))
