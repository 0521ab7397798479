"""The network of Venkata Malireddi's MNIST notebook, as trained in the 2018 Keras and Core ML tutorial."""

import keras
from keras import layers

from architectures.registry import Shape, register


@register(default_filters=32, default_dropout=0.2)
def malireddi(input_shape: Shape, num_classes: int, *, filters: int, dropout: float) -> keras.Model:
    """Three conv-pool stages that shrink fast: 94,602 parameters at the published widths.

    Family: convolutions and dense layers
    Paper: MNIST notebook, Malireddi 2018
    """
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(filters, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(dropout),
            layers.Conv2D(2 * filters, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(dropout),
            layers.Conv2D(4 * filters, 1, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(dropout),
            layers.Flatten(),
            layers.Dense(4 * filters, activation="relu"),
            layers.Dense(num_classes, activation="softmax"),
        ],
        name="malireddi",
    )
