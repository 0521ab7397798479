"""Fused Adam steps as Keras' does; masked dropout drops the share that it says, and changes nothing else."""

from __future__ import annotations

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
from experiments.kernels import LEVELS, FusedAdam, MaskedDropout, with_masked_dropout
from experiments.training import train

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


@pytest.mark.parametrize("name", architectures.names())
def test_a_network_shares_its_weights_and_answers_as_before(name: str) -> None:
    network = architectures.build(name, (28, 28, 1), 10, dropout=0.2)
    masked = with_masked_dropout(network)
    assert [id(weight) for weight in masked.weights] == [id(weight) for weight in network.weights]
    images = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    assert np.array_equal(masked(images, training=False), network(images, training=False))
    plain = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    new = [layer for layer in masked._flatten_layers() if isinstance(layer, keras.layers.Dropout)]
    assert {type(layer) for layer in plain} == {keras.layers.Dropout}  # of what is kept
    assert {type(layer) for layer in new} == {MaskedDropout}
    assert [layer.name for layer in new] == [layer.name for layer in plain]


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
    masked = with_masked_dropout(network)
    changed = {one.name: one.compute_dtype for one in masked._flatten_layers() if isinstance(one, MaskedDropout)}
    assert changed == {"inner": "float32", "plain": "bfloat16"}
    assert residual in masked.layers
    assert with_masked_dropout(residual) is residual
    images = np.ones((2, 6, 6, 4), np.float32)
    assert np.array_equal(masked(images), network(images))


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


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_training_uses_both(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras' own would raise here."""
    kept = keras.layers.Dropout.call

    def call(self: keras.Layer, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        assert not training
        return kept(self, inputs, training=training)

    monkeypatch.setattr(keras.layers.Dropout, "call", call)
    monkeypatch.delattr(keras.optimizers.Adam, "update_step")
    digits = datasets.load("mnist5k")
    few = Split(digits.train.images[:200], digits.train.labels[:200])
    config = RunConfig("malireddi", "mnist5k", 4, 0.5, batch_size=100, epochs=1, precision=precision)
    result = train(
        config, replace(digits, train=few, val=few), keras_file=tmp_path / "m.keras", size=ModelSize(0, 0, 0)
    )
    model = load_classifier(result.keras_file, result.keras_sha256)
    assert {type(one) for one in model._flatten_layers() if "dropout" in one.name} == {keras.layers.Dropout}
