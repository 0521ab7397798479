"""Rename layers and blobs of a Core ML file by kind and position.

The converter's names have Keras' counters (`conv2d_17`), so the file's bytes and size would depend on what else the
process has built.
"""

from __future__ import annotations

from typing import Any

INPUT_NAME = "image"
OUTPUT_NAME = "output"
LABEL_NAME = "classLabel"


def name_features(spec: Any) -> None:
    """Rename the outputs, which TensorFlow calls `Identity`, and everything inside the `Model` message."""
    description = spec.description
    names = {
        INPUT_NAME: INPUT_NAME,
        description.predictedProbabilitiesName: OUTPUT_NAME,
        description.predictedFeatureName: LABEL_NAME,
    }
    if spec.WhichOneof("Type") == "mlProgram":
        for function in spec.mlProgram.functions.values():
            for block in function.block_specializations.values():
                _name_operations(block, names)
    else:
        _name_layers(spec.neuralNetworkClassifier, names)
    for output in description.output:
        output.name = names[output.name]
    description.predictedProbabilitiesName = OUTPUT_NAME
    description.predictedFeatureName = LABEL_NAME


def _name_layers(network: Any, names: dict[str, str]) -> None:
    for position, layer in enumerate(network.layers):
        layer.name = f"{layer.WhichOneof('layer')}_{position}"
        for index, output in enumerate(layer.output):
            names.setdefault(output, f"{layer.name}_{index}" if index else layer.name)
        layer.input[:] = [names[name] for name in layer.input]
        layer.output[:] = [names[name] for name in layer.output]
    network.labelProbabilityLayerName = names[network.labelProbabilityLayerName]


def _name_operations(block: Any, names: dict[str, str]) -> None:
    for operation in block.operations:
        for inner in operation.blocks:
            for value in inner.inputs:
                names[value.name] = f"value_{len(names)}"
                value.name = names[value.name]
            _name_operations(inner, names)
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name":
                    binding.name = names[binding.name]
        for output in operation.outputs:
            output.name = names.setdefault(output.name, f"{operation.type}_{len(names)}")
        if "name" in operation.attributes:
            operation.attributes["name"].immediateValue.tensor.strings.values[:] = [operation.outputs[0].name]
    block.outputs[:] = [names[name] for name in block.outputs]
