"""Load an ML Program that classifies images, from its protobuf message and its package's weights.

Everything is computed in float32. Stored float16 values are decoded to float32, and a cast to float16 has no effect. So
the predictions can be compared closely with a Keras model whose weights were rounded in the same way. A correct file
agrees to 1e-6, whereas rounding activations on a phone alone would account for 1e-3, as much as many real faults. What
that rounding, and float16's maximum of 65,504, do to a prediction is not visible here (see `half`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from conversion.runtime.blueprint import of_program
from conversion.runtime.executable import BatchedExecutable
from conversion.runtime.interface import Array, CorruptModel, ImageInput, Images, Interface, NotCheckable
from conversion.runtime.mil_graph import Program, image_scaling
from conversion.runtime.mil_ops import Variable
from conversion.runtime.mil_values import tensor_type
from conversion.runtime.model_file import check_labels, check_outputs, image_input, metadata, received
from conversion.runtime.network import blaming
from conversion.runtime.package import Package
from conversion.runtime.weight_file import WeightFile
from conversion.runtime.weight_references import MODEL_FOLDER

KIND = "mlProgram"
MAIN = "main"  # the only function of a package without multiple functions


def load(model: Any, package: Package | None, *, source: str, size_bytes: int) -> BatchedExecutable:
    """Compile an ML Program.

    Args:
        model: the file's message, of the type `KIND`.
        package: the package of the file, for its weights.
        source: name of the file, for errors.
        size_bytes: of the file or of the package.

    Raises:
        CorruptModel: if it contradicts itself.
        NotCheckable: if it has anything unknown.
    """
    description = model.description
    function, block = main_function(model, source)
    image = image_input(description, source)
    variable = _image_variable(function, block, image, source)
    if not any(operation.type == "classify" for operation in block.operations):
        raise NotCheckable(f"{source}: its program has no operation 'classify'.")
    program = Program(block, inputs=[variable], blob=Weights(package).blob, source=source)
    found = program.classification
    assert found
    for name, announced, what in (
        (found.label_name, description.predictedFeatureName, "label"),
        (found.probabilities_name, description.predictedProbabilitiesName, "dictionary of probabilities"),
    ):
        if name != announced or name not in block.outputs:
            raise CorruptModel(f"{source}: announces the {what} {announced!r} and computes {name!r}.")
    scale, bias = image_scaling(program.ops, variable, axis=3 if image.is_array else 1)
    image = dataclasses.replace(image, scale=scale, bias=bias)
    network = program.network

    def prepared(images: Images) -> Array:
        return received(images, image)

    blank = np.zeros((1, image.height, image.width, image.channels), np.uint8)
    check_labels(found.labels, network.prepare(prepared(blank))[0], source)
    interface = Interface(
        format="mlprogram",
        specification_version=model.specificationVersion,
        input=image,
        probabilities_name=found.probabilities_name,
        label_name=found.label_name,
        labels=found.labels,
        layers=tuple(program.kinds),
        head=network.head,
        size_bytes=size_bytes,
        metadata=metadata(description),
    )
    check_outputs(description, interface, source)
    return BatchedExecutable(
        interface,
        program.weights,
        lambda: of_program(program),
        network,
        prepared,
    )


def main_function(model: Any, source: str) -> tuple[Any, Any]:
    """Return the program's only function, and its only block of operations.

    Raises:
        NotCheckable: if there are several, or the model has state.
    """
    description, program = model.description, model.mlProgram
    if len(description.functions) or description.defaultFunctionName:
        raise NotCheckable(f"{source}: has several functions; one can be executed here.")
    if len(description.state):
        raise NotCheckable(f"{source}: keeps a state between predictions.")
    functions = sorted(program.functions)
    if functions != [MAIN]:
        names = ", ".join(map(repr, functions)) or "none"
        raise NotCheckable(f"{source}: its {KIND} has the functions {names}; one called {MAIN!r} can be executed here.")
    function = program.functions[MAIN]
    if sorted(function.block_specializations) != [function.opset]:
        raise NotCheckable(f"{source}: its program is not written once, for the operations {function.opset!r}.")
    return function, function.block_specializations[function.opset]


def _image_variable(function: Any, block: Any, image: ImageInput, source: str) -> Variable:
    """Return the function's only input."""
    if len(function.inputs) != 1 or len(block.inputs):
        raise CorruptModel(f"{source}: its program has {len(function.inputs)} inputs where it announces an image.")
    stored = function.inputs[0]
    with blaming(source, f"input {stored.name!r}"):
        declared = tensor_type(stored.type)
    shape = image.blob_shape
    if stored.name != image.name or not declared.is_float or declared.shape != shape:
        raise CorruptModel(
            f"{source}: announces the image {image.name!r} of shape {shape}; its program takes {stored.name!r} "
            f"of {declared.name} and shape {declared.shape}."
        )
    return Variable(stored.name, declared)


class Weights:
    """The weight files that a program refers to."""

    def __init__(self, package: Package | None) -> None:
        self._package = package
        self._files: dict[str, WeightFile] = {}

    def blob(self, file_name: str, offset: int, type_name: str, size: int, unused_bits: int) -> bytes:
        """Return the bytes of a blob; raises as `WeightFile.blob` does."""
        if self._package is None:
            raise ValueError(f"its weights are in {file_name!r}, and this file is not in a package")
        if file_name not in self._files:
            if not file_name.startswith(MODEL_FOLDER):
                raise ValueError(f"its weights are in {file_name!r}, which is not in the package")
            path = self._package.member(file_name.removeprefix(MODEL_FOLDER), beside_model=True)
            self._files[file_name] = WeightFile(path)
        return self._files[file_name].blob(offset, type_name=type_name, size=size, unused_bits=unused_bits)
