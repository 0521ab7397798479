"""Inverted residuals with squeeze-excitation, after Howard et al., "Searching for MobileNetV3", 2019."""

import keras
from keras import KerasTensor, layers

from architectures.blocks import convolution, depthwise, pooled_probabilities
from architectures.registry import Shape, register

EXPANSION = 3  # channels inside a block per input channel
SQUEEZE = 4  # channels of a block per unit of its squeeze-excitation


def _squeeze_excitation(x: KerasTensor) -> KerasTensor:
    """Scale channels by weights computed from the whole image."""
    channels = x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = layers.Conv2D(max(1, channels // SQUEEZE), 1, activation="relu")(weights)
    weights = layers.Conv2D(channels, 1, activation="hard_sigmoid")(weights)
    return layers.Multiply()([x, weights])


def _inverted_residual(x: KerasTensor, filters: int, *, strides: int) -> KerasTensor:
    """Expand, filter per channel, scale channels, project; add the input if the shapes agree."""
    inside = convolution(x, EXPANSION * x.shape[-1], 1, activation="hard_swish")
    inside = depthwise(inside, 3, strides=strides, activation="hard_swish")
    inside = convolution(_squeeze_excitation(inside), filters, 1, activation=None)
    return layers.Add()([x, inside]) if inside.shape == x.shape else inside


@register(default_filters=8, default_dropout=0.1)
def mobilenet_v3(input_shape: Shape, num_classes: int, *, filters: int, dropout: float) -> keras.Model:
    """Narrow tensors between wide blocks that weigh their channels: what phones ran best in 2019.

    Family: inverted residual with squeeze-excitation
    Paper: Howard et al. 2019, arXiv:1905.02244
    """
    inputs = keras.Input(input_shape)
    x = convolution(inputs, filters, 3, strides=2, activation="hard_swish")
    for width, strides in ((1, 1), (2, 2), (2, 1)):
        x = _inverted_residual(x, width * filters, strides=strides)
    x = convolution(x, 4 * filters, 1, activation="hard_swish")
    return keras.Model(inputs, pooled_probabilities(x, num_classes, dropout), name="mobilenet_v3")
