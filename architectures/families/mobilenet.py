"""Depthwise-separable convolutions, after Howard et al., "MobileNets: Efficient Convolutional Neural Networks for
Mobile Vision Applications", 2017."""

import keras

from architectures.blocks import convolution, depthwise, pooled_probabilities
from architectures.registry import Shape, register


@register(default_filters=16, default_dropout=0.1)
def mobilenet(input_shape: Shape, num_classes: int, *, filters: int, dropout: float) -> keras.Model:
    """Splits a convolution into one per channel and one across channels: an eighth of the arithmetic.

    Family: depthwise-separable
    Paper: Howard et al. 2017, arXiv:1704.04861
    """
    inputs = keras.Input(input_shape)
    x = convolution(inputs, filters, 3, strides=2)
    for width, strides in ((2, 1), (4, 2), (4, 1)):
        x = depthwise(x, 3, strides=strides)
        x = convolution(x, width * filters, 1)
    return keras.Model(inputs, pooled_probabilities(x, num_classes, dropout), name="mobilenet")
