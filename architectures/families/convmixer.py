"""Patches mixed in space and across channels, after Trockman and Kolter, "Patches Are All You Need?", 2022.

ReLU replaces the paper's GELU, and batch normalisation comes before it: coremltools 9 lacks the exact GELU's `Erfc`,
and folds a normalisation only into the convolution right before it.
"""

import keras
from keras import layers

from architectures.blocks import convolution, depthwise, pooled_probabilities
from architectures.registry import Shape, register

PATCH = 4  # pixels a side
KERNEL = 5
DEPTH = 4


@register(default_filters=32, default_dropout=0.1)
def convmixer(input_shape: Shape, num_classes: int, *, filters: int, dropout: float) -> keras.Model:
    """One width and one resolution from patches to the end: nothing to tune but width and depth.

    Family: patches and mixers
    Paper: Trockman and Kolter 2022, arXiv:2201.09792
    """
    inputs = keras.Input(input_shape)
    x = convolution(inputs, filters, PATCH, strides=PATCH)
    for _ in range(DEPTH):
        x = layers.Add()([x, depthwise(x, KERNEL)])
        x = convolution(x, filters, 1)
    return keras.Model(inputs, pooled_probabilities(x, num_classes, dropout), name="convmixer")
