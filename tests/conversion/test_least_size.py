"""The bound of a file's size from a network's parameters alone: never above the file, and cheap."""

from __future__ import annotations

from collections.abc import Callable

import keras
import pytest

from architectures import registry
from conversion.coreml.convert import Converter, coreml_bytes, randomize_trained
from conversion.coreml.facts import FileFacts
from conversion.coreml.formats import check_available
from conversion.coreml.least_size import least_coreml_bytes, without_weights
from experiments.classifier import as_classifier
from experiments.config import COMPRESSIONS
from tests.conversion.test_convert import DEEP
from tests.support import families

SHAPE, LABELS = (28, 28, 1), ("cat", "dog", "hen")
IN_A_MODEL = [each for each in COMPRESSIONS if not each.startswith("prune")]
FACTS = FileFacts(LABELS, "pets", "0" * 64, "some", "0" * 32, "", "unknown", 0.9)


ONE_BACKBONE = "keras_mobilenet_v3_small"  # all are made of the same layers


@pytest.mark.parametrize(
    "name",
    [
        *sorted(set(registry.names()) - {*families.BACKBONES, *DEEP}),
        *(pytest.param(name, marks=pytest.mark.slow) for name in (*DEEP, ONE_BACKBONE)),
    ],
)
def test_no_file_is_smaller_than_the_bound(name: str) -> None:
    architecture = registry.get(name)
    side, filters = max(28, architecture.smallest_side), architecture.default_filters and 16
    shape = (side, side, 1)
    with without_weights():
        unbuilt = registry.build(name, shape, len(LABELS), filters=filters)
        parameters = unbuilt.count_params()
        bounds = {each: least_coreml_bytes(unbuilt, each) for each in IN_A_MODEL}
    classifier = as_classifier(registry.build(name, shape, len(LABELS), filters=filters))
    assert classifier.count_params() == parameters
    randomize_trained(classifier)
    converter = Converter(classifier, FACTS)
    for compression, bound in bounds.items():
        check_available("mlmodel", compression)
        size = converter.file(compression=compression).size_bytes
        assert 0 < bound <= size
        if compression == "none" and size > 100_000:
            assert bound > 0.8 * size  # it is of use


def kernels(*layers: keras.layers.Layer) -> keras.Model:
    return keras.Sequential([keras.Input(SHAPE), *layers, keras.layers.Dense(3, activation="softmax")])


def two_answers() -> keras.Model:
    image = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(image)
    inner = keras.Model(image, [keras.layers.Dense(4)(flat), keras.layers.Dense(500)(flat)])
    whole = keras.Input(SHAPE)
    return keras.Model(whole, keras.layers.Dense(3, activation="softmax")(inner(whole)[0]))


def shared() -> keras.Model:
    image, dense = keras.Input(SHAPE), keras.layers.Dense(784)
    flat = dense(dense(keras.layers.Flatten()(image)))
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(flat))


@pytest.mark.parametrize(
    ("build", "counted"),
    [
        (lambda: kernels(keras.layers.Flatten(), keras.layers.Dense(500, trainable=False)), 1_500),  # frozen
        (two_answers, 3 * 4),  # what is behind an answer that nobody reads is left out of the file
        (shared, 784 * 784 + 784 * 3),  # one kernel, however often it is used
        (lambda: kernels(keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()), 4_074),
    ],
    ids=["frozen", "two answers", "shared", "normalised"],
)
def test_only_what_is_certain_to_be_stored_counts(build: Callable[[], keras.Model], counted: int) -> None:
    with without_weights():
        bound = least_coreml_bytes(build(), "none")
    assert bound == 4 * counted
    assert bound <= coreml_bytes(as_classifier(build()), FACTS)


def test_a_network_without_weights_takes_no_memory_and_leaves_none_behind() -> None:
    with without_weights():
        network = registry.build("chollet", (1024, 1024, 3), 1000)
        assert least_coreml_bytes(network, "palette4") > 10**9
    again = registry.build("malireddi", SHAPE, 3)
    with keras.StatelessScope():  # at its end Keras gives values to what still waits for some
        pass
    assert again.count_params() > 0
