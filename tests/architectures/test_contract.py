"""The contract of architectures, over every registered name, and that it tells what breaks it."""

from __future__ import annotations

from collections.abc import Callable

import keras
import pytest
import tensorflow as tf
from keras import layers

import architectures
from architectures import contract, registry
from architectures.contract import ContractBroken, check_architecture
from architectures.errors import ProjectError, UsageError
from architectures.registry import Architecture, Shape
from tests.support import families

BUILT_IN = ("allconv", "chollet", "convmixer", "malireddi", "mobilenet", "mobilenet_v3", "pocket", "resnet")
DEEP = ("allconv", "convmixer", "mobilenet", "mobilenet_v3", "pocket", "resnet")  # whose conversions take seconds


@pytest.mark.parametrize("name", families.each(slow=("chollet", *DEEP, *families.BACKBONES)))
def test_every_registered_architecture_keeps_the_contract(name: str) -> None:
    check_architecture(name)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_families_say_what_they_are(name: str) -> None:
    architecture = architectures.get(name)
    assert architecture.summary.endswith(".")
    assert architecture.family
    assert architecture.paper
    smallest = 16 if name == "malireddi" else 8
    for channels in (1, 3):
        for size in ((smallest, smallest), (smallest + 3, 40)):
            assert architecture.build((*size, channels), 4, filters=1).output_shape == (None, 4)


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"malireddi", "chollet"}))
def test_batch_normalisation_follows_a_convolution(name: str) -> None:
    """Where it can be folded: anything else would ship as layers of its own."""
    model = architectures.build(name, (28, 28, 1), 10)
    found = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert found
    for layer in found:
        before = layer.input._keras_history.operation
        assert isinstance(before, layers.Conv2D | layers.DepthwiseConv2D)
        assert not before.use_bias


def head(x: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    return layers.Dense(classes, activation="softmax")(layers.Flatten()(x))


def ignores_filters(x, classes, *, filters, dropout):
    return head(layers.Dropout(dropout)(layers.Conv2D(4, 3)(x)), classes)


def ignores_dropout(x, classes, *, filters, dropout):
    return head(layers.Conv2D(filters, 3)(x), classes)


def always_drops(x, classes, *, filters, dropout):
    return head(layers.Dropout(max(dropout, 0.1))(layers.Conv2D(filters, 3)(x)), classes)


def unused_weights(x, classes, *, filters, dropout):
    cut = keras.ops.stop_gradient(layers.Conv2D(filters, 3)(x))
    return head(layers.Dropout(dropout)(cut), classes)


@keras.saving.register_keras_serializable(package="test_contract")
class LogGamma(layers.Layer):
    """Has a gradient, and no counterpart in Core ML."""

    def call(self, x):
        return tf.math.lgamma(1.0 + keras.ops.abs(x))


def not_convertible(x, classes, *, filters, dropout):
    return head(layers.Dropout(dropout)(LogGamma()(layers.Conv2D(filters, 3)(x))), classes)


class Forgetful(layers.Dense):
    """Not registered, so that a file of it cannot be loaded."""


def not_loadable(x, classes, *, filters, dropout):
    return head(layers.Dropout(dropout)(Forgetful(filters)(x)), classes)


BROKEN = [
    (ignores_filters, "filters widen", r"parameters do not grow with filters: \[(\d+), \1, \1\]"),
    (ignores_dropout, "dropout arrives", r"a dropout of 0\.2 and of 0\.4 build layers of the same rates: \[\]"),
    (always_drops, "dropout arrives", r"two training passes with dropout 0\.0 differ"),
    (unused_weights, "training step", r"weights without a gradient: \S*kernel, \S*bias"),
    (not_convertible, "conversion", r"its layer 'log_gamma\w*' \(LogGamma\): .*Lgamma"),
]


def noise_that_stays(x, classes, *, filters, dropout):
    noisy = layers.GaussianNoise(max(dropout, 0.1))(layers.Conv2D(filters, 3)(x))
    return head(layers.Dropout(dropout)(noisy), classes)


def own_rate_and_one_that_stays(x, classes, *, filters, dropout):
    return always_drops(
        layers.SpatialDropout2D(0.3)(layers.Conv2D(filters, 3)(x)), classes, filters=filters, dropout=dropout
    )


BROKEN += [
    (noise_that_stays, "dropout arrives", r"two training passes with dropout 0\.0 differ: in gaussian_noise\w*$"),
    (own_rate_and_one_that_stays, "dropout arrives", r"with dropout 0\.0 differ: in dropout\w*$"),
]


@keras.saving.register_keras_serializable(package="test_contract")
class StochasticDepth(layers.Layer):
    """Leaves a branch out for whole images, at a rate that no layer inside it shows."""

    def __init__(self, share: float, **options) -> None:
        super().__init__(**options)
        self.share, self.seeds = share, keras.random.SeedGenerator()

    def call(self, x, training=False):
        if not training:
            return x
        draws = keras.random.uniform((keras.ops.shape(x)[0], 1, 1, 1), seed=self.seeds)
        return keras.ops.where(draws < self.share, 0.0, x / (1 - self.share))

    def get_config(self):
        return {**super().get_config(), "share": self.share}


RANDOM_IN_TRAINING: dict[str, Callable[[], layers.Layer]] = {
    "RandomFlip": lambda: layers.RandomFlip(),
    "RandomRotation": lambda: layers.RandomRotation(0.1),
    "RandomTranslation": lambda: layers.RandomTranslation(0.1, 0.1),
    "RandomZoom": lambda: layers.RandomZoom(0.2),
    "RandomContrast": lambda: layers.RandomContrast(0.3),
    "RandomBrightness": lambda: layers.RandomBrightness(0.2, value_range=(0, 1)),
    "GaussianNoise": lambda: layers.GaussianNoise(0.1),
    "GaussianDropout": lambda: layers.GaussianDropout(0.3),
    "AlphaDropout": lambda: layers.AlphaDropout(0.3),
    "SpatialDropout2D": lambda: layers.SpatialDropout2D(0.3),
    "Dropout": lambda: layers.Dropout(0.3),
    "StochasticDepth": lambda: StochasticDepth(0.3),
    "Sequential": lambda: keras.Sequential([layers.RandomFlip(), layers.GaussianNoise(0.1)]),
}


@pytest.mark.parametrize("name", RANDOM_IN_TRAINING)
def test_layers_that_are_random_in_training_alone(name: str) -> None:
    def noisy(x, classes, *, filters, dropout):
        x = RANDOM_IN_TRAINING[name]()(x)
        return head(layers.Dropout(dropout)(layers.Conv2D(filters, 3, activation="relu")(x)), classes)

    found = contract.checks()
    for check in ("probabilities", "dropout arrives", "training step"):
        found[check](broken(noisy), (12, 12, 1), 4)


def test_a_network_that_augments_its_own_images_keeps_the_contract() -> None:
    def augmenting(x, classes, *, filters, dropout):
        x = layers.GaussianNoise(0.05)(layers.RandomFlip()(x))
        x = layers.SpatialDropout2D(0.2)(layers.Conv2D(filters, 3, activation="relu")(x))
        return head(layers.Dropout(dropout)(x), classes)

    check_architecture(broken(augmenting), input_shape=(12, 12, 1))


def test_layers_with_several_inputs_and_outputs_among_random_ones() -> None:
    """Each layer is asked with all that it was called with, and by all that it answers."""

    def attending(x, classes, *, filters, dropout):
        x = layers.Reshape((-1, filters))(layers.Conv2D(filters, 3, strides=3)(layers.RandomFlip()(x)))
        x, scores = layers.MultiHeadAttention(2, 4)(x, value=x, return_attention_scores=True)
        x, *states = layers.LSTM(filters, return_sequences=True, return_state=True)(x)
        x = layers.Add()([layers.Dropout(dropout)(x), layers.Dropout(dropout)(layers.RepeatVector(16)(states[0]))])
        return head(layers.Concatenate()([layers.Flatten()(x), layers.Flatten()(scores)]), classes)

    def dropping_in_attention(x, classes, *, filters, dropout):
        x = layers.Reshape((-1, 1))(x)
        attention = layers.MultiHeadAttention(2, 4, dropout=max(dropout, 0.1), name="attention")
        return head(layers.Dropout(dropout)(attention(x, x, return_attention_scores=True)[0]), classes)

    check = contract.checks()["dropout arrives"]
    check(broken(attending), (12, 12, 1), 4)
    with pytest.raises(AssertionError, match=r"dropout 0\.0 differ: in attention$"):
        check(broken(dropping_in_attention), (6, 6, 1), 4)


def broken(body: Callable) -> Architecture:
    def builder(input_shape: Shape, num_classes: int, *, filters: int, dropout: float) -> keras.Model:
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, body(inputs, num_classes, filters=filters, dropout=dropout))

    return Architecture(body.__name__, builder, 8, 0.2, __file__)


@pytest.mark.parametrize(("body", "check", "reason"), BROKEN, ids=[body.__name__ for body, *_ in BROKEN])
def test_each_check_can_fail(body: Callable, check: str, reason: str) -> None:
    with pytest.raises((AssertionError, ProjectError), match=reason):
        contract.checks()[check](broken(body), (12, 12, 1), 4)


def test_only_what_is_broken_is_reported() -> None:
    message = r"^Architecture 'not_loadable' breaks its contract\. saving: TypeError: [^|]*Could not locate class[^|]*$"
    with pytest.raises(ContractBroken, match=message) as caught:
        check_architecture(broken(not_loadable), input_shape=(12, 12, 1))
    assert isinstance(caught.value, AssertionError)


def test_a_builder_that_raises_fails_every_check_with_its_reason() -> None:
    def builder(input_shape, num_classes, *, filters, dropout):
        raise RuntimeError("no such luck")

    with pytest.raises(ContractBroken) as caught:
        check_architecture(Architecture("raises", builder, 8, 0.2, __file__))
    assert str(caught.value).count("no such luck") == len(contract.checks())
    with pytest.raises(UsageError, match="Unknown architecture 'nope'"):
        check_architecture("nope")


def test_the_conversion_check_is_installed() -> None:
    assert "conversion" in contract.checks()
    assert registry.names() == architectures.names()
