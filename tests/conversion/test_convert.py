"""Conversion: exact sizes before training, deterministic bytes, colour images, clear refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import architectures
from architectures.errors import ProjectError
from conversion import runtime
from conversion.convert import FileFacts, convert, coreml_bytes
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
    """A classifier whose biases are not zero, as after training."""
    model = as_classifier(architectures.build(name, shape, 10, **values))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.1, weight.shape) for weight in model.weights])
    return model


@pytest.mark.parametrize("name", architectures.names())
@pytest.mark.parametrize(("shape", "filters"), [((28, 28, 1), 8), ((32, 20, 3), 5)])
def test_size_is_known_before_training(name: str, shape: tuple[int, int, int], filters: int) -> None:
    before = coreml_bytes(as_classifier(architectures.build(name, shape, 10, filters=filters)), FACTS)
    for _ in range(3):  # Keras counts its layers: the names in the file must not
        architectures.build("chollet", (28, 28, 1), 10, filters=2)
    trained = randomized(name, shape, filters=filters)
    facts = replace(FACTS, val_accuracy=0.97, run_id="a1" * 16, git_commit="b2" * 20)
    assert len(convert(trained, facts)) == before


@pytest.mark.parametrize("name", architectures.names())
@pytest.mark.parametrize("shape", [(28, 28, 1), (20, 32, 3)])
def test_the_file_computes_what_keras_does(name: str, shape: tuple[int, int, int], tmp_path: Path) -> None:
    model = randomized(name, shape, filters=6)
    file = tmp_path / "model.mlmodel"
    write(convert(model, FACTS), file)
    images = np.random.default_rng(0).integers(0, 256, (50, *shape), dtype=np.uint8)
    executed = runtime.load(file).probabilities(images)
    expected = forward_function(model)(images)
    assert np.abs(executed - expected).max() <= 1e-5
    assert (executed.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_bytes_are_deterministic() -> None:
    first = convert(randomized("malireddi", (28, 28, 1), filters=4), FACTS)
    architectures.build("chollet", (28, 28, 1), 10)
    assert convert(randomized("malireddi", (28, 28, 1), filters=4), FACTS) == first


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


def test_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "model.mlmodel"
    write(b"one", file)
    write(b"two", file)
    assert file.read_bytes() == b"two"
    (tmp_path / "folder" / "model.mlmodel").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write(b"three", tmp_path / "folder" / "model.mlmodel")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["model.mlmodel"]
