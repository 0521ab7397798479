"""Residual blocks, after He et al., "Deep Residual Learning for Image Recognition", 2015."""

import keras
from keras import KerasTensor, layers

from architectures.blocks import convolution, pooled_probabilities
from architectures.registry import Shape, register


def _residual(x: KerasTensor, filters: int, *, strides: int) -> KerasTensor:
    """Apply two convolutions that learn a change to the input."""
    inside = convolution(x, filters, 3, strides=strides)
    inside = convolution(inside, filters, 3, activation=None)
    if inside.shape != x.shape:
        x = convolution(x, filters, 1, strides=strides, activation=None)
    return layers.Activation("relu")(layers.Add()([x, inside]))


@register(default_filters=8, default_dropout=0.1)
def resnet(input_shape: Shape, num_classes: int, *, filters: int, dropout: float) -> keras.Model:
    """Blocks that add to their input train well at any depth: the yardstick of accuracy.

    Family: residual
    Paper: He et al. 2015, arXiv:1512.03385
    """
    inputs = keras.Input(input_shape)
    x = convolution(inputs, filters, 3)
    for width, strides in ((1, 1), (2, 2), (4, 2)):
        x = _residual(x, width * filters, strides=strides)
    return keras.Model(inputs, pooled_probabilities(x, num_classes, dropout), name="resnet")
