"""Fused Adam and normalisation do as Keras' do; masked dropout drops its share, and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import architectures
from experiments import datasets
from experiments.classifier import load_classifier
from experiments.config import ModelSize, RunConfig
from experiments.datasets import Split
from experiments.training.kernels import LEVELS, FusedAdam, FusedNormalization, MaskedDropout, with_fast_kernels
from experiments.training.loop import train
from tests.support import families

SHAPE = (9, 31, 11, 41)  # an odd number of elements
SIGMAS = 5  # a share beyond these is no accident


def dropped(rate: float, dtype: str = "float32", seed: int = 0, calls: int = 1) -> np.ndarray:
    layer = MaskedDropout(rate, seed=seed, dtype=dtype)
    return [np.asarray(layer(tf.ones(SHAPE, dtype), training=True), np.float32) for _ in range(calls)][-1]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rate", [0.001, 0.1, 0.25, 0.5, 0.9])
def test_the_share_is_the_rate_and_the_rest_makes_up_for_it(rate: float, dtype: str) -> None:
    values = dropped(rate, dtype)
    assert values.shape == SHAPE
    small, large = np.unique(values)
    assert small == 0
    assert large == pytest.approx(1 / (1 - rate), rel=2**-8 if dtype == "bfloat16" else 2 / LEVELS / (1 - rate))
    spread = np.sqrt(rate * (1 - rate) / values.size)
    assert (values == 0).mean() == pytest.approx(rate, abs=SIGMAS * spread + 1 / LEVELS)


def test_neighbours_and_channels_are_dropped_independently() -> None:
    kept = (dropped(0.5) > 0).astype(float)
    for axis in range(kept.ndim):
        rolled = np.roll(kept, 1, axis)
        assert np.corrcoef(kept.ravel(), rolled.ravel())[0, 1] == pytest.approx(0, abs=SIGMAS / np.sqrt(kept.size))


def test_masks_follow_from_the_seed_and_differ_from_call_to_call() -> None:
    assert np.array_equal(dropped(0.5), dropped(0.5))
    assert not np.array_equal(dropped(0.5), dropped(0.5, seed=1))
    assert not np.array_equal(dropped(0.5), dropped(0.5, calls=2))


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0.0, True), (0.1 / LEVELS, True)])
def test_nothing_is_dropped(rate: float, training: bool) -> None:
    values = tf.random.stateless_normal(SHAPE, (0, 0))
    assert np.array_equal(MaskedDropout(rate)(values, training=training), values)


def test_the_gradient_is_the_mask() -> None:
    values = tf.Variable(tf.random.stateless_normal(SHAPE, (0, 0)))
    with tf.GradientTape() as tape:
        result = MaskedDropout(0.3, seed=0)(values, training=True)
    gradient = tape.gradient(result, values)
    assert np.array_equal(result, values * gradient)
    assert len(np.unique(gradient)) == 2


@pytest.mark.parametrize("name", families.each())
def test_a_network_shares_its_weights_and_answers_as_before(name: str) -> None:
    side = max(28, architectures.get(name).smallest_side)
    network = architectures.build(name, (side, side, 1), 10, dropout=0.2)
    fast = with_fast_kernels(network)
    assert [id(weight) for weight in fast.weights] == [id(weight) for weight in network.weights]
    images = np.random.default_rng(0).random((4, side, side, 1), np.float32)
    assert np.array_equal(fast(images, training=False), network(images, training=False))
    for before, after in zip(network.layers[1:], fast.layers[1:], strict=True):  # after the input
        fused = isinstance(before, keras.layers.BatchNormalization) and before.moving_mean.shape[0] % 4 == 0
        masked = isinstance(before, keras.layers.Dropout) and before.noise_shape is None
        assert type(after) is (FusedNormalization if fused else MaskedDropout if masked else type(before))
        assert after.name == before.name
        assert not isinstance(before, (FusedNormalization, MaskedDropout))  # network is what is kept


@keras.saving.register_keras_serializable("tests")
class Residual(keras.Sequential):
    """A model whose `call` a copy of its layers would lose."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return inputs + super().call(inputs, training=training)


def test_what_is_replaced_and_what_is_not() -> None:
    inner = keras.Sequential([keras.layers.Dense(4), keras.layers.Dropout(0.5, name="inner")])
    residual = Residual([keras.layers.Dense(4), keras.layers.Dropout(0.5, name="residual")])
    network = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            keras.layers.SpatialDropout2D(0.5),
            keras.layers.GaussianDropout(0.5),
            keras.layers.Dropout(0.5, noise_shape=(None, 1, 1, 4), name="shaped"),
            keras.layers.Dropout(1.0, name="all"),
            inner,
            residual,
            keras.layers.Dropout(0.5, name="plain", dtype="mixed_bfloat16"),
        ]
    )
    fast = with_fast_kernels(network)
    changed = {one.name: one.compute_dtype for one in fast._flatten_layers() if isinstance(one, MaskedDropout)}
    assert changed == {"inner": "float32", "plain": "bfloat16"}
    assert residual in fast.layers
    assert with_fast_kernels(residual) is residual
    images = np.ones((2, 6, 6, 4), np.float32)
    assert np.array_equal(fast(images), network(images))


@pytest.mark.parametrize(
    ("options", "channels", "replaced"),
    [
        ({}, 12, True),
        ({"axis": 3, "scale": False, "center": False, "momentum": 0.5, "epsilon": 0.1}, 16, True),
        ({"axis": 2}, 12, False),
        ({"activity_regularizer": "l2"}, 12, False),
        ({"dtype": "float64"}, 12, False),
        ({"synchronized": True}, 12, False),
        ({"renorm": True}, 12, False),
        ({}, 10, False),
    ],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_normalization_gives_what_keras_gives(
    options: dict[str, object], channels: int, replaced: bool, policy: str
) -> None:
    """Outputs, gradients and the averages, for a batch whose channels differ in mean and spread."""
    normalization = keras.layers.BatchNormalization(**{"dtype": policy} | options)
    network = keras.Sequential([keras.Input((5, 12, channels)), normalization])
    fast = with_fast_kernels(network)
    assert isinstance(fast.layers[0], FusedNormalization) is replaced
    generator = np.random.default_rng(0)
    images = (generator.normal(size=(3, 5, 12, channels)) * np.arange(1, channels + 1) + 3).astype(np.float32)
    change = tf.constant(generator.normal(size=images.shape), normalization.compute_dtype)
    for weight in normalization.trainable_variables:
        weight.assign(generator.normal(size=weight.shape))
    before = network.get_weights()
    found = []
    for model in (network, fast):
        network.set_weights(before)
        inputs = tf.Variable(images)
        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
        gradients = tape.gradient(outputs, [inputs, *network.trainable_variables], change)
        found.append([np.array(one, np.float32) for one in (outputs, *gradients, *network.weights)])
        assert outputs.dtype == change.dtype
        assert np.array_equal(model(images), network(images))  # not in training
    for place, (keras_value, ours) in enumerate(zip(*found, strict=True)):
        of_an_image = place < 2  # outputs and the inputs' gradient, which may be bfloat16
        tolerance = (2**-7 if policy == "mixed_bfloat16" and of_an_image else 1e-4) * np.abs(keras_value).max()
        assert np.allclose(ours, keras_value, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("channels", "kernel"), [(16, tf.bfloat16), (12, tf.float32)])
def test_values_stay_bfloat16_where_that_is_fast(channels: int, kernel: tf.DType) -> None:
    network = keras.Sequential([keras.Input((6, 6, channels)), keras.layers.BatchNormalization(dtype="mixed_bfloat16")])
    fast = with_fast_kernels(network)
    graph = tf.function(lambda images: fast(images, training=True)).get_concrete_function(
        tf.TensorSpec((2, 6, 6, channels), tf.bfloat16)
    )
    (fused,) = [one for one in graph.graph.get_operations() if one.type == "FusedBatchNormV3"]
    assert fused.inputs[0].dtype == kernel


@keras.saving.register_keras_serializable("tests")
class Own(keras.layers.BatchNormalization):
    """A normalisation of a plugin's."""


def test_other_normalizations_stay() -> None:
    inputs = keras.Input((6, 6, 4))
    outputs = keras.layers.BatchNormalization()(keras.layers.Flatten()(Own()(inputs)))
    fast = with_fast_kernels(keras.Model(inputs, outputs))
    assert not [one for one in fast.layers if isinstance(one, FusedNormalization)]


def test_masked_values_do_not_count() -> None:
    """Keras' own takes masks for the mean; what follows still sees them."""
    inputs = keras.Input((6, 6, 4))
    network = keras.Model(inputs, keras.layers.BatchNormalization(name="normalization")(keras.layers.Masking()(inputs)))
    images = np.random.default_rng(0).normal(size=(3, 6, 6, 4)).astype(np.float32)
    images[:, :3] = 0
    fast = with_fast_kernels(network)
    assert isinstance(fast.get_layer("normalization"), FusedNormalization)
    before = network.get_weights()
    found = []
    for model in (network, fast):
        network.set_weights(before)
        outputs = model(images, training=True)
        found.append([np.array(one) for one in (outputs, outputs._keras_mask, *network.weights)])
    for keras_value, ours in zip(*found, strict=True):
        assert np.array_equal(keras_value, ours)


def test_a_frozen_normalization_stays_as_it_is() -> None:
    normalization = keras.layers.BatchNormalization()
    network = keras.Sequential([keras.Input((6, 6, 4)), normalization])
    fast = with_fast_kernels(network)
    normalization.trainable = False
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype(np.float32)
    assert np.array_equal(fast(images, training=True), network(images))
    assert np.array_equal(normalization.moving_mean, np.zeros(4))


@pytest.mark.parametrize(("decaying", "dtype"), [(False, "float32"), (True, "float32"), (True, "bfloat16")])
def test_fused_adam_steps_as_keras_does(decaying: bool, dtype: str) -> None:
    rate = keras.optimizers.schedules.CosineDecay(0.01, decay_steps=20) if decaying else 0.01
    gradients = np.random.default_rng(0).normal(size=(20, 5, 7)).astype(np.float32)
    found = []
    for optimizer in (FusedAdam(rate), keras.optimizers.Adam(rate)):
        weight = keras.Variable(np.ones((5, 7)), dtype=dtype, constraint=keras.constraints.NonNeg())
        optimizer.build([weight])
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient)], [weight])
        found.append([np.array(one, np.float32) for one in (weight, *optimizer.variables)])
    for mine, other in zip(*found, strict=True):
        assert np.allclose(mine, other, rtol=1e-4, atol=1e-7)


def test_weight_decay_is_adamws_of_kernels_alone() -> None:
    gradients = np.random.default_rng(0).normal(size=(20, 5, 7)).astype(np.float32)
    found = []
    for optimizer in (FusedAdam(0.01, weight_decay=0.3), keras.optimizers.AdamW(0.01, weight_decay=0.3)):
        kernel, bias = keras.Variable(np.ones((5, 7))), keras.Variable(np.ones(7))
        optimizer.exclude_from_weight_decay(var_list=[bias])
        optimizer.build([kernel, bias])
        for gradient in gradients:
            optimizer.apply([tf.constant(gradient), tf.constant(gradient[0])], [kernel, bias])
        found.append([np.array(one) for one in (kernel, bias)])
    for mine, other in zip(*found, strict=True):
        assert np.allclose(mine, other, rtol=1e-4, atol=1e-7)


def test_a_configuration_decays_its_kernels(tmp_path: Path) -> None:
    """At a rate so low that gradients change next to nothing, a kernel shrinks by what the decay takes."""
    digits = datasets.load("digits")
    few = replace(digits, train=Split(digits.train.images[:64], digits.train.labels[:64]))
    plain = RunConfig("malireddi", "digits", 4, 0.0, batch_size=1, learning_rate=1e-5, schedule="constant", epochs=1)
    norms = []
    for config in (plain, replace(plain, weight_decay=1.0)):
        result = train(config, few, keras_file=tmp_path / "model.keras", size=ModelSize(0, 0, 0))
        kept = load_classifier(result.keras_file, result.keras_sha256)
        norms.append([float(np.linalg.norm(each)) for each in kept.trainable_weights if len(each.shape) > 1])
    for before, after in zip(*norms, strict=True):
        assert after / before == pytest.approx((1 - 1e-5) ** 64, rel=5e-5)
        assert after < before * (1 - 3e-4)


@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_training_uses_all_three(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' own would raise here."""

    def only_outside_training(kept: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
        def call(self: keras.Layer, inputs: tf.Tensor, training: bool = False, **others: object) -> tf.Tensor:
            assert not training
            return kept(self, inputs, training=training, **others)

        return call

    of_keras = {keras.layers.Dropout, keras.layers.BatchNormalization}
    for layer in of_keras:
        monkeypatch.setattr(layer, "call", only_outside_training(layer.call))
    monkeypatch.delattr(keras.optimizers.Adam, "update_step")
    digits = datasets.load("mnist5k")
    few = Split(digits.train.images[:200], digits.train.labels[:200])
    # Ten steps: with fewer, averages are renewed, by Keras' own layers.
    config = RunConfig("pocket", "mnist5k", 16, 0.5, batch_size=20, epochs=1, precision=precision)
    result = train(
        config, replace(digits, train=few, val=few), keras_file=tmp_path / "m.keras", size=ModelSize(0, 0, 0)
    )
    model = load_classifier(result.keras_file, result.keras_sha256)
    assert of_keras <= {type(one) for one in model._flatten_layers()}
