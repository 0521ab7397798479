"""One epoch of training as a TensorFlow graph.

The whole epoch runs inside one graph, on images that stay uint8 in memory: without a Python step per batch, small
networks train faster than with `Model.fit` (benchmarks/sweep_against_plain_loop.py --precision float32). Images that
exceed memory are streamed into the same graph from disk, with the same result (streaming.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, SupportsFloat

import numpy as np

from experiments.config import RunConfig
from experiments.datasets import Split
from experiments.training import distillation, losses, optimizers, streaming
from experiments.training.augmentation import AUGMENTATION_FUNCTIONS
from experiments.training.mixing import mixed

if TYPE_CHECKING:
    import keras


def built_optimizer(classifier: keras.Model, config: RunConfig, steps: int) -> keras.optimizers.Optimizer:
    """Return a run's optimizer with its variables for a classifier's weights; `steps` per epoch."""
    optimizer = optimizers.build(config, _learning_rate(config, steps))
    # Keras sums gradients over replicas, of which there is only one here, with a function that TensorFlow never frees,
    # nor the graph that calls it: 10 MB per training (tensorflow/tensorflow#97697).
    optimizer._all_reduce_sum_gradients = list
    variables = classifier.trainable_variables
    optimizer.exclude_from_weight_decay(var_list=[each for each in variables if len(each.shape) < 2])  # not kernels
    optimizer.build(variables)
    return optimizer


def epoch_function(
    classifier: keras.Model,
    config: RunConfig,
    split: Split,
    count: int | None = None,
    optimizer: keras.optimizers.Optimizer | None = None,
    answers: np.ndarray | None = None,
) -> Callable[[np.ndarray, int], tuple[SupportsFloat, SupportsFloat]]:
    """Return a graph that trains one epoch on a split's images in a given order, and returns mean loss and accuracy.

    With a teacher, `answers` are its softened probabilities (N, num_classes) of these images, or of their originals if
    they are views.

    The images left over after the last full batch are not used; the next permutation leaves out others. One fixed
    batch shape means one trace.
    """
    import tensorflow as tf

    size = config.batch_size
    count = len(split) if count is None else count
    steps = count // size
    optimizer = optimizer or built_optimizer(classifier, config, steps)
    variables = classifier.trainable_variables
    streamed = streaming.streams(split)
    images, labels = (None, None) if streamed else (tf.constant(split.images), tf.constant(split.labels))
    seed = tf.constant(config.seed, tf.int64)
    classes = classifier.output_shape[-1]
    weights = tf.constant(class_weights(split.labels, classes)) if config.class_weight == "balanced" else None
    # cached features are already of augmented images
    augment = None if config.views else AUGMENTATION_FUNCTIONS[config.augment]
    mixes = bool(config.mixup or config.cutmix)
    loss_of_each = losses.build(config, classes)
    if answers is not None:
        loss_of_each, answered = distillation.taught(loss_of_each, config), tf.constant(answers)

    def mean_loss(target, probabilities):  # type: ignore[no-untyped-def]
        found = loss_of_each(target, probabilities)
        if weights is not None:
            in_shares = len(target.shape) == 2
            found *= tf.linalg.matvec(target[:, :classes], weights) if in_shares else tf.gather(weights, target)
        return tf.reduce_mean(found)

    # TensorFlow's own loop, because converting a Python loop takes half a second in each process.
    @tf.function(input_signature=[tf.TensorSpec((count,), tf.int64), tf.TensorSpec((), tf.int32)], autograph=False)
    def run_epoch(permutation, epoch):  # type: ignore[no-untyped-def]
        stream = iter(streaming.batches(split, permutation, size=size)) if streamed else None

        def take_step(step, total_loss, correct):  # type: ignore[no-untyped-def]
            chosen = tf.ensure_shape(permutation[step * size : (step + 1) * size], (size,))
            if stream:
                batch, target = stream.get_next()
            else:
                batch, target = tf.gather(images, chosen), tf.gather(labels, chosen)
            batch = tf.cast(batch, tf.float32)
            draw = tf.stack([seed, tf.cast(epoch * steps + step, tf.int64)])
            if augment:
                batch = augment(batch, seed=draw)
            in_shares = mixes or config.label_smoothing or answers is not None
            shares = tf.one_hot(target, classes) if in_shares else target
            if answers is not None:
                shares = tf.concat([shares, tf.gather(answered, chosen % len(answers))], axis=1)
            if mixes:
                batch, shares = mixed(batch, shares, mixup=config.mixup, cutmix=config.cutmix, seed=draw)
            probabilities = classifier(batch, training=True)
            loss = mean_loss(shares, probabilities)
            for penalty in classifier.losses:  # regularisation in a plugin's layers
                loss += tf.cast(penalty, tf.float32)
            gradients = tf.gradients(loss, variables, aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE)
            optimizer.apply(gradients, variables)
            right = tf.math.count_nonzero(tf.argmax(probabilities, axis=-1) == target, dtype=tf.int32)
            return step + 1, total_loss + loss, correct + right

        # Not over the batches themselves, because `tf.data` would use additional threads.
        start = tf.constant(0), tf.constant(0.0), tf.constant(0)
        _, total_loss, correct = tf.while_loop(lambda step, *_: step < steps, take_step, start)
        return total_loss / steps, correct / (steps * size)

    return run_epoch


def _learning_rate(config: RunConfig, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate, or its schedule, given the number of steps per epoch."""
    import keras

    if config.schedule == "constant":
        return config.learning_rate
    return keras.optimizers.schedules.CosineDecay(config.learning_rate, decay_steps=config.epochs * steps)


def class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the weight of each class's images in the loss, `balanced` as in scikit-learn's `compute_class_weight`.

    >>> class_weights(np.array([0, 0, 0, 1]), 2)
    array([0.6666667, 2.       ], dtype=float32)
    """
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (num_classes * np.maximum(counts, 1))).astype(np.float32)
