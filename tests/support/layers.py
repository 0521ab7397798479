# ruff: noqa: E402  # TensorFlow and coremltools read the environment when they are imported
"""Small models for the executor's tests: Keras blocks converted by coremltools, and networks written layer by layer."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TQDM_DISABLE", "1")
logging.getLogger("coremltools").setLevel(logging.ERROR)

import coremltools as ct
import keras
import numpy as np
import tensorflow as tf
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder

from architectures.garbage import frozen_objects
from conversion.coreml.convert import coremltools
from conversion.runtime import CorruptModel, Executable, NotCheckable, load

coremltools()  # as the product has it convert
_convert = frozen_objects()(ct.convert)


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Give every weight a value that matters: a fresh bias is zero and a fresh variance one, which hides mistakes."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed_generator" in weight.path:
            continue
        if weight.path.endswith(("gamma", "variance")):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) == 1:
            weight.assign(rng.uniform(-0.5, 0.5, weight.shape))
        else:
            weight.assign(weight.numpy() + rng.normal(0, 0.05, weight.shape))
    return model


def convert(model: keras.Model, *, scale: float = 1 / 255, bias: Any = None, color: str | None = None) -> Any:
    """The model as a Core ML specification, with labels "0", "1", ... for its outputs."""
    return _convert(convert_to="neuralnetwork", **_conversion(model, scale, bias, color)).get_spec()


def convert_program(
    model: keras.Model,
    *,
    precision: str = "FLOAT32",
    target: str = "iOS16",
    scale: float = 1 / 255,
    bias: Any = None,
    color: str | None = None,
) -> Any:
    """The model as an ML Program, which is saved as a package; labels as for `convert`."""
    return _convert(
        convert_to="mlprogram",
        compute_precision=getattr(ct.precision, precision),
        minimum_deployment_target=getattr(ct.target, target),
        skip_model_load=True,
        **_conversion(model, scale, bias, color),
    )


def _conversion(model: keras.Model, scale: float, bias: Any, color: str | None) -> dict[str, Any]:
    shape = (1, *model.input_shape[1:])
    color = color or ("GRAYSCALE" if shape[-1] == 1 else "RGB")
    tf.config.run_functions_eagerly(True)  # Keras hides grouped convolutions in functions of their own otherwise
    try:
        forward = tf.function(lambda image: model(image, training=False)).get_concrete_function(
            tf.TensorSpec(shape, tf.float32, name="image")
        )
    finally:
        tf.config.run_functions_eagerly(False)
    labels = [str(i) for i in range(int(np.prod(model.output_shape[1:])))]
    image = ct.ImageType(name="image", shape=shape, scale=scale, bias=bias, color_layout=getattr(ct.colorlayout, color))
    return {
        "model": [forward],
        "source": "tensorflow",
        "inputs": [image],
        "classifier_config": ct.ClassifierConfig(labels),
    }


def build_network(
    write: Callable[[NeuralNetworkBuilder], None],
    *,
    outputs: int,
    shape: tuple[int, int, int] = (3, 6, 8),
    rank5: bool = False,
    scale: float = 1 / 255,
) -> Any:
    """A specification whose layers `write` adds, from the blob "image" (channels, height, width) to "output"."""
    builder = NeuralNetworkBuilder(
        [("image", datatypes.Array(*shape))],
        [("output", None)],
        mode="classifier",
        disable_rank5_shape_mapping=not rank5,
    )
    write(builder)
    builder.set_class_labels([str(i) for i in range(outputs)], prediction_blob="output")
    builder.set_pre_processing_parameters(image_input_names=["image"], image_scale=scale)
    spec = builder.spec
    if shape[0] == 1:
        spec.description.input[0].type.imageType.colorSpace = ct.proto.FeatureTypes_pb2.ImageFeatureType.GRAYSCALE
    if not rank5:
        spec.neuralNetworkClassifier.imageInputShapeMapping = 1
    return spec


def build_program(
    write: Callable[[Any], Any], *, shape: tuple[int, int, int] = (3, 6, 8), target: str = "iOS18", scale: bool = True
) -> Any:
    """An ML Program of which `write` makes the operations as they are, from the image times 4 / 255 less 2.

    Args:
        write: given the value that the image becomes, (1, *shape) of both signs, returns the probabilities.
        shape: channels, height, width.
        target: the oldest system that it is for, which decides which operations there are.
        scale: whether the image is scaled; otherwise `write` gets the pixels.
    """

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, *shape))], opset_version=getattr(ct.target, target))
    def program(image: Any) -> Any:
        if scale:
            image = mb.sub(x=mb.mul(x=image, y=np.float32(4 / 255)), y=np.float32(2))
        return write(image)

    color = ct.colorlayout.GRAYSCALE if shape[0] == 1 else ct.colorlayout.RGB
    count = int(np.prod(program.functions["main"].outputs[0].shape))
    return _convert(
        program,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=getattr(ct.target, target),
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
        inputs=[ct.ImageType(name="image", shape=(1, *shape), color_layout=color)],
        classifier_config=ct.ClassifierConfig([str(i) for i in range(count)]),
    )


def loaded(spec: Any, tmp_path: Any) -> Executable:
    """Save a specification and load the file."""
    path = tmp_path / "model.mlmodel"
    path.write_bytes(spec.SerializeToString())
    return load(path)


def loaded_package(model: Any, tmp_path: Any) -> Executable:
    """Save an ML Program and load the package."""
    path = tmp_path / "model.mlpackage"
    model.save(str(path))
    return load(path)


def images(shape: tuple[int, ...], count: int = 5, seed: int = 1) -> np.ndarray:
    """Random uint8 images (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """coremltools' quantization prints to stdout."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


# One layer at a time, written by hand ------------------------------------------------------------------------------

C, H, W = 4, 6, 8
RNG = np.random.default_rng(5)
VECTOR = RNG.uniform(0.5, 2, C).astype(np.float32)
OTHER = RNG.normal(0, 1, C).astype(np.float32)
PLANES = RNG.normal(0, 1, (C, H, W)).astype(np.float32)
KERNEL = RNG.normal(0, 0.5, (3, 3, C, 5)).astype(np.float32)  # height, width, channels, output channels
PER_CHANNEL = (slice(None), None, None)

Values = np.ndarray  # (N, C, H, W)
Case = tuple[Callable[[Any], None], Callable[[Values], Values]]


def case(method: str, expected: Callable[[Values], Values], **options: Any) -> Case:
    """One layer from "x" to "output"."""
    several = "input_names" in inspect.signature(_method(method)).parameters
    source = {"input_names": ["x"]} if several else {"input_name": "x"}
    return lambda b: _method(method)(b, **{"name": "probe", "output_name": "output", **source, **options}), expected


def _method(name: str) -> Callable[..., Any]:
    return getattr(NeuralNetworkBuilder, f"add_{name}")


def joined(*layers: tuple[str, dict[str, Any]]) -> Callable[[Any], None]:
    """Several layers, each given its method and its options."""

    def write(b: Any) -> None:
        for i, (method, options) in enumerate(layers):
            _method(method)(b, **{"name": f"probe{i}", **options})

    return write


def binary(method: str, expected: Callable[[Values, Values], Values], **options: Any) -> Case:
    """A layer of "x" and a constant vector of one value per channel."""
    constant = ("load_constant_nd", {"output_name": "c", "constant_value": OTHER, "shape": (C, 1, 1)})
    layer = (method, {"input_names": ["x", "c"], "output_name": "output", **options})
    return joined(constant, layer), lambda x: expected(x, OTHER[:, None, None])


def check_case(
    write: Callable[[Any], None], expected: Callable[[Values], Values], tmp_path: Any, *, rank5: bool
) -> None:
    """The image's three channels become four of both signs by a 1 x 1 convolution; the layer follows."""
    signs = np.random.default_rng(3).uniform(-2, 2, (1, 1, 3, C)).astype(np.float32)

    def network(b: Any) -> None:
        b.add_convolution(
            "signs", 3, C, 1, 1, 1, 1, "valid", 1, signs, OTHER / 2, True, input_name="image", output_name="x"
        )
        write(b)

    pixels = images((H, W, 3))
    x = (pixels / 255) @ signs[0, 0].astype(np.float64) + OTHER / 2
    with np.errstate(all="ignore"):
        values = np.asarray(expected(x.transpose(0, 3, 1, 2)), np.float64).reshape(len(pixels), -1)
    executable = loaded(build_network(network, outputs=values.shape[1], rank5=rank5), tmp_path)
    answer = executable.probabilities(pixels)
    assert values.std() > 1e-3, "a layer that gives one value shows nothing"
    np.testing.assert_allclose(answer, values, rtol=2e-5, atol=2e-5)


# One operation at a time, written by hand ---------------------------------------------------------------------------

OpCase = tuple[Callable[[Any], Any], Callable[[Values], Values]]  # the operation on a value; on (N, channels, h, w)


def program_answers(
    cases: Mapping[str, OpCase], tmp_path: Any, *, shape: tuple[int, int, int] = (3, 6, 8), target: str = "iOS18"
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a package that holds all the cases side by side gives for each, and what it should give."""

    def write(x: Any) -> Any:
        flat = [mb.reshape(x=operation(x), shape=[1, -1]) for operation, _ in cases.values()]
        return mb.concat(values=flat, axis=1)

    pixels = images((*shape[1:], shape[0]), 3)
    x = pixels.transpose(0, 3, 1, 2) * (4 / 255) - 2
    with np.errstate(all="ignore"):
        expected = [np.asarray(compute(x)) for _, compute in cases.values()]
    answer = loaded_package(build_program(write, shape=shape, target=target), tmp_path).probabilities(pixels)
    ends = np.cumsum([values[0].size for values in expected])
    assert answer.shape[1] == ends[-1], f"{answer.shape[1]} values computed, {ends[-1]} expected"
    parts = np.split(answer, ends[:-1], axis=1)
    return {
        name: (part, values.reshape(len(pixels), -1)) for name, part, values in zip(cases, parts, expected, strict=True)
    }


# A package to damage --------------------------------------------------------------------------------------------------

MODEL = Path("Data", "com.apple.CoreML", "model.mlmodel")
WEIGHTS = Path("Data", "com.apple.CoreML", "weights", "weight.bin")


def fragile_network(x: Any) -> Any:
    """A little of everything: weights as they are and in tables, padding, numbers and texts as parameters."""
    rng = np.random.default_rng(0)
    kernel, table = rng.normal(size=(4, 3, 3, 3)).astype(np.float32), rng.normal(size=(1, 1, 16, 1)).astype(np.float32)
    matrix = mb.constexpr_lut_to_dense(indices=sub_byte(rng.integers(0, 16, (2, 24)), "uint4"), lut=table)
    c = mb.conv(x=x, weight=kernel, bias=kernel[:, 0, 0, 0], strides=[1, 1], pad_type="valid", name="conv")
    p = mb.max_pool(x=mb.relu(x=c, name="relu"), kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid", name="pool")
    f = mb.reshape(x=mb.pad(x=p, pad=[0, 0, 0, 0], name="pad"), shape=[1, -1], name="flat")
    d = mb.linear(x=f, weight=matrix, bias=np.ones(2, np.float32), name="dense")
    # 11 codes of 3 bits leave 7 bits of the last byte unused.
    odd = mb.constexpr_lut_to_dense(
        indices=sub_byte(np.arange(11) % 8, "uint3"), lut=np.ones((1, 8, 1), np.float32), name="odd"
    )
    return mb.softmax(x=mb.add(x=d, y=mb.reduce_sum(x=odd, axes=[0])), axis=-1, name="soft")


def sub_byte(values: Any, kind: str) -> np.ndarray:
    """Whole numbers in one of coremltools' types of less than a byte, or of one."""
    return np.array(values).astype(types.type_mapping.string_to_nptype(kind))


def spec_of(package: Path) -> Any:
    """The specification in a package."""
    return ct.proto.Model_pb2.Model.FromString((package / MODEL).read_bytes())


def block_of(spec: Any) -> Any:
    """The operations of a program."""
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    return block


def op_of(spec: Any, name: str) -> Any:
    """The operation that writes a value."""
    return next(operation for operation in block_of(spec).operations if operation.outputs[0].name == name)


def change_program(package: Path, change: Callable[[Any], Any]) -> Path:
    """Change the specification in a package."""
    spec = spec_of(package)
    change(spec)
    (package / MODEL).write_bytes(spec.SerializeToString())
    return package


def outcome(path: Path) -> str:
    """What loading and executing ends in; anything but one clear line that names the file is called unclear."""
    try:
        executable = load(path)
        wanted = executable.interface.input
        executable.predict(np.zeros((2, wanted.height, wanted.width, wanted.channels), np.uint8))
    except (CorruptModel, NotCheckable) as error:
        return type(error).__name__ if str(path) in str(error) and "\n" not in str(error) else f"unclear: {error}"
    return "loaded"
