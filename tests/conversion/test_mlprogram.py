"""Executing saved packages of the published networks: answers, interface, the image's scale, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import coremltools as ct
import keras
import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from architectures.errors import UsageError
from architectures.garbage import frozen_objects
from conversion.runtime import CorruptModel, NotCheckable, load
from tests.conversion.test_runtime import NETWORKS, published
from tests.support.layers import (
    block_of,
    build_program,
    change_program,
    convert_program,
    images,
    loaded_package,
    randomize,
)

TOLERANCE = 1e-6  # an honest file; a scale of 1/256 instead of 1/255 moves probabilities by 4e-4


def rounded(model: keras.Model) -> keras.Model:
    """The same model with its weights rounded to float16."""
    copy = keras.models.clone_model(model)
    copy.set_weights([weight.astype(np.float16).astype(np.float32) for weight in model.get_weights()])
    return copy


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A published network and a folder with its packages, one for each precision."""
    model = published(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    for precision in ("FLOAT32", "FLOAT16"):
        convert_program(model, precision=precision).save(str(folder / f"{precision}.mlpackage"))
    return model, folder


@pytest.mark.parametrize("precision", ["FLOAT32", "FLOAT16"])
def test_published_networks_agree_with_keras(network: tuple[keras.Model, Path], precision: str) -> None:
    model, folder = network
    pixels = images((28, 28, 1), 300, seed=9)
    pixels[:, 20:] //= 3
    reference = rounded(model) if precision == "FLOAT16" else model
    expected = reference(pixels.astype(np.float32) / 255).numpy()
    executable = load(folder / f"{precision}.mlpackage")
    prediction = executable.predict(pixels)
    assert prediction.probabilities.dtype == np.float32
    assert expected.std(axis=0).min() > 1e-3, "answers that do not differ show nothing"
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=0, atol=TOLERANCE)
    assert prediction.labels == [str(i) for i in expected.argmax(axis=1)]
    if precision == "FLOAT16":
        unrounded = model(pixels.astype(np.float32) / 255).numpy()
        assert np.abs(prediction.probabilities - unrounded).max() > 10 * TOLERANCE, "the rounding should be seen"


def test_batches_do_not_change_the_answer(network: tuple[keras.Model, Path]) -> None:
    executable = load(network[1] / "FLOAT16.mlpackage")
    pixels = images((28, 28, 1), 203)
    whole = executable.probabilities(pixels)
    for batch_size in (1, 7, 500):
        np.testing.assert_allclose(executable.probabilities(pixels, batch_size=batch_size), whole, rtol=0, atol=1e-6)
    assert executable.predict(pixels[:0]).probabilities.shape == (0, 10)


@pytest.mark.parametrize("precision", ["FLOAT32", "FLOAT16"])
def test_interface(network: tuple[keras.Model, Path], precision: str) -> None:
    path = network[1] / f"{precision}.mlpackage"
    interface = load(path).interface
    assert interface.format == "mlprogram"
    assert (interface.input.name, interface.input.height, interface.input.width) == ("image", 28, 28)
    assert (interface.input.color, interface.input.channels, interface.input.bias) == ("GRAYSCALE", 1, (0.0,))
    assert interface.input.scale == pytest.approx(1 / 255, rel=1e-7)
    assert interface.labels == tuple("0123456789")
    assert (interface.label_name, interface.probabilities_name) == ("classLabel", "classLabel_probs")
    assert interface.head == "softmax"
    assert interface.layers[0] == "mul"
    assert "conv" in interface.layers
    assert interface.layers[-1] == "classify"
    assert interface.size_bytes == sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_weights_are_those_of_the_model(network: tuple[keras.Model, Path]) -> None:
    model, folder = network
    stored = list(load(folder / "FLOAT32.mlpackage").weights.values())
    first, last = model.layers[0], model.layers[-1]
    np.testing.assert_array_equal(stored[0]["weight"], first.kernel.numpy().transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(stored[0]["bias"], first.bias.numpy())
    np.testing.assert_array_equal(stored[-1]["weight"], last.kernel.numpy().T)
    assert sum(values.size for op in stored for values in op.values()) == model.count_params()


def classifier(shape: tuple[int, int, int], head: str | None = "softmax") -> keras.Model:
    layers = keras.layers
    return randomize(
        keras.Sequential(
            [
                keras.Input(shape),
                layers.Conv2D(4, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(3, activation=head),
            ]
        )
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of a small network."""
    path = tmp_path_factory.mktemp("plain") / "model.mlpackage"
    convert_program(classifier((6, 10, 1))).save(str(path))
    return path


def opened(path: Path) -> Any:
    """A package as coremltools holds it."""
    return ct.models.MLModel(str(path), skip_model_load=True)


@pytest.mark.parametrize(("color", "target"), [("RGB", "iOS15"), ("BGR", "iOS15"), ("RGB", "iOS18")])
def test_colour_order_scale_and_bias(color: str, target: str, tmp_path: Path) -> None:
    model, bias = classifier((6, 10, 3)), (0.1, 0.2, -0.3)
    options: dict[str, Any] = {"scale": 1 / 128, "bias": list(bias), "color": color, "target": target}
    executable = loaded_package(convert_program(model, **options), tmp_path)
    pixels = images((6, 10, 3))
    channels = pixels[..., ::-1] if color == "BGR" else pixels
    expected = model(channels.astype(np.float32) / 128 + np.float32(bias)).numpy()
    np.testing.assert_allclose(executable.probabilities(pixels), expected, rtol=0, atol=TOLERANCE)
    assert executable.interface.input.color == color
    assert executable.interface.input.scale == 1 / 128
    assert executable.interface.input.bias == pytest.approx(bias)


@pytest.mark.parametrize(("scale", "bias"), [(1.0, None), (1.0, [-0.5]), (1 / 127.5, [-1.0])])
def test_scale_and_bias_that_are_left_out(scale: float, bias: Any, tmp_path: Path) -> None:
    found = loaded_package(convert_program(classifier((6, 10, 1)), scale=scale, bias=bias), tmp_path).interface.input
    assert found.scale == pytest.approx(scale, rel=1e-7)
    assert found.bias == tuple(bias or [0.0])


PREPARATIONS: dict[str, tuple[Any, float, tuple[float, ...]]] = {
    "one_for_each_channel": (lambda x: mb.mul(x=x, y=np.float32([[[0.1]], [[0.2]], [[0.3]]])), 1.0, (0.0,) * 3),
    "same_for_each_channel": (lambda x: mb.mul(x=x, y=np.full((1, 3, 1, 1), 0.5, np.float32)), 0.5, (0.0,) * 3),
    "bias_first": (lambda x: mb.mul(x=mb.add(x=x, y=np.float32(2)), y=np.float32(0.5)), 1.0, (2.0,) * 3),
    "constant_first": (lambda x: mb.mul(x=np.float32(0.5), y=x), 0.5, (0.0,) * 3),
    "twice": (lambda x: mb.mul(x=mb.mul(x=x, y=np.float32(0.5)), y=np.float32(0.25)), 0.5, (0.0,) * 3),
    "division": (lambda x: mb.real_div(x=x, y=np.float32(2)), 1.0, (0.0,) * 3),
    "whole_image": (lambda x: mb.mul(x=x, y=np.ones((1, 3, 6, 8), np.float32)), 1.0, (0.0,) * 3),
    "with_itself": (lambda x: mb.mul(x=x, y=x), 1.0, (0.0,) * 3),
    "read_twice": (lambda x: mb.sub(x=mb.mul(x=x, y=np.float32(0.5)), y=x), 1.0, (0.0,) * 3),
}


@pytest.mark.parametrize("name", PREPARATIONS)
def test_scale_is_what_the_program_does(name: str, tmp_path: Path) -> None:
    prepare, scale, bias = PREPARATIONS[name]
    program = build_program(lambda x: mb.softmax(x=mb.reduce_mean(x=prepare(x), axes=[2, 3])), scale=False)
    found = loaded_package(program, tmp_path).interface.input
    assert (found.scale, found.bias) == (scale, bias)


@pytest.mark.parametrize(("head", "name"), [("sigmoid", "sigmoid"), ("relu", "relu"), (None, "linear")])
def test_head_tells_a_missing_softmax(head: str | None, name: str, tmp_path: Path) -> None:
    package = convert_program(classifier((6, 10, 1), head), precision="FLOAT16")
    assert loaded_package(package, tmp_path).interface.head == name


def test_metadata(plain: Path, tmp_path: Path) -> None:
    package = opened(plain)
    package.author, package.license, package.short_description, package.version = "A", "MIT", "Digits", "3"
    package.user_defined_metadata["run_id"] = "abc"
    package.input_description["image"] = "A digit"
    metadata = loaded_package(package, tmp_path).interface.metadata
    assert (metadata.author, metadata.license, metadata.description, metadata.version) == ("A", "MIT", "Digits", "3")
    assert metadata.user_defined["run_id"] == "abc"
    assert metadata.input_descriptions == {"image": "A digit"}


def test_renamed_probabilities(plain: Path, tmp_path: Path) -> None:
    """As `conversion.coreml.convert` renames them for a neuralnetwork."""
    package = opened(plain)
    spec = package.get_spec()
    ct.utils.rename_feature(spec, spec.description.predictedProbabilitiesName, "output")
    renamed = ct.models.MLModel(spec, weights_dir=package.weights_dir, skip_model_load=True)
    assert loaded_package(renamed, tmp_path).interface.probabilities_name == "output"


def test_integer_labels(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 1, 4, 5))], opset_version=ct.target.iOS16)
    def program(image: Any) -> Any:
        return mb.softmax(x=mb.reduce_mean(x=image, axes=[1, 2]))

    image = ct.ImageType(name="image", shape=(1, 1, 4, 5), color_layout=ct.colorlayout.GRAYSCALE)
    package = frozen_objects()(ct.convert)(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        inputs=[image],
        classifier_config=ct.ClassifierConfig([7, 3, 5, 11, 2]),
        skip_model_load=True,
    )
    executable = loaded_package(package, tmp_path)
    pixels = images((4, 5, 1))
    assert executable.interface.labels == (7, 3, 5, 11, 2)
    assert executable.predict(pixels).labels == [(7, 3, 5, 11, 2)[i] for i in pixels.mean((1, 3)).argmax(1)]


def test_labels_in_a_constant(tmp_path: Path) -> None:
    """The classes may be the value of an operation, too."""
    path = tmp_path / "model.mlpackage"
    build_program(lambda x: mb.softmax(x=mb.reduce_mean(x=x, axes=[2, 3]))).save(str(path))

    def move(spec: Any) -> None:
        operations = list(block_of(spec).operations)
        classes = operations[-1].inputs["classes"].arguments[0]
        constant = type(operations[0])(type="const")
        constant.attributes["val"].CopyFrom(classes.value)
        constant.outputs.add(name="names").type.CopyFrom(classes.value.type)
        classes.name = "names"
        del block_of(spec).operations[:]
        block_of(spec).operations.extend([constant, *operations])

    assert load(change_program(path, move)).interface.labels == ("0", "1", "2")


def test_program_without_a_package(plain: Path, tmp_path: Path) -> None:
    """A lone file can be executed if all its weights lie in it, which only the smallest do."""
    small = build_program(lambda x: mb.softmax(x=mb.reduce_mean(x=x, axes=[2, 3])))
    path = tmp_path / "small.mlmodel"
    path.write_bytes(small.get_spec().SerializeToString())
    executable = load(path)
    assert executable.interface.size_bytes == path.stat().st_size
    pixels = images((6, 8, 3))
    expected = loaded_package(small, tmp_path).probabilities(pixels)
    np.testing.assert_array_equal(executable.probabilities(pixels), expected)
    path.write_bytes(opened(plain).get_spec().SerializeToString())
    with pytest.raises(CorruptModel, match="weights are in '@model_path/weights/weight.bin'"):
        load(path)


def test_relu_leaves_views_alone(tmp_path: Path) -> None:
    """A ReLU may overwrite a convolution's output, unless somebody keeps another view of it."""
    kernel = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)

    def write(x: Any) -> Any:
        y = mb.conv(x=x, weight=kernel)
        seen = mb.transpose(x=y, perm=[0, 2, 3, 1])
        positive = mb.transpose(x=mb.relu(x=y), perm=[0, 2, 3, 1])
        return mb.reshape(x=mb.add(x=positive, y=seen), shape=[1, -1])

    pixels = images((6, 8, 3))
    y = np.einsum("nhwc,oc->nhwo", pixels * (4 / 255) - 2, kernel[:, :, 0, 0])
    answer = loaded_package(build_program(write), tmp_path).probabilities(pixels)
    np.testing.assert_allclose(answer, (np.maximum(y, 0) + y).reshape(len(pixels), -1), rtol=0, atol=1e-5)


def test_wrong_images(plain: Path) -> None:
    with pytest.raises(UsageError, match=r"\(N, 6, 10, 1\), not \(2, 10, 6, 1\)"):
        load(plain).predict(np.zeros((2, 10, 6, 1), np.uint8))


def test_unknown_operation_is_named(tmp_path: Path) -> None:
    def write(x: Any) -> Any:
        return mb.softmax(x=mb.reduce_mean(x=mb.band_part(x=x, lower=1, upper=1, name="corner"), axes=[2, 3]))

    with pytest.raises(NotCheckable, match=r"'corner' \(band_part\).*unknown"):
        loaded_package(build_program(write), tmp_path)


PLAIN_IMPORT = """
import sys
import conversion.runtime
heavy = {"numpy", "scipy", "google.protobuf", "coremltools"} & set(sys.modules)
assert not heavy, heavy
conversion.runtime.load(sys.argv[1])
assert "coremltools" not in sys.modules
"""


def test_loading_leaves_coremltools_alone(tmp_path: Path) -> None:
    loaded_package(build_program(lambda x: mb.softmax(x=mb.reduce_mean(x=x, axes=[2, 3]))), tmp_path)
    command = [sys.executable, "-c", PLAIN_IMPORT, str(tmp_path / "model.mlpackage")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
