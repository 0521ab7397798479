"""A file that is damaged, contradicts itself or holds the unknown ends in one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.runtime import CorruptModel, NotCheckable, load
from tests.support.layers import build_network, loaded

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 3, 3, 4)).astype(np.float32)
MATRIX = RNG.normal(size=(2, 4 * 2 * 3)).astype(np.float32)


def network(b: Any) -> None:
    bias = KERNEL[0, 0, 0]
    b.add_convolution("conv", 3, 4, 3, 3, 1, 1, "valid", 1, KERNEL, bias, True, input_name="image", output_name="c")
    b.add_activation("relu", "RELU", "c", "r")
    b.add_pooling("pool", 2, 2, 2, 2, "MAX", "VALID", "r", "p")
    b.add_constant_pad("pad", ["p"], "q", pad_amounts=[0] * 8)
    b.add_flatten_to_2d("flat", "q", "f")
    b.add_inner_product("dense", MATRIX, np.ones(2), MATRIX.shape[1], 2, True, "f", "d")
    b.add_softmax_nd("soft", "d", "output", -1)


def fresh() -> Any:
    return build_network(network, outputs=2)


@pytest.fixture(scope="module")
def content() -> bytes:
    return bytes(fresh().SerializeToString(deterministic=True))


def outcome(content: bytes, path: Path) -> str:
    """Load and execute; any other error than the two fails the test."""
    path.write_bytes(content)
    try:
        executable = load(path)
        wanted = executable.interface.input
        executable.predict(np.zeros((2, wanted.height, wanted.width, wanted.channels), np.uint8))
    except (CorruptModel, NotCheckable) as error:
        return type(error).__name__ if str(path) in str(error) and "\n" not in str(error) else f"unclear: {error}"
    return "loaded"


def test_whole_file_loads(content: bytes, tmp_path: Path) -> None:
    assert outcome(content, tmp_path / "m.mlmodel") == "loaded"


def test_every_truncation_is_noticed(content: bytes, tmp_path: Path) -> None:
    ends = {int(end) for end in np.linspace(0, len(content) - 1, 250)}
    assert {outcome(content[:end], tmp_path / "m.mlmodel") for end in ends} == {"CorruptModel"}


def test_flipped_bytes(content: bytes, tmp_path: Path) -> None:
    outcomes = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        outcomes.append(outcome(bytes(damaged), tmp_path / "m.mlmodel"))
    assert set(outcomes) == {"CorruptModel", "NotCheckable", "loaded"}  # a flipped weight is a weight


def test_random_bytes(tmp_path: Path) -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        noise = rng.integers(0, 256, rng.integers(1, 2000), dtype=np.uint8)
        assert outcome(noise.tobytes(), tmp_path / "m.mlmodel") == "CorruptModel"


EXTREMES = [0, 1, 3, -1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -(2**31), -(2**63), 1e30, float("nan")]


def numbers(message: Any) -> list[tuple[Any, Any, int | None]]:
    """Every number in a message: its message, its field and, if repeated, one place."""
    found = []
    for field, value in message.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            continue
        if field.message_type:
            for child in value if field.is_repeated else [value]:
                found += numbers(child)
        elif field.cpp_type not in (field.CPPTYPE_STRING, field.CPPTYPE_BOOL):
            found.append((message, field, len(value) // 2 if field.is_repeated else None))
    return found


def test_absurd_numbers(tmp_path: Path) -> None:
    """Every number of the file is replaced by every extreme that its field can hold."""
    outcomes = set()
    for place in range(len(numbers(fresh()))):
        for extreme in EXTREMES:
            spec = fresh()
            message, field, index = numbers(spec)[place]
            try:
                value = extreme if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE) else int(extreme)
                if index is None:
                    setattr(message, field.name, value)
                else:
                    getattr(message, field.name)[index] = value
            except (ValueError, OverflowError):  # more than the field can hold
                continue
            outcomes.add(outcome(spec.SerializeToString(), tmp_path / "m.mlmodel"))
    assert outcomes == {"CorruptModel", "NotCheckable", "loaded"}


def layer(spec: Any, name: str) -> Any:
    return next(layer for layer in spec.neuralNetworkClassifier.layers if layer.name == name)


def edit(change: Callable[[Any], Any]) -> Any:
    spec = fresh()
    change(spec)
    return spec


CONTRADICTIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "unknown_blob": (lambda s: layer(s, "relu").input.__setitem__(0, "nowhere"), "'relu'.*'nowhere'.*no layer"),
    "written_twice": (lambda s: layer(s, "relu").output.__setitem__(0, "c"), "'relu'.*'c' a second time"),
    "image_overwritten": (lambda s: layer(s, "relu").output.__setitem__(0, "image"), "'image' a second time"),
    "no_input": (lambda s: layer(s, "relu").ClearField("input"), "'relu'.*reads 0 blobs"),
    "two_inputs": (lambda s: layer(s, "pool").input.append("c"), "'pool'.*reads 2 blobs"),
    "no_output": (lambda s: layer(s, "soft").ClearField("output"), "no layer writes the output"),
    "order": (lambda s: s.neuralNetworkClassifier.layers.reverse(), "no layer above writes"),
    "no_layers": (lambda s: s.neuralNetworkClassifier.ClearField("layers"), "no layer writes the output"),
    "kernel": (lambda s: layer(s, "conv").convolution.weights.floatValue.append(0), "'conv'.*109 weights.*needs 108"),
    "no_kernel": (lambda s: layer(s, "conv").convolution.ClearField("weights"), "'conv'.*stored once, not 0"),
    "bias": (lambda s: layer(s, "conv").convolution.bias.floatValue.pop(), "'conv'.*3 weights"),
    "channels": (lambda s: setattr(layer(s, "conv").convolution, "nGroups", 3), "'conv'.*3 channels come in"),
    "matrix": (lambda s: setattr(layer(s, "dense").innerProduct, "inputChannels", 12), "'dense'.*48 weights"),
    "stride": (lambda s: layer(s, "pool").pooling.stride.__setitem__(0, 0), "'pool'.*stride"),
    "pool_window": (lambda s: layer(s, "pool").pooling.kernelSize.__setitem__(0, 9), "'pool'.*does not fit"),
    "axis": (lambda s: setattr(layer(s, "soft").softmaxND, "axis", 2), "'soft'.*axis 2"),
    "labels": (lambda s: s.neuralNetworkClassifier.stringClassLabels.vector.append("x"), "2 probabilities for 3"),
    "no_labels": (lambda s: s.neuralNetworkClassifier.ClearField("stringClassLabels"), "no class labels"),
    "label_output": (lambda s: setattr(s.description, "predictedFeatureName", "other"), "no label 'other'"),
    "probabilities": (lambda s: setattr(s.description, "predictedProbabilitiesName", "x"), "no dictionary.*'x'"),
    "preprocessing": (
        lambda s: setattr(s.neuralNetworkClassifier.preprocessing[0], "featureName", "other"), "not its input"),
    "size": (lambda s: setattr(s.description.input[0].type.imageType, "width", 0), "6 x 0 pixels"),
    "lookup_table": (
        lambda s: quantize(layer(s, "dense").innerProduct.weights, bits=2, table=[0.0, 1.0]), "2 entries.*need 4"),
    "short_codes": (
        lambda s: quantize(layer(s, "dense").innerProduct.weights, bits=4, table=[0.0] * 16), "12 bytes.*needs 48"),
}  # fmt: skip


def quantize(weights: Any, *, bits: int, table: list[float]) -> None:
    weights.ClearField("floatValue")
    weights.rawValue = bytes(12)
    weights.quantization.numberOfBits = bits
    weights.quantization.lookupTableQuantization.floatValue.extend(table)


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions(name: str, tmp_path: Path) -> None:
    change, text = CONTRADICTIONS[name]
    with pytest.raises(CorruptModel, match=text):
        loaded(edit(change), tmp_path)


def constant_answer(spec: Any) -> None:
    soft = layer(spec, "soft")
    soft.ClearField("input")
    soft.loadConstantND.shape.append(2)
    soft.loadConstantND.data.floatValue.extend([0.5, 0.5])


def test_answer_that_ignores_the_image(tmp_path: Path) -> None:
    with pytest.raises(CorruptModel, match="do not depend on the image"):
        loaded(edit(constant_answer), tmp_path)


def unknown_field(spec: Any) -> None:
    layer(spec, "relu").MergeFromString(b"\xfa\x3f\x01x")  # field 1023, four bytes from a newer version


UNKNOWN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "kind": (lambda s: layer(s, "relu").custom.SetInParent(), "'relu'.*custom"),
    "loop": (lambda s: layer(s, "relu").loop.SetInParent(), "'relu'.*loop"),
    "no_kind": (lambda s: layer(s, "relu").ClearField("activation"), "'relu'.*unknown kind"),
    "function": (lambda s: layer(s, "relu").activation.ClearField("ReLU"), "'relu'.*function is unknown"),
    "field": (unknown_field, "NeuralNetworkLayer has a field"),
    "enumeration": (lambda s: setattr(layer(s, "pool").pooling, "type", 9), "'pool'.*type is 9"),
    "dynamic": (lambda s: setattr(layer(s, "dense").innerProduct, "int8DynamicQuantize", True), "int8DynamicQuantize"),
    "bits": (lambda s: quantize(layer(s, "dense").innerProduct.weights, bits=9, table=[0.0]), "9 bits"),
    "pad_mode": (lambda s: setattr(layer(s, "pad").constantPad, "padToGivenOutputSizeMode", True), "'pad'"),
    "huge": (lambda s: layer(s, "pad").constantPad.padAmounts.__setitem__(7, 2**40), "'pad'.*blob of shape"),
    "huge_image": (lambda s: setattr(s.description.input[0].type.imageType, "width", 2**40), "too large"),
    "mean_image": (
        lambda s: s.neuralNetworkClassifier.preprocessing[0].meanImage.meanImage.append(1), "meanImage"),
    "two_preprocessings": (lambda s: s.neuralNetworkClassifier.preprocessing.add(), "more than once"),
    "two_images": (lambda s: s.description.input.add().CopyFrom(s.description.input[0]), "2 inputs"),
    "array": (lambda s: s.description.input[0].type.multiArrayType.shape.append(3), "multiArrayType"),
    "colour": (lambda s: setattr(s.description.input[0].type.imageType, "colorSpace", 40), "GRAYSCALE_FLOAT16"),
    "flexible": (lambda s: s.description.input[0].type.imageType.enumeratedSizes.SetInParent(), "no fixed size"),
    "shape_mapping": (lambda s: setattr(s.neuralNetworkClassifier, "imageInputShapeMapping", 7), "unknown way 7"),
    "regressor": (lambda s: s.neuralNetworkRegressor.SetInParent(), "neuralNetworkRegressor"),
    "plain_network": (lambda s: s.neuralNetwork.SetInParent(), "neuralNetwork;"),
    "program": (lambda s: s.mlProgram.SetInParent(), "mlProgram"),
    "pipeline": (lambda s: s.pipelineClassifier.SetInParent(), "pipelineClassifier"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_is_never_passed(name: str, tmp_path: Path) -> None:
    change, text = UNKNOWN[name]
    with pytest.raises(NotCheckable, match=text):
        loaded(edit(change), tmp_path)


def test_doubling_blobs_ends(tmp_path: Path) -> None:
    """Each layer doubles what it gets: forty of them would need a terabyte."""

    def doubling(b: Any) -> None:
        for i in range(40):
            source = f"b{i}" if i else "image"
            b.add_concat_nd(f"double{i}", [source, source], f"b{i + 1}", axis=1)
        b.add_softmax_nd("soft", "b40", "output", -1)

    with pytest.raises(NotCheckable, match="'double"):
        loaded(build_network(doubling, outputs=2), tmp_path)


@pytest.mark.parametrize("make", ["missing", "folder", "empty", "package", "text"])
def test_not_a_file(make: str, tmp_path: Path) -> None:
    path = tmp_path / ("m.mlpackage" if make == "package" else "m.mlmodel")
    if make in ("folder", "package"):
        path.mkdir()
    elif make == "empty":
        path.touch()
    elif make == "text":
        path.write_text("not a model\n" * 50)
    with pytest.raises(CorruptModel, match=path.name):
        load(path)
