"""Recompute batch normalisation's averages from training images if an epoch has too few steps for them.

Keras' moving averages forget 1 % a step by default. With five steps an epoch they stay near their initial 0 and 1 for
tens of epochs, or reflect outdated weights: the network learns, but answers at random where it is validated and kept.
320 digits of mnist5k, fifteen epochs at batch 64: validation accuracy 0.31, and 0.87 with recomputed averages
(experiments/LOG.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.datasets import Split

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

MOST_BATCHES = 20  # of an epoch, from which averages are recomputed


def lags(momentum: float, steps: int) -> bool:
    """Return whether averages with this momentum reach back further than an epoch of this many steps.

    >>> lags(0.99, 5), lags(0.99, 400), lags(0.9, 31)
    (True, False, False)
    """
    return momentum >= 1 or steps < round(1 / (1 - momentum))


class Averages:
    """The averages of a classifier's layers that are too slow; without any, `renew` does nothing."""

    def __init__(self, classifier: keras.Model, split: Split, size: int) -> None:
        """Prepare for batches of `size` training images of the split."""
        import keras

        steps = len(split) // size
        self._classifier, self._split, self._size = classifier, split, size
        self._layers = [
            layer
            for layer in classifier._flatten_layers(include_self=False, recursive=True)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and lags(layer.momentum, steps)
        ]
        self._variables = [one for layer in self._layers for one in (layer.moving_mean, layer.moving_variance)]
        own = {id(variable) for variable in self._variables}
        self._others = [one for one in classifier.non_trainable_variables if id(one) not in own]
        self._graph = self._traced() if self._layers else None

    def _traced(self) -> tf.types.experimental.PolymorphicFunction:
        """Return a training pass after which each average is that of its batch only."""
        import tensorflow as tf

        shape = (self._size, *self._classifier.input_shape[1:])
        graph = tf.function(
            lambda batch: self._classifier(tf.cast(batch, tf.float32), training=True),
            input_signature=[tf.TensorSpec(shape, self._split.images.dtype)],  # pixels, or a backbone's features
        )
        momenta = [layer.momentum for layer in self._layers]
        try:
            for layer in self._layers:
                layer.momentum = 0.0
            graph.get_concrete_function()
        finally:
            for layer, momentum in zip(self._layers, momenta, strict=True):
                layer.momentum = momentum
        return graph

    def renew(self, order: np.ndarray) -> None:
        """Replace averages that are too slow by the means over the first batches of an epoch."""
        if self._graph is None:
            return
        before = [variable.numpy() for variable in self._others]
        found = []
        for start in range(0, min(len(order) - self._size + 1, MOST_BATCHES * self._size), self._size):
            self._graph(self._split.images[order[start : start + self._size]])
            found.append([variable.numpy() for variable in self._variables])
        for variable, *values in zip(self._variables, *found, strict=True):
            variable.assign(np.mean(values, axis=0))
        for variable, value in zip(self._others, before, strict=True):
            variable.assign(value)
