"""The network of Francois Chollet's `mnist_cnn.py` example in Keras 1 and 2."""

import keras
from keras import layers

from architectures.registry import Shape, register

MAX_DENSE_DROPOUT = 0.5  # the published rate of the second dropout layer, kept as the upper bound


@register(default_filters=32, default_dropout=0.25)
def chollet(input_shape: Shape, num_classes: int, *, filters: int, dropout: float) -> keras.Model:
    """Two convolutions and a wide dense layer: 1,199,882 parameters at the published widths.

    Family: convolutions and dense layers
    Paper: Keras example mnist_cnn.py, Chollet 2015
    """
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(filters, 3, activation="relu"),
            layers.Conv2D(2 * filters, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(dropout),
            layers.Flatten(),
            layers.Dense(4 * filters, activation="relu"),
            layers.Dropout(min(2 * dropout, MAX_DENSE_DROPOUT)),
            layers.Dense(num_classes, activation="softmax"),
        ],
        name="chollet",
    )
