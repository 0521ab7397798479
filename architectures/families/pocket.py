"""Our own: the fewest shipped bytes at the accuracy of the published networks on digits (experiments/LOG.md).

Its design, by measurement:

- A global depthwise convolution before the head, one weight per position and channel, where tiny networks usually take
  the mean: digits differ in where their strokes are. It costs fewer than a thousand weights, a tenth of a flattened
  dense layer, and is worth far more than the same number of weights in more channels.
- Plain convolutions: at this size, depthwise-separable ones save few bytes and train slowly.
- Small initial weights before batch normalisation, which does not depend on their scale; Adam's steps do, and turn
  small weights faster, so that fewer epochs suffice.
"""

import keras
from keras import KerasTensor, initializers, layers

from architectures.blocks import normalization
from architectures.registry import Shape, register

INITIAL_SCALE = 0.01  # variance of the initial weights, as a share of Glorot's


def _convolution(x: KerasTensor, filters: int) -> KerasTensor:
    initializer = initializers.VarianceScaling(INITIAL_SCALE, mode="fan_avg", distribution="uniform")
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=initializer)(x)
    x = normalization()(x)
    return layers.Activation("relu")(x)


@register(default_filters=8, default_dropout=0.1)
def pocket(input_shape: Shape, num_classes: int, *, filters: int, dropout: float) -> keras.Model:
    """The published networks' accuracy on digits in a file of a few thousand bytes.

    Family: plain convolutions, global depthwise
    Paper: ours; pooling of Chen et al. 2018, arXiv:1804.07573
    """
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(filters, 3, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D()(x)
    x = _convolution(x, 7 * filters // 4)
    x = layers.MaxPooling2D()(x)
    x = _convolution(x, 5 * filters // 2)
    x = layers.DepthwiseConv2D(x.shape[1:3])(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, layers.Dense(num_classes, activation="softmax")(x), name="pocket")
