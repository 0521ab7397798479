"""A program that is damaged, contradicts itself, or holds the unknown ends in one clear error."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from conversion.runtime import CorruptModel, NotCheckable, load
from tests.conversion.test_runtime_damage import EXTREMES, numbers
from tests.support.layers import (
    MODEL,
    WEIGHTS,
    block_of,
    build_program,
    change_program,
    fragile_network,
    outcome,
    spec_of,
)
from tests.support.layers import op_of as op


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "whole.mlpackage"
    build_program(fragile_network).save(str(path))
    return path


@pytest.fixture
def package(saved: Path, tmp_path: Path) -> Path:
    """A package of one's own to damage."""
    return Path(shutil.copytree(saved, tmp_path / "m.mlpackage"))


def test_whole_package_loads(package: Path) -> None:
    assert outcome(package) == "loaded"


@pytest.mark.parametrize("member", [MODEL, WEIGHTS, Path("Manifest.json")])
def test_every_truncation_is_noticed(member: Path, package: Path) -> None:
    content = (package / member).read_bytes()
    end_of_data = len(content.rstrip(b"\0" if member == WEIGHTS else b" \n"))
    for end in {int(end) for end in np.linspace(0, end_of_data - 1, 60)}:
        (package / member).write_bytes(content[:end])
        assert outcome(package) == "CorruptModel", f"{member} cut at {end} of {len(content)}"


@pytest.mark.parametrize("member", [MODEL, WEIGHTS, Path("Manifest.json")])
def test_flipped_bits(member: Path, package: Path) -> None:
    content, outcomes = (package / member).read_bytes(), []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        (package / member).write_bytes(damaged)
        outcomes.append(outcome(package))
    assert set(outcomes) <= {"CorruptModel", "NotCheckable", "loaded"}
    assert outcomes.count("CorruptModel") > 10, "most damage should be noticed"


@pytest.mark.parametrize("member", [MODEL, WEIGHTS, Path("Manifest.json")])
def test_random_bytes(member: Path, package: Path) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        (package / member).write_bytes(rng.bytes(int(rng.integers(1, 2000))))
        assert outcome(package) == "CorruptModel"


def places(spec: Any) -> list[tuple[Any, Any, int | None]]:
    found = []
    for operation in block_of(spec).operations:
        for output in operation.outputs:
            found += numbers(output)
        for attribute in sorted(operation.attributes):
            found += numbers(operation.attributes[attribute])
        for parameter in sorted(operation.inputs):
            found += numbers(operation.inputs[parameter])
    return found


@pytest.mark.slow
def test_absurd_numbers(package: Path) -> None:
    """Numbers of the program are replaced by every extreme that their field can hold."""
    original, outcomes, tried = spec_of(package), set(), 0
    tracemalloc.start()
    for place in range(0, len(places(original)), 9):
        for extreme in EXTREMES[place % 2 :: 2]:
            spec = type(original)()
            spec.CopyFrom(original)
            message, field, index = places(spec)[place]
            try:
                value = extreme if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE) else int(extreme)
                if index is None:
                    setattr(message, field.name, value)
                else:
                    getattr(message, field.name)[index] = value
            except (ValueError, OverflowError):  # more than the field can hold
                continue
            (package / MODEL).write_bytes(spec.SerializeToString())
            outcomes.add(outcome(package))
            tried += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcomes == {"CorruptModel", "NotCheckable", "loaded"}
    assert tried > 100
    assert peak < 2**29, f"{peak:,} bytes for a network of a few hundred weights"


def bind(operation: Any, parameter: str, name: str) -> None:
    operation.inputs[parameter].arguments[0].name = name


def parameter(spec: Any, name: str, parameter: str) -> Any:
    """The tensor of a constant parameter."""
    source = op(spec, op(spec, name).inputs[parameter].arguments[0].name)
    return source.attributes["val"].immediateValue.tensor


def weights_of(spec: Any, name: str, parameter: str) -> Any:
    return op(spec, op(spec, name).inputs[parameter].arguments[0].name).attributes["val"].blobFileValue


def image_of(spec: Any) -> Any:
    return spec.description.input[0].type.imageType


def swap(spec: Any) -> None:
    """Two operations that each read what the other writes."""
    bind(op(spec, "relu"), "x", "pool")


def reverse(spec: Any) -> None:
    operations = list(block_of(spec).operations)[::-1]
    del block_of(spec).operations[:]
    block_of(spec).operations.extend(operations)


def classes(spec: Any) -> Any:
    return block_of(spec).operations[-1].inputs["classes"].arguments[0].value.immediateValue.list.values


CONTRADICTIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "unknown_value": (lambda s: bind(op(s, "relu"), "x", "nowhere"), "'relu'.*'nowhere'.*no operation above"),
    "itself": (lambda s: bind(op(s, "relu"), "x", "relu"), "'relu'.*no operation above"),
    "cycle": (swap, "'relu'.*'pool'.*no operation above"),
    "order": (reverse, "no operation above"),
    "written_twice": (lambda s: setattr(op(s, "relu").outputs[0], "name", "conv"), "'conv' a second time"),
    "image_overwritten": (lambda s: setattr(op(s, "relu").outputs[0], "name", "image"), "'image' a second time"),
    "no_argument": (lambda s: op(s, "relu").inputs["x"].ClearField("arguments"), "'relu'.*x has 0 values"),
    "two_arguments": (lambda s: op(s, "relu").inputs["x"].arguments.add(name="conv"), "'relu'.*x has 2 values"),
    "no_input": (lambda s: op(s, "relu").inputs.pop("x"), "'relu'.*no x"),
    "no_outputs": (lambda s: op(s, "relu").ClearField("outputs"), "relu.*no output"),
    "two_outputs": (
        lambda s: op(s, "flat").outputs.add(name="x").type.CopyFrom(op(s, "conv").outputs[0].type), "'flat'"),
    "declared": (
        lambda s: setattr(op(s, "relu").outputs[0].type.tensorType.dimensions[2].constant, "size", 5),
        r"'relu'.*declares the shape \(1, 4, 5, 6\) and computes \(1, 4, 4, 6\)",
    ),
    "rank": (lambda s: setattr(op(s, "relu").outputs[0].type.tensorType, "rank", 9), "'relu'.*rank 9"),
    "stride": (lambda s: parameter(s, "pool", "strides").ints.values.__setitem__(0, 0), "'pool'.*strides are"),
    "window": (lambda s: parameter(s, "pool", "kernel_sizes").ints.values.__setitem__(0, 9), "'pool'.*does not fit"),
    "axis": (lambda s: parameter(s, "soft", "axis").ints.values.__setitem__(0, 5), "'soft'.*axis 5"),
    "bias": (lambda s: bind(op(s, "conv"), "bias", op(s, "dense").inputs["bias"].arguments[0].name), "'conv'.*bias"),
    "text_for_number": (lambda s: bind(op(s, "soft"), "axis", "conv_pad_type_0"), "'soft'.*axis"),
    "misaligned": (lambda s: setattr(weights_of(s, "conv", "weight"), "offset", 65), "65, which is not a multiple"),
    "no_blob": (lambda s: setattr(weights_of(s, "conv", "weight"), "offset", 128), "no weights are stored at 128"),
    "beyond": (lambda s: setattr(weights_of(s, "conv", "weight"), "offset", 2**40), "should reach to byte"),
    "header": (lambda s: setattr(weights_of(s, "conv", "weight"), "offset", 0), "not a multiple of 64 bytes"),
    "absolute": (
        lambda s: setattr(weights_of(s, "conv", "weight"), "fileName", "/etc/hostname"), "'/etc/hostname'.*not in the"),
    "upwards": (
        lambda s: setattr(weights_of(s, "conv", "weight"), "fileName", "@model_path/../../../x"), "not stay in the"),
    "absent": (
        lambda s: setattr(weights_of(s, "conv", "weight"), "fileName", "@model_path/weights/x"), "no file 'weights/x'"),
    "folder": (
        lambda s: setattr(weights_of(s, "conv", "weight"), "fileName", "@model_path/weights"), "is not a file"),
    "labels": (lambda s: classes(s).pop(), "list of 2 has 1"),
    "label_name": (lambda s: setattr(s.description, "predictedFeatureName", "other"), "label 'other'"),
    "probabilities": (lambda s: setattr(s.description, "predictedProbabilitiesName", "other"), "probabilities 'other'"),
    "unlisted_output": (lambda s: block_of(s).outputs.pop(), "classLabel_probs"),
    "size": (lambda s: setattr(image_of(s), "width", 9), "announces the image 'image'"),
    "channels": (lambda s: setattr(image_of(s), "colorSpace", 10), r"shape \(1, 1, 6, 8\).*takes"),
    "input_name": (lambda s: setattr(s.description.input[0], "name", "x"), "announces the image 'x'.*takes 'image'"),
    "no_pixels": (lambda s: setattr(image_of(s), "width", 0), "6 x 0 pixels"),
    "constant_answer": (
        lambda s: bind(block_of(s).operations[-1], "probabilities", op(s, "dense").inputs["bias"].arguments[0].name),
        "do not depend on the image",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions(name: str, package: Path) -> None:
    change, text = CONTRADICTIONS[name]
    with pytest.raises(CorruptModel, match=text):
        load(change_program(package, change))


def nest(spec: Any) -> None:
    """A function that is called by itself, as far as the format can say so: a block in an operation of a block."""
    block = type(block_of(spec))()
    block.CopyFrom(block_of(spec))  # first: protobuf crashes where a message is copied into its own part
    op(spec, "relu").blocks.add().CopyFrom(block)


UNKNOWN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "kind": (lambda s: setattr(op(s, "relu"), "type", "swish"), r"'relu' \(swish\).*unknown"),
    "no_kind": (lambda s: op(s, "relu").ClearField("type"), "'relu'.*unknown"),
    "parameter": (lambda s: op(s, "relu").inputs["slope"].arguments.add(name="conv"), "'relu'.*parameter 'slope'"),
    "attribute": (lambda s: op(s, "relu").attributes["mode"].CopyFrom(op(s, "relu").attributes["name"]), "'mode'"),
    "blocks": (nest, "'relu'.*blocks"),
    "pad_type": (
        lambda s: parameter(s, "conv", "pad_type").strings.values.__setitem__(0, "mirror"), "'conv'.*'mirror'"),
    "weight_from_image": (lambda s: bind(op(s, "conv"), "weight", "image"), "'conv'.*weight depends on the image"),
    "flexible": (
        lambda s: op(s, "relu").outputs[0].type.tensorType.dimensions[0].unknown.SetInParent(), "'relu'.*fixed shape"),
    "data_type": (
        lambda s: setattr(op(s, "relu").outputs[0].type.tensorType, "dataType", 77), "'relu'.*data type 77"),
    "huge": (lambda s: parameter(s, "pad", "pad").ints.values.__setitem__(3, 2**30), "'pad'.*blob of shape"),
    "huge_image": (lambda s: setattr(image_of(s), "width", 2**40), "too large"),
    "flexible_image": (lambda s: image_of(s).imageSizeRange.SetInParent(), "no fixed size"),
    "colour": (lambda s: setattr(image_of(s), "colorSpace", 40), "GRAYSCALE_FLOAT16"),
    "array": (lambda s: s.description.input[0].type.multiArrayType.shape.append(3), "multiArrayType"),
    "two_inputs": (lambda s: s.description.input.add().CopyFrom(s.description.input[0]), "2 inputs"),
    "state": (lambda s: s.description.state.add(), "keeps a state"),
    "functions": (lambda s: s.description.functions.add(), "several functions"),
    "two_functions": (
        lambda s: s.mlProgram.functions["other"].CopyFrom(s.mlProgram.functions["main"]), "'main', 'other'"),
    "no_function": (lambda s: s.mlProgram.functions.pop("main"), "the functions none"),
    "two_versions": (
        lambda s: s.mlProgram.functions["main"].block_specializations["CoreML9"].SetInParent(), "not written once"),
    "no_classes": (lambda s: block_of(s).operations.pop(), "no operation 'classify'"),
    "field": (lambda s: op(s, "relu").MergeFromString(b"\xfa\x3f\x01x"), "Operation has a field"),
    "regressor": (lambda s: s.neuralNetworkRegressor.SetInParent(), "neuralNetworkRegressor"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_is_never_passed(name: str, package: Path) -> None:
    change, text = UNKNOWN[name]
    with pytest.raises(NotCheckable, match=text):
        load(change_program(package, change))


def test_deep_nesting(package: Path) -> None:
    """Blocks in blocks and lists in lists, far beyond what their parsers follow."""
    block = b""
    for _ in range(2000):
        block = _field(3, _field(4, block))  # an operation with a block of operations with a block ...
    function = _field(3, _field(2, block))
    (package / MODEL).write_bytes(_field(502, _field(2, _field(1, b"main") + _field(2, function))))
    assert outcome(package) == "CorruptModel"
    (package / "Manifest.json").write_text("[" * 200_000)
    assert outcome(package) == "CorruptModel"


def _field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds bytes or another message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def test_large_matrix_ends(tmp_path: Path) -> None:
    """A column times a row, each of them small, would be a terabyte; the program declares less."""

    def program(x: Any) -> Any:
        column = mb.tile(x=mb.reshape(x=x, shape=[-1, 1]), reps=[2000, 1])
        wide = mb.linear(x=column, weight=np.ones((1, 1), np.float32), name="wide")
        return mb.softmax(x=mb.reduce_mean(x=wide, axes=[0]))

    path = tmp_path / "m.mlpackage"
    build_program(program).save(str(path))
    assert outcome(path) == "loaded"

    def widen(spec: Any) -> None:
        weight = op(spec, op(spec, "wide").inputs["weight"].arguments[0].name)
        for declared in (weight.outputs[0].type, weight.attributes["val"].type):
            declared.tensorType.dimensions[0].constant.size = 2**20
        weight.attributes["val"].immediateValue.tensor.floats.values[:] = [1.0] * 2**20
        op(spec, "wide").inputs.pop("bias", None)

    with pytest.raises(NotCheckable, match=r"'wide'.*blob of shape \(1, 288000, 1048576\)"):
        load(change_program(path, widen))


def test_doubling_values_ends(tmp_path: Path) -> None:
    """Each operation doubles what it gets, first of constants, then of the image."""

    def constants(x: Any) -> Any:
        y: Any = np.ones((1, 3, 6, 8), np.float32)
        for i in range(3):
            y = mb.concat(values=[y, y], axis=1, name=f"double{i}")
        return mb.softmax(x=mb.reduce_mean(x=mb.mul(x=mb.reduce_mean(x=x), y=y), axes=[2, 3]))

    path = tmp_path / "m.mlpackage"
    build_program(constants).save(str(path))
    assert outcome(path) == "loaded"
    spec = spec_of(path)
    operations = list(block_of(spec).operations)
    double = next(operation for operation in operations if operation.outputs[0].name == "double2")
    more, last = [], "double2"
    for i in range(40):
        copy = type(double)()
        copy.CopyFrom(double)
        copy.outputs[0].name = f"more{i}"
        copy.outputs[0].type.tensorType.dimensions[1].constant.size = 24 * 2 ** (i + 1)
        for argument in copy.inputs["values"].arguments:
            argument.name = last
        more.append(copy)
        last = f"more{i}"
    index = operations.index(double) + 1
    del block_of(spec).operations[:]
    block_of(spec).operations.extend([*operations[:index], *more, *operations[index:]])
    (path / MODEL).write_bytes(spec.SerializeToString())
    with pytest.raises(NotCheckable, match="'more"):
        load(path)
