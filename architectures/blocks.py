"""Building blocks for several families: functions from tensor to tensor."""

from __future__ import annotations

from keras import KerasTensor, layers

MOMENTUM = 0.9  # of batch normalisation's averages: Keras' 0.99 is too slow for runs of a few hundred steps


def convolution(
    x: KerasTensor, filters: int, kernel_size: int, *, strides: int = 1, activation: str | None = "relu"
) -> KerasTensor:
    """Apply convolution, batch normalisation, activation: in this order, conversion folds the second into the first."""
    x = layers.Conv2D(filters, kernel_size, strides=strides, padding="same", use_bias=False)(x)
    return _normalized(x, activation)


def depthwise(x: KerasTensor, kernel_size: int, *, strides: int = 1, activation: str | None = "relu") -> KerasTensor:
    """Apply a depthwise convolution, batch normalisation, activation."""
    x = layers.DepthwiseConv2D(kernel_size, strides=strides, padding="same", use_bias=False)(x)
    return _normalized(x, activation)


def pooled_probabilities(x: KerasTensor, num_classes: int, dropout: float) -> KerasTensor:
    """Apply the mean over all positions, dropout, and a dense softmax: (N, num_classes)."""
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    return layers.Dense(num_classes, activation="softmax")(x)


def normalization() -> layers.BatchNormalization:
    """Return batch normalisation whose averages start at 0.

    They approach a batch's own from the first step on. Keras starts at variance 1, which hides a new network's small
    variances: validation after the first epochs would be poor, and a sweep would prune a network that is about to
    learn.
    """
    return layers.BatchNormalization(momentum=MOMENTUM, moving_variance_initializer="zeros")


def _normalized(x: KerasTensor, activation: str | None) -> KerasTensor:
    x = normalization()(x)
    return layers.Activation(activation)(x) if activation else x
