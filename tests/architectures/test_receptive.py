"""Receptive fields against the pixels that really change an output."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import architectures
from architectures.receptive import receptive_fields

SIDE = 64


def seen(x: keras.KerasTensor, inputs: keras.KerasTensor) -> tuple[int, int]:
    """The box of pixels that have a gradient on one position in the middle of a feature map."""
    model = keras.Model(inputs, x)
    model.set_weights([np.ones_like(weight) for weight in model.get_weights()])
    image = np.random.default_rng(0).random((1, *inputs.shape[1:]), dtype=np.float32)

    @tf.function  # without it TensorFlow computes the weights' gradients too, and dies of one (experiments/LOG.md)
    def gradient(image: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(image)
            output = model(image)
            middle = tf.reduce_sum(output[:, output.shape[1] // 2, output.shape[2] // 2])
        return tape.gradient(middle, image)

    rows, columns = np.nonzero(np.abs(gradient(tf.constant(image)).numpy()).sum(axis=(0, 3)))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def stacked(x):
    x = layers.Conv2D(2, 5, padding="same", activation="relu")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.BatchNormalization()(x)
    return layers.DepthwiseConv2D((3, 5))(x)


def dilated(x):
    x = layers.Conv2D(2, 3, dilation_rate=3)(x)
    return layers.SeparableConv2D(2, 3, strides=2, padding="same")(x)


def merged(x):
    narrow = layers.Conv2D(2, 1, strides=2, padding="same")(x)
    wide = layers.Conv2D(2, 7, strides=2, padding="same")(x)
    return layers.Concatenate()([layers.Add()([narrow, wide]), narrow])


def shifted(x):
    """Two branches of 2 pixels, one beside the other by its padding: together they see 3."""
    left = layers.Conv2D(1, 2, padding="same")(x)
    deeper = layers.Conv2D(1, 2, padding="same")(left)
    return layers.Add()([left, deeper])


@pytest.mark.parametrize("body", [stacked, dilated, merged, shifted])
def test_the_field_is_what_gradients_reach(body: Callable) -> None:
    inputs = keras.Input((SIDE, SIDE + 6, 2))
    output = body(inputs)
    fields = receptive_fields(keras.Model(inputs, output))
    assert fields[output._keras_history.operation.name] == seen(output, inputs)


def test_published_networks() -> None:
    fields = receptive_fields(architectures.build("malireddi", (28, 28, 1), 10))
    assert list(fields.values()) == [(side, side) for side in (5, 6, 6, 10, 12, 12, 12, 16, 16, 28, 28, 28)]


def test_global_layers_see_everything_and_unknown_ones_are_not_guessed() -> None:
    inputs = keras.Input((20, 30, 1))
    x = layers.Conv2D(4, 3, name="first")(inputs)
    weights = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    x = layers.Multiply(name="weighed")([x, weights])
    x = layers.Conv2DTranspose(4, 3, name="after")(x)
    other = layers.UpSampling2D(name="unknown")(layers.Conv2D(4, 3)(inputs))
    joined = layers.Add(name="joined")([layers.Conv2D(4, 3, name="next")(other), layers.Conv2D(4, 3)(other)])
    fields = receptive_fields(keras.Model(inputs, [x, joined]))
    assert fields["first"] == (3, 3)
    assert fields["mean"] == fields["weighed"] == fields["after"] == (20, 30)
    assert fields["unknown"] is fields["next"] is fields["joined"] is None


def test_networks_inside_networks() -> None:
    inner = keras.Sequential([keras.Input((16, 16, 1)), layers.Conv2D(3, 3), layers.Conv2D(3, 3)], name="inner")
    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(1, 3, padding="same")(inputs)
    fields = receptive_fields(keras.Model(inputs, layers.MaxPooling2D(2, name="last")(inner(x))))
    assert fields["inner"] == (7, 7)
    assert fields["last"] == (8, 8)
