"""Batch normalisation where an epoch has few steps: its averages are renewed, kept, and the same again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import architectures
from architectures import contract, register, registry
from experiments import datasets
from experiments.classifier import as_classifier, forward_function, load_classifier, predict
from experiments.config import ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset, Split, cache
from experiments.training.averages import Averages
from experiments.training.loop import train

CONFIG = RunConfig("normalized", "mnist5k", filters=8, dropout=0.2, batch_size=64, epochs=8, learning_rate=1e-2)


@pytest.fixture(scope="module", autouse=True)
def normalized() -> Iterator[None]:
    """A network as a newcomer writes it."""

    @register(default_filters=8)
    def normalized(input_shape, num_classes, *, filters, dropout):
        """Three convolutions with Keras' default batch normalisation."""
        image = x = keras.Input(input_shape)
        for width in (filters, 2 * filters, 4 * filters):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
        x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
        return keras.Model(image, layers.Dense(num_classes, activation="softmax")(x))

    yield
    registry._registry.entries.pop("normalized")


@pytest.fixture(scope="module")
def few() -> Dataset:
    whole = datasets.load("mnist5k")
    train, val = whole.train, whole.val
    return replace(
        whole, train=Split(train.images[:320], train.labels[:320]), val=Split(val.images[:200], val.labels[:200])
    )


def trained(dataset: Dataset, folder: Path, **changes: object) -> RunResult:
    config = replace(CONFIG, **changes)
    return train(config, dataset, keras_file=folder / "model.keras", size=ModelSize(1, 1, 1))


@pytest.mark.slow
def test_a_network_with_keras_defaults_learns_from_320_images(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = trained(few, tmp_path)
    kept = load_classifier(result.keras_file, result.keras_sha256)
    assert np.array_equal(predict(forward_function(kept), few.val.images), result.val_probabilities)
    monkeypatch.setattr(cache, "IN_MEMORY_BYTES", 0)  # streamed
    assert trained(few, tmp_path).weights_sha256 == result.weights_sha256
    monkeypatch.setattr(Averages, "renew", lambda *_: None)
    assert trained(few, tmp_path).best_val_accuracy < result.best_val_accuracy - 0.2


def test_averages_are_of_the_batches_and_nothing_else_changes(few: Dataset) -> None:
    keras.utils.set_random_seed(0)
    own = layers.BatchNormalization(momentum=0.5)  # keeps up with an epoch of five steps
    network = keras.Sequential([keras.Input((28, 28, 1)), layers.BatchNormalization(), own, layers.Flatten()])
    classifier = as_classifier(keras.Sequential([network, layers.Dropout(0.5), layers.Dense(10, "softmax")]))
    before = {variable.path: variable.numpy() for variable in classifier.variables}
    Averages(classifier, few.train, 64).renew(np.arange(len(few.train)))
    after = {variable.path: variable.numpy() for variable in classifier.variables}
    changed = [path for path in before if not np.array_equal(before[path], after[path])]
    lagging = network.layers[0]
    assert changed == [lagging.moving_mean.path, lagging.moving_variance.path]
    pixels = few.train.images.astype(np.float32) / 255
    assert lagging.moving_mean.numpy() == pytest.approx(pixels.mean(), rel=1e-4)
    batches = [pixels[start : start + 64].var() for start in range(0, 320, 64)]
    assert lagging.moving_variance.numpy() == pytest.approx(np.mean(batches), rel=1e-4)
    assert lagging.momentum == 0.99


@pytest.mark.parametrize("name", ["pocket", "resnet"])
def test_the_families_keep_up_where_an_epoch_has_ten_steps(name: str, few: Dataset) -> None:
    classifier = as_classifier(architectures.build(name, (28, 28, 1), 10, filters=4))
    assert Averages(classifier, few.train, 32)._graph is None


def test_the_contract_warns_of_it() -> None:
    with pytest.warns(UserWarning, match=r"'normalized' has batch normalisation with a momentum of 0\.99"):
        contract.averages(architectures.get("normalized"), (28, 28, 1), 4)
