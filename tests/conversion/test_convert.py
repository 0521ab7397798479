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

import architectures
from architectures.errors import ProjectError, UsageError
from conversion import runtime
from conversion.compress import MINIMUM_IOS
from conversion.convert import Converter, FileFacts, convert, coreml_bytes
from conversion.coreml_file import FORMATS, CoreMLFile
from conversion.files import write
from experiments.classifier import as_classifier, forward_function

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
FILTERS = {GRAY: 8, COLOUR: 5}


@cache
def trained(name: str, shape: tuple[int, int, int]) -> tuple[keras.Model, Converter]:
    """A network as after training, and its converter, which keeps what it has converted."""
    for _ in range(3):  # Keras counts its layers: the names in the file must not
        architectures.build("chollet", GRAY, 10, filters=2)
    model = randomized(name, shape, filters=FILTERS[shape])
    facts = replace(FACTS, val_accuracy=0.97, run_id="a1" * 16, git_commit="b2" * 20)
    return model, Converter(model, facts)


@pytest.mark.parametrize("name", architectures.names())
@pytest.mark.parametrize(("shape", "format"), [(GRAY, "mlmodel"), (COLOUR, "mlmodel"), (COLOUR, "mlpackage")])
def test_size_is_known_before_training(name: str, shape: tuple[int, int, int], format: str) -> None:
    before = coreml_bytes(
        as_classifier(architectures.build(name, shape, 10, filters=FILTERS[shape])), FACTS, format=format
    )
    _, converter = trained(name, shape)
    assert converter.file(format=format).size_bytes == before


@pytest.mark.parametrize("name", architectures.names())
@pytest.mark.parametrize("shape", [GRAY, COLOUR])
def test_the_file_computes_what_keras_does(name: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    model, converter = trained(name, shape)
    images = np.random.default_rng(0).integers(0, 256, (50, *shape), dtype=np.uint8)
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


def test_two_channels_are_refused() -> None:
    with pytest.raises(ProjectError, match="1 or 3 channels, the model's have 2"):
        convert(randomized("malireddi", (28, 28, 2), filters=4), FACTS)


def test_an_operation_that_coremltools_does_not_know() -> None:
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation=lambda x: keras.ops.erfinv(x)),
            keras.layers.Softmax(),
        ]
    )
    with pytest.raises(ProjectError, match="coremltools cannot convert odd: .*") as caught:
        convert(as_classifier(network), replace(FACTS, architecture="odd"))
    assert "\n" not in str(caught.value)


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
