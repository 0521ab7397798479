"""An architecture that looks along rows and along columns."""

import keras
from keras import layers

from architectures import register


@register(default_filters=8, default_dropout=0.1)
def crossing(input_shape, num_classes, *, filters, dropout) -> keras.Model:
    """Two long, thin kernels side by side: a stripe is as long as the image, and one pixel wide.

    Family: crossed kernels
    """
    inputs = keras.Input(input_shape)
    along = layers.Conv2D(filters, (1, 7), padding="same", activation="relu")(inputs)
    across = layers.Conv2D(filters, (7, 1), padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D()(layers.Concatenate()([along, across]))
    x = layers.Dropout(dropout)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(num_classes, activation="softmax")(x), name="crossing")
