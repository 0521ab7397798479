"""A Core ML file of either format, opened to be changed by hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from conversion.coreml.file import MODEL_MEMBER, WEIGHTS_FOLDER
from conversion.runtime import Executable, load
from conversion.runtime.schema import model_class


class NotApplicable(Exception):
    """The file has nothing that this mutation could change."""


class Draft:
    """A file or package that is about to go wrong."""

    def __init__(self, path: Path) -> None:
        self.executable: Executable = load(path)
        self.is_package = path.is_dir()
        content = (path / MODEL_MEMBER if self.is_package else path).read_bytes()
        self.spec: Any = model_class().FromString(content)
        self.weights = (
            bytearray((path / WEIGHTS_FOLDER / "weight.bin").read_bytes()) if self.is_package else bytearray()
        )
        self._source = path

    def save(self, path: Path) -> Path:
        content = self.spec.SerializeToString(deterministic=True)
        if not self.is_package:
            path.write_bytes(content)
            return path
        shutil.copytree(self._source, path)
        (path / MODEL_MEMBER).write_bytes(content)
        (path / WEIGHTS_FOLDER / "weight.bin").write_bytes(self.weights)
        return path

    # What both formats have -----------------------------------------------------------------------------------------

    @property
    def image(self) -> Any:
        return self.spec.description.input[0].type.imageType

    def tensor(self, rank: int, place: int = 0) -> tuple[str, str, np.ndarray]:
        """Layer, field and values of the tensor of a rank, by its place among these."""
        found = [
            (layer, field, values)
            for layer, fields in self.executable.weights.items()
            for field, values in fields.items()
            if values.ndim == rank and min(values.shape[:1], default=0) > 1
        ]
        if len(found) <= place:
            raise NotApplicable
        return found[place]

    # A neuralnetwork ------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> Any:
        return self.spec.neuralNetworkClassifier.layers

    def layer(self, kind: str) -> Any:
        """The first layer of a kind."""
        return first(layer for layer in self.layers if layer.WhichOneof("layer") == kind)

    def stored(self, layer: str, field: str) -> Any:
        """The `WeightParams` message of a tensor."""
        message = first(message for message in self.layers if message.name == layer)
        return getattr(getattr(message, message.WhichOneof("layer")), field)

    # A program ------------------------------------------------------------------------------------------------------

    @property
    def operations(self) -> Any:
        return (
            self.spec.mlProgram.functions["main"]
            .block_specializations[self.spec.mlProgram.functions["main"].opset]
            .operations
        )

    def operation(self, kind: str) -> Any:
        """The first operation of a kind."""
        return first(operation for operation in self.operations if operation.type == kind)

    def writer(self, name: str) -> Any:
        return first(o for o in self.operations if any(output.name == name for output in o.outputs))

    def argument(self, operation: Any, parameter: str) -> Any:
        """The `Value` message of a constant parameter."""
        argument = operation.inputs[parameter].arguments[0]
        if argument.WhichOneof("binding") == "value":
            return argument.value
        writer = self.writer(argument.name)
        if writer.type != "const":
            raise NotApplicable
        return writer.attributes["val"]

    def read_by(self, layer: str, field: str) -> Any:
        """The operation that writes a tensor: a const, or one that decompresses."""
        return self.writer(self.writer(layer).inputs[field].arguments[0].name)

    def replace(self, layer: str, field: str, values: np.ndarray) -> None:
        """Store other values for a tensor, without compression."""
        if not self.is_package:
            stored = self.stored(layer, field)
            stored.Clear()
            stored.floatValue.extend(values.astype(np.float32).ravel())
            return
        operation = self.read_by(layer, field)
        kind, name = operation.outputs[0].type, operation.outputs[0].name
        operation.type = "const"
        for mapping in (operation.inputs, operation.attributes):
            for key in [key for key in mapping if key != "name"]:
                del mapping[key]
        value = operation.attributes["val"]
        value.type.CopyFrom(kind)
        tensor = value.immediateValue.tensor
        if kind.tensorType.dataType == 10:  # FLOAT16, which has no field of its own
            tensor.bytes.values = values.astype("<f2").tobytes()
        else:
            tensor.floats.values.extend(values.astype(np.float32).ravel())
        assert operation.outputs[0].name == name


def first(found: Iterator[Any]) -> Any:
    for one in found:
        return one
    raise NotApplicable
