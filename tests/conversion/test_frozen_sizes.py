"""The bytes told before training are those of the file after it, whatever a builder has frozen."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from conversion.coreml.convert import Converter, coreml_bytes, randomize_trained
from conversion.coreml.formats import MINIMUM_IOS
from experiments.classifier import as_classifier
from tests.conversion.test_convert import FACTS

FROZEN: dict[str, Callable[[], layers.Layer]] = {
    "convolution": lambda: layers.Conv2D(16, 3),
    "depthwise": lambda: layers.DepthwiseConv2D(3),
    "separable": lambda: layers.SeparableConv2D(16, 3),
    "transposed": lambda: layers.Conv2DTranspose(16, 3),
    "dense": lambda: layers.Dense(16),
    "batch normalisation": lambda: layers.BatchNormalization(),
    "batch normalisation that stands": lambda: layers.BatchNormalization(momentum=1.0),
    "layer normalisation": lambda: layers.LayerNormalization(),
    "group normalisation": lambda: layers.GroupNormalization(4),
    "PReLU": lambda: layers.PReLU(shared_axes=[1, 2]),
    "adapted": lambda: layers.Normalization(),
}


def classifier(*kinds: str, trainable: bool = False) -> keras.Model:
    """A network with a layer of each kind, frozen or not, between convolutions that are trained."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((12, 12, 1))
    for kind in kinds:
        layer = FROZEN[kind]()
        layer.trainable = trainable
        x = layer(layers.Conv2D(8, 3, padding="same")(x))
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return as_classifier(keras.Model(inputs, outputs))


def trained(model: keras.Model) -> keras.Model:
    """The same model after two steps of Adam."""
    images = np.random.default_rng(0).integers(0, 256, (20, 12, 12, 1)).astype(np.float32)
    optimizer = keras.optimizers.Adam(1e-3)
    for _ in range(2):
        with tf.GradientTape() as tape:
            losses = keras.losses.sparse_categorical_crossentropy(np.arange(20) % 10, model(images, training=True))
        optimizer.apply(tape.gradient(losses, model.trainable_variables), model.trainable_variables)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", FROZEN)
def test_size_of_a_frozen_layer(kind: str) -> None:
    told = coreml_bytes(classifier(kind), FACTS)
    assert told == Converter(trained(classifier(kind)), FACTS).file().size_bytes


@cache
def converters(trainable: bool) -> tuple[Converter, Converter]:
    """Of all layers, as they are measured before training and as they are after it."""
    measured, after = (classifier(*FROZEN, trainable=trainable) for _ in range(2))
    randomize_trained(measured)
    return Converter(measured, FACTS), Converter(trained(after), FACTS)


@pytest.mark.parametrize(
    ("format", "compression", "trainable"),
    [
        *((*kind, False) for kind in MINIMUM_IOS),
        *(
            pytest.param(*kind, True, marks=pytest.mark.slow)
            for kind in (("mlmodel", "int8"), ("mlpackage", "palette4"))
        ),
    ],
)
def test_size_of_every_compression(format: str, compression: str, trainable: bool) -> None:
    told, shipped = (converter.file(format=format, compression=compression) for converter in converters(trainable))
    assert told.size_bytes == shipped.size_bytes


def test_each_frozen_layer_stores_what_was_measured() -> None:
    """So that no layer makes up for another."""
    told, shipped = (
        {name: {field: values.size for field, values in layer.items()} for name, layer in executable.weights.items()}
        for executable in (converter.executable("mlmodel") for converter in converters(False))
    )
    assert len(told) > len(FROZEN)
    assert told == shipped


def test_a_network_that_is_frozen_but_for_its_head() -> None:
    def build() -> keras.Model:
        model = classifier("convolution", "batch normalisation", trainable=True)
        for layer in model.layers[1].layers[:-1]:
            layer.trainable = False
        return model

    assert coreml_bytes(build(), FACTS) == Converter(trained(build()), FACTS).file().size_bytes
