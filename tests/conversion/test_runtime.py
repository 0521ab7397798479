"""Executing saved files of the published networks: answers, interface, compression, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import coremltools as ct
import keras
import numpy as np
import pytest
from coremltools.models.neural_network import quantization_utils

from architectures import build
from architectures.errors import ProjectError, UsageError
from conversion.runtime import CorruptModel, NotCheckable, load
from tests.support.layers import build_network, convert, images, loaded, quiet, randomize

PARAMETERS = {"malireddi": 94_602, "chollet": 1_199_882}
NETWORKS = ["malireddi", pytest.param("chollet", marks=pytest.mark.slow)]  # the same kinds of layers, ten times larger


def published(name: str) -> keras.Model:
    """A published network whose answers differ from image to image, as if it had learnt a little."""
    keras.utils.set_random_seed(2)
    model = randomize(build(name, (28, 28, 1), 10, filters=32, dropout=0.2))
    head = model.layers[-1]
    features = keras.Model(model.inputs[0], head.input)(images((28, 28, 1), 50).astype(np.float32) / 255)
    scores = features.numpy() @ head.kernel.numpy()
    spread = 10 * scores.std(axis=0)
    head.kernel.assign(head.kernel.numpy() / spread)
    head.bias.assign(-scores.mean(axis=0) / spread)
    return model


@pytest.fixture(scope="session", params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A published network and its saved file."""
    model = published(request.param)
    assert model.count_params() == PARAMETERS[request.param]
    path = tmp_path_factory.mktemp(request.param) / "model.mlmodel"
    path.write_bytes(convert(model).SerializeToString())
    return model, path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Any]:
    """A small network with every kind of layer that holds weights, and its specification."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 10, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3),
            layers.Conv2DTranspose(4, 2, strides=2, activation="relu"),
            layers.Dense(5, activation="tanh"),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    randomize(model)
    return model, convert(model)


def test_published_networks_agree_with_keras(network: tuple[keras.Model, Path]) -> None:
    model, path = network
    pixels = images((28, 28, 1), 300, seed=9)
    pixels[:, 20:] //= 3
    expected = model(pixels.astype(np.float32) / 255).numpy()
    prediction = load(path).predict(pixels)
    assert prediction.probabilities.dtype == np.float32
    assert expected.std(axis=0).min() > 1e-3, "answers that do not differ show nothing"
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=0, atol=1e-6)
    assert prediction.labels == [str(i) for i in expected.argmax(axis=1)]


def test_batches_do_not_change_the_answer(network: tuple[keras.Model, Path]) -> None:
    executable = load(network[1])
    pixels = images((28, 28, 1), 203)
    whole = executable.probabilities(pixels)
    np.testing.assert_array_equal(whole, executable.probabilities(pixels))
    for batch_size in (1, 7, 500):
        np.testing.assert_allclose(executable.probabilities(pixels, batch_size=batch_size), whole, rtol=0, atol=1e-6)
    assert executable.predict(pixels[:0]).probabilities.shape == (0, 10)


def test_interface(network: tuple[keras.Model, Path]) -> None:
    interface = load(network[1]).interface
    assert interface.format == "neuralnetwork"
    assert (interface.input.name, interface.input.height, interface.input.width) == ("image", 28, 28)
    assert (interface.input.color, interface.input.channels, interface.input.bias) == ("GRAYSCALE", 1, (0.0,))
    assert interface.input.scale == pytest.approx(1 / 255)
    assert interface.labels == tuple("0123456789")
    assert interface.label_name == "classLabel"
    assert interface.head == "softmax"
    assert interface.layers[:3] == ("convolution", "activation.ReLU", "pooling") or network[0].name == "chollet"
    assert interface.layers[-1] == "softmaxND"
    assert interface.size_bytes == network[1].stat().st_size


def test_weights_are_those_of_the_model(network: tuple[keras.Model, Path]) -> None:
    model, path = network
    stored = list(load(path).weights.values())
    first, last = model.layers[0], model.layers[-1]
    np.testing.assert_array_equal(stored[0]["weights"], first.kernel.numpy().transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(stored[0]["bias"], first.bias.numpy())
    np.testing.assert_array_equal(stored[-1]["weights"], last.kernel.numpy().T)
    assert sum(values.size for layer in stored for values in layer.values()) == model.count_params()


def test_metadata(small: tuple[keras.Model, Any], tmp_path: Path) -> None:
    spec = type(small[1])()
    spec.CopyFrom(small[1])
    about = spec.description.metadata
    about.author, about.license, about.shortDescription, about.versionString = "A", "MIT", "Digits", "3"
    about.userDefined["run_id"] = "abc"
    spec.description.input[0].shortDescription = "A digit"
    metadata = loaded(spec, tmp_path).interface.metadata
    assert (metadata.author, metadata.license, metadata.description, metadata.version) == ("A", "MIT", "Digits", "3")
    assert metadata.user_defined["run_id"] == "abc"
    assert metadata.input_descriptions == {"image": "A digit"}
    with pytest.raises(TypeError):
        metadata.user_defined["run_id"] = "other"


@pytest.mark.parametrize(
    ("head", "name"), [("sigmoid", "sigmoid"), ("relu", "activation.ReLU"), (None, "innerProduct")]
)
def test_head_tells_a_missing_softmax(head: str | None, name: str, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation=head)])
    assert loaded(convert(randomize(model)), tmp_path).interface.head == name


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_colour_order_and_bias(color: str, tmp_path: Path) -> None:
    model = randomize(keras.Sequential([keras.Input((5, 6, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()]))
    bias = (0.1, 0.2, -0.3)
    executable = loaded(convert(model, scale=1 / 128, bias=list(bias), color=color), tmp_path)
    pixels = images((5, 6, 3))
    channels = pixels[..., ::-1] if color == "BGR" else pixels
    expected = model(channels.astype(np.float32) / 128 + np.float32(bias)).numpy()
    np.testing.assert_allclose(executable.probabilities(pixels), expected, rtol=0, atol=1e-5)
    assert executable.interface.input.color == color
    assert executable.interface.input.bias == pytest.approx(bias)


def test_integer_labels(small: tuple[keras.Model, Any], tmp_path: Path) -> None:
    spec = type(small[1])()
    spec.CopyFrom(small[1])
    spec.neuralNetworkClassifier.int64ClassLabels.vector.extend([7, 3, 5])
    for feature in spec.description.output:
        if feature.type.WhichOneof("Type") == "stringType":
            feature.type.int64Type.SetInParent()
        else:
            feature.type.dictionaryType.int64KeyType.SetInParent()
    prediction = loaded(spec, tmp_path).predict(images((8, 10, 3)))
    assert set(prediction.labels) <= {7, 3, 5}


COMPRESSIONS = [
    (16, "linear"),
    *((bits, "linear") for bits in range(1, 9)),
    (8, "linear_symmetric"),
    *((bits, "linear_lut") for bits in (1, 2, 4, 6, 8)),
    (3, "custom_lut"),
]


@pytest.mark.parametrize(("bits", "mode"), COMPRESSIONS)
def test_compressed_files(small: tuple[keras.Model, Any], bits: int, mode: str, tmp_path: Path) -> None:
    """Against coremltools' own decompression, which shares nothing with ours; and against Keras for float16."""
    options: dict[str, Any] = {}
    if mode == "custom_lut":
        options["lut_function"] = lambda bits, weights: (
            np.linspace(weights.min(), weights.max(), 2**bits),
            np.random.default_rng(0).integers(0, 2**bits, weights.size),
        )
    with quiet():
        model = ct.models.MLModel(small[1], skip_model_load=True)
        compressed = quantization_utils.quantize_weights(model, bits, mode, **options)
        spec = compressed if hasattr(compressed, "neuralNetworkClassifier") else compressed.get_spec()
        plain = type(spec)()
        plain.CopyFrom(spec)
        if bits < 16:
            quantization_utils._dequantize_nn_spec(plain.neuralNetworkClassifier)
    (tmp_path / "plain").mkdir()
    executable, reference = loaded(spec, tmp_path), loaded(plain, tmp_path / "plain")
    assert executable.interface.size_bytes < len(small[1].SerializeToString())
    for name, weights in reference.weights.items():
        for field, expected in weights.items():
            np.testing.assert_allclose(executable.weights[name][field], expected, rtol=1e-6, atol=1e-7)
    pixels = images((8, 10, 3))
    np.testing.assert_allclose(executable.probabilities(pixels), reference.probabilities(pixels), rtol=0, atol=1e-5)
    if bits == 16:
        rounded = keras.models.clone_model(small[0])
        rounded.set_weights([weight.astype(np.float16).astype(np.float32) for weight in small[0].get_weights()])
        expected = rounded(pixels.astype(np.float32) / 255).numpy()
        np.testing.assert_allclose(executable.probabilities(pixels), expected, rtol=0, atol=1e-6)


def test_per_channel_scales_belong_to_output_channels(tmp_path: Path) -> None:
    codes = np.arange(12, dtype=np.uint8).reshape(3, 4)
    scale, offset = np.float32([1, 0.5, 0.1]), np.float32([0, -1, 2])

    def network(b: Any) -> None:
        b.add_flatten_to_2d("flat", "image", "flat")
        b.add_inner_product(
            "probe", codes.tobytes(), None, 4, 3, False, "flat", "output", is_quantized_weight=True,
            quantization_type="linear", nbits=8, quant_scale=scale, quant_bias=offset,
        )  # fmt: skip

    executable = loaded(build_network(network, outputs=3, shape=(1, 2, 2)), tmp_path)
    expected = codes * scale[:, None] + offset[:, None]
    np.testing.assert_allclose(executable.weights["probe"]["weights"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.zeros((2, 8, 10, 3), np.float32), "uint8"),
        (np.zeros((2, 10, 8, 3), np.uint8), r"\(N, 8, 10, 3\), not \(2, 10, 8, 3\)"),
        (np.zeros((8, 10), np.uint8), "shape"),
        ([[1]], "NumPy array"),
    ],
)
def test_wrong_images(small: tuple[keras.Model, Any], pixels: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=text):
        loaded(small[1], tmp_path).predict(pixels)


def test_wrong_batch_size(small: tuple[keras.Model, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch_size"):
        loaded(small[1], tmp_path).predict(images((8, 10, 3)), batch_size=0)


def test_exit_codes() -> None:
    assert (NotCheckable("").exit_code, CorruptModel("").exit_code) == (3, 1)
    assert issubclass(NotCheckable, ProjectError)
    assert issubclass(CorruptModel, ProjectError)


PLAIN_IMPORT = """
import sys
import conversion.runtime
heavy = {"numpy", "scipy", "google.protobuf", "coremltools"} & set(sys.modules)
assert not heavy, heavy
executable = conversion.runtime.load(sys.argv[1])
assert "coremltools" not in sys.modules
"""
IMPORT_BEHIND_IT = """
import coremltools
model = coremltools.models.MLModel(sys.argv[1], skip_model_load=True)
assert model.get_spec().neuralNetworkClassifier.layers
assert conversion.runtime.load(sys.argv[1]).interface == executable.interface
"""


@pytest.mark.parametrize("code", [PLAIN_IMPORT, pytest.param(PLAIN_IMPORT + IMPORT_BEHIND_IT, marks=pytest.mark.slow)])
def test_loading_leaves_coremltools_alone(code: str, small: tuple[keras.Model, Any], tmp_path: Path) -> None:
    """Nothing heavy for a mere import, no half-imported coremltools after loading a file."""
    loaded(small[1], tmp_path)
    command = [sys.executable, "-c", code, str(tmp_path / "model.mlmodel")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
