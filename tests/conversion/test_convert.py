"""Conversion: exact sizes before training, deterministic bytes in both formats, colour images, clear refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import coremltools
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import architectures
from architectures.errors import ProjectError, UsageError
from architectures.registry import Architecture
from conversion import runtime
from conversion.coreml.convert import Converter, convert, coreml_bytes
from conversion.coreml.facts import FileFacts
from conversion.coreml.file import CoreMLFile
from conversion.coreml.formats import FORMATS, MINIMUM_IOS
from conversion.coreml.writing import write
from experiments.classifier import as_classifier, forward_function, network_of
from experiments.config import RunConfig
from experiments.datasets import Dataset, Split
from experiments.training.loop import train

FACTS = FileFacts(
    class_names=tuple("0123456789"),
    dataset="mnist5k",
    dataset_digest="d" * 64,
    architecture="malireddi",
    run_id="r" * 32,
    study="a study",
    git_commit="c" * 40,
    val_accuracy=0.0,
)


def randomized(name: str, shape: tuple[int, int, int], **values: float) -> keras.Model:
    """A classifier whose biases and moving averages are not what they begin with, as after training."""
    model = as_classifier(architectures.build(name, shape, 10, **values))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        noise = rng.normal(0, 0.1, weight.shape)
        weight.assign(1 + np.abs(noise) if weight.name == "moving_variance" else noise)
    return model


def saved(file: CoreMLFile, folder: Path) -> Path:
    path = folder / f"model{file.suffix}"
    write(file, path)
    return path


GRAY, COLOUR = (28, 28, 1), (20, 32, 3)
FILTERS = 5
DEEP = ("allconv", "convmixer", "mobilenet", "mobilenet_v3", "resnet")  # whose conversions take seconds
families = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in DEEP else ())
        for name in architectures.names()
        if architectures.get(name).default_filters  # of backbones the contract shows it
    ],
)


@cache
def trained(name: str) -> tuple[keras.Model, Converter]:
    """A network as after training, and its converter, which keeps what it has converted."""
    for _ in range(3):  # Keras counts its layers: the names in the file must not
        architectures.build("chollet", GRAY, 10, filters=2)
    model = randomized(name, COLOUR, filters=FILTERS)
    facts = replace(FACTS, val_accuracy=0.97, run_id="a1" * 16, git_commit="b2" * 20)
    return model, Converter(model, facts)


@families
@pytest.mark.parametrize("format", FORMATS)
def test_size_is_known_before_training(name: str, format: str) -> None:
    before = coreml_bytes(as_classifier(architectures.build(name, COLOUR, 10, filters=FILTERS)), FACTS, format=format)
    _, converter = trained(name)
    assert converter.file(format=format).size_bytes == before


@families
def test_the_file_computes_what_keras_does(name: str, tmp_path: Path) -> None:
    """In colour, not square, of odd widths; of gray squares the contract shows it."""
    model, converter = trained(name)
    images = np.random.default_rng(0).integers(0, 256, (50, *COLOUR), dtype=np.uint8)
    expected = forward_function(model)(images)
    for format in FORMATS:
        executed = runtime.load(saved(converter.file(format=format), tmp_path)).probabilities(images)
        assert np.abs(executed - expected).max() <= 1e-5
        assert (executed.argmax(axis=1) == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape", [(28, 28, 1), (20, 32, 3)])
def test_interface_and_metadata(format: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    file = convert(randomized("malireddi", shape, filters=4), FACTS, format=format)
    path = saved(file, tmp_path)
    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()  # Apple's reader, not ours
    description = spec.description
    (image,) = description.input
    assert image.name == "image"
    assert (image.type.imageType.height, image.type.imageType.width) == shape[:2]
    assert {output.name for output in description.output} == {"output", "classLabel"}
    assert description.predictedProbabilitiesName == "output"
    assert description.predictedFeatureName == "classLabel"
    assert all(feature.shortDescription for feature in [image, *description.output])
    assert description.metadata.author == FACTS.author
    user = dict(description.metadata.userDefined)
    assert user.items() >= {**FACTS.user_defined(), "compression": "none"}.items()
    interface = runtime.load(path).interface
    assert interface.labels == FACTS.class_names
    assert interface.size_bytes == file.size_bytes
    assert interface.head == "softmax"


COLD_START = """
import architectures.quiet as quiet
quiet.import_tensorflow()
import architectures
from tests.conversion.test_convert import FACTS, MINIMUM_IOS, Converter, randomized
for _ in range(5):
    architectures.build("chollet", (28, 28, 1), 10, filters=2)
converter = Converter(randomized("malireddi", (28, 28, 1), filters=4), FACTS)
for format, compression in MINIMUM_IOS:
    print(converter.file(format=format, compression=compression).sha256)
"""


@pytest.mark.slow
def test_bytes_are_the_same_in_another_process(capfd: pytest.CaptureFixture[str]) -> None:
    """Where Keras had counted to other numbers, Python's hashes are others and there is one thread.

    Nothing is printed on the way, as coremltools' own quantization does.
    """
    done = subprocess.run(
        [sys.executable, "-c", COLD_START],
        env={**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    converter = Converter(randomized("malireddi", (28, 28, 1), filters=4), FACTS)
    capfd.readouterr()
    here = [converter.file(format=format, compression=compression).sha256 for format, compression in MINIMUM_IOS]
    assert capfd.readouterr().out == ""
    assert done.stdout.split() == here
    assert len(set(here)) == len(here)


def test_labels_that_do_not_fit_are_refused() -> None:
    model = randomized("malireddi", (28, 28, 1), filters=4)
    with pytest.raises(ProjectError, match="9 labels for 10 outputs"):
        convert(model, replace(FACTS, class_names=FACTS.class_names[:9]))


def test_an_operation_that_coremltools_does_not_know() -> None:
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation=lambda x: keras.ops.erfinv(x)),
            keras.layers.Softmax(),
        ]
    )
    message = r"coremltools cannot convert odd, its layer 'dense\w*' \(Dense\): "
    with pytest.raises(ProjectError, match=message) as caught:
        convert(as_classifier(network), replace(FACTS, architecture="odd"))
    assert "\n" not in str(caught.value)


@keras.saving.register_keras_serializable(package="test_convert")
class LogGamma(layers.Layer):
    """Has no counterpart in Core ML."""

    def call(self, x):
        return tf.math.lgamma(1.0 + keras.ops.abs(x))


def nested(odd: layers.Layer) -> keras.Model:
    """A network with several layers of each name, and the odd one in a network inside."""
    inside = keras.Input((6, 6, 4))
    x = layers.Conv2D(4, 3, padding="same")(layers.Conv2D(4, 3, padding="same")(inside))
    backbone = keras.Model(inside, odd(x))
    inputs = keras.Input((8, 8, 1))
    x = backbone(layers.Conv2D(4, 3)(inputs))
    return as_classifier(keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.Flatten()(x))))


@pytest.mark.parametrize("format", FORMATS)
def test_the_layer_that_cannot_be_converted_is_named(format: str) -> None:
    with pytest.raises(ProjectError, match=r"convert malireddi, its layer 'odd_one' \(LogGamma\): .*Lgamma"):
        convert(nested(LogGamma(name="odd_one")), FACTS, format=format)


def test_it_is_named_before_any_training() -> None:
    """As a worker of a sweep does, which asks for the bytes first."""
    config = RunConfig(architecture="odd", dataset="bright", filters=8, dropout=0.0, batch_size=8, epochs=1)
    architectures.registry._registry.entries["odd"] = Architecture(
        "odd", lambda *_, **__: network_of(nested(LogGamma(name="odd_one"))), 8, 0.0, __file__
    )
    images = np.zeros((20, 8, 8, 1), np.uint8)
    split = Split(images, np.arange(20) % 10)
    dataset = Dataset("bright", tuple("0123456789"), split, split, split)
    try:
        with pytest.raises(ProjectError, match="its layer 'odd_one'"):
            train(
                config,
                dataset,
                keras_file=Path("never.keras"),
                size=lambda model: coreml_bytes(model, FACTS),
                on_epoch=lambda _: pytest.fail("it was trained"),
            )
    finally:
        del architectures.registry._registry.entries["odd"]


def convnext(x: keras.KerasTensor) -> keras.KerasTensor:
    """A ConvNeXt block: an exact GELU between two dense layers, behind a depthwise convolution."""
    y = layers.DepthwiseConv2D(7, padding="same")(x)
    y = layers.Dense(4 * x.shape[-1], activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(y))
    return layers.add([x, layers.Dense(x.shape[-1])(y)])


ONCE_REFUSED = {
    "GELU": convnext,
    "GELU by its approximation": lambda x: keras.activations.gelu(x, approximate=True),
    "grouped": lambda x: layers.Conv2D(12, 3, groups=2, padding="same")(x),
    "grouped with strides": lambda x: layers.Conv2D(4, 3, groups=4, strides=2)(x),
    "ResNeXt": lambda x: layers.add([x, layers.BatchNormalization()(layers.Conv2D(8, 3, groups=4, padding="same")(x))]),
}


@pytest.mark.parametrize("name", ONCE_REFUSED)
def test_exact_gelus_and_grouped_convolutions(name: str, tmp_path: Path) -> None:
    inputs = keras.Input((12, 12, 3))
    x = ONCE_REFUSED[name](layers.Conv2D(8, 3)(inputs))
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = as_classifier(keras.Model(inputs, outputs))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(weight.numpy() + rng.uniform(0.01, 0.4, weight.shape))
    converter = Converter(model, FACTS)
    images = rng.integers(0, 256, (20, 12, 12, 3), dtype=np.uint8)
    expected = forward_function(model)(images)
    assert not tf.config.functions_run_eagerly()
    for format in FORMATS:
        executed = runtime.load(saved(converter.file(format=format), tmp_path)).probabilities(images)
        assert np.abs(executed - expected).max() <= 2e-6


def test_a_model_that_is_no_classifier() -> None:
    with pytest.raises(ProjectError, match="not a classifier of this project"):
        convert(architectures.build("malireddi", (28, 28, 1), 10), FACTS)


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(UsageError, match="Unknown compression 'zip'. Known: none, float16, int8"):
        convert(randomized("malireddi", (28, 28, 1), filters=4), FACTS, compression="zip")


def test_no_temporary_package_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    convert(randomized("malireddi", (28, 28, 1), filters=4), FACTS, format="mlpackage", compression="float16")
    assert not list(tmp_path.iterdir())
