"""Convolutions only, after Springenberg et al., "Striving for Simplicity: The All Convolutional Net", 2014."""

import keras
from keras import layers

from architectures.blocks import convolution
from architectures.registry import Shape, register


@register(default_filters=16, default_dropout=0.1)
def allconv(input_shape: Shape, num_classes: int, *, filters: int, dropout: float) -> keras.Model:
    """Strides instead of pooling and a mean instead of a dense layer: parameters do not grow with the image.

    Family: all-convolutional
    Paper: Springenberg et al. 2014, arXiv:1412.6806
    """
    inputs = keras.Input(input_shape)
    x = convolution(inputs, filters, 3)
    x = convolution(x, filters, 3, strides=2)
    x = convolution(x, 2 * filters, 3)
    x = convolution(x, 2 * filters, 3, strides=2)
    x = convolution(x, 2 * filters, 3)
    x = layers.Dropout(dropout)(x)
    x = layers.Conv2D(num_classes, 1)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Softmax()(x), name="allconv")
