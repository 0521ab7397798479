"""Load a neuralnetwork image classifier from its protobuf message."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from conversion.runtime.blueprint import of_graph
from conversion.runtime.executable import BatchedExecutable
from conversion.runtime.interface import Array, CorruptModel, ImageInput, Images, Interface, NotCheckable
from conversion.runtime.model_file import check_labels, check_outputs, image_input, metadata, received
from conversion.runtime.nn_graph import Graph

KIND = "neuralNetworkClassifier"
EXACT = 1  # in both mappings: the blob has the shape that the file states


def load(model: Any, *, source: str, size_bytes: int) -> BatchedExecutable:
    """Compile a neuralnetwork classifier.

    Args:
        model: the file's message, of the type `KIND`.
        source: name of the file, for errors.

    Raises:
        CorruptModel: if it contradicts itself.
        NotCheckable: if it has anything unknown.
    """
    network, description = model.neuralNetworkClassifier, model.description
    image = image_input(description, source)
    if not image.is_array:
        scale, bias = scaler_of(network.preprocessing, image, source)
        image = dataclasses.replace(image, scale=scale, bias=bias)
    labels = _labels(network, source)
    output = network.labelProbabilityLayerName or description.predictedProbabilitiesName
    graph = Graph(network.layers, inputs=[image.name], outputs=[output], source=source)
    if image.is_array:
        _check_array(network, source)
    rank5 = not image.is_array and _mapping(network, source)

    def prepared(images: Images) -> Array:
        return received(images, image) if image.is_array else _prepared(images, image, rank5=rank5)

    blank = np.zeros((1, image.height, image.width, image.channels), np.uint8)
    with np.errstate(all="ignore"):
        (answer,) = graph.prepare(prepared(blank))
    check_labels(labels, answer, source)
    if image.is_array:
        image = dataclasses.replace(image, scale=graph.first_factor)
    interface = Interface(
        format="neuralnetwork",
        specification_version=model.specificationVersion,
        input=image,
        probabilities_name=description.predictedProbabilitiesName,
        label_name=description.predictedFeatureName,
        labels=labels,
        layers=graph.kinds,
        head=graph.head,
        size_bytes=size_bytes,
        metadata=metadata(description),
    )
    check_outputs(description, interface, source)
    return BatchedExecutable(
        interface,
        graph.weights,
        lambda: of_graph(graph),
        graph,
        prepared,
    )


def scaler_of(steps: Sequence[Any], image: ImageInput, source: str) -> tuple[float, tuple[float, ...]]:
    """Return scale and per-channel bias of the image, from the messages about preprocessing."""
    if not len(steps):
        return image.scale, image.bias
    if len(steps) > 1:
        raise NotCheckable(f"{source}: preprocesses its image more than once.")
    step = steps[0]
    if step.featureName not in ("", image.name):
        raise CorruptModel(f"{source}: preprocesses {step.featureName!r}, which is not its input {image.name!r}.")
    if not step.HasField("scaler"):
        raise NotCheckable(f"{source}: preprocesses its image by {step.WhichOneof('preprocessor')}.")
    scaler = step.scaler
    biases = {
        "GRAYSCALE": (scaler.grayBias,),
        "RGB": (scaler.redBias, scaler.greenBias, scaler.blueBias),
        "BGR": (scaler.blueBias, scaler.greenBias, scaler.redBias),
    }
    return scaler.channelScale, biases[image.color]


def _mapping(network: Any, source: str) -> bool:
    """Return whether the image becomes a blob of rank 5 (sequence, batch, channels, height, width) or 4."""
    known = {0: True, 1: False}  # RANK5_IMAGE_MAPPING, RANK4_IMAGE_MAPPING
    if network.imageInputShapeMapping not in known:
        raise NotCheckable(f"{source}: maps its image in the unknown way {network.imageInputShapeMapping}.")
    return known[network.imageInputShapeMapping]


def _check_array(network: Any, source: str) -> None:
    """Check that arrays are neither preprocessed nor reshaped before the first layer."""
    if network.arrayInputShapeMapping != EXACT:
        raise NotCheckable(f"{source}: maps its array in the way {network.arrayInputShapeMapping}; {EXACT} is known.")
    if len(network.preprocessing):
        raise CorruptModel(f"{source}: preprocesses its array as an image.")


def _prepared(images: Images, wanted: ImageInput, *, rank5: bool) -> Array:
    """Convert uint8 (n, height, width, channels) to the image's blob (n, [1,] 1, channels, height, width)."""
    values = received(images, wanted)
    values *= np.float32(wanted.scale)
    if any(wanted.bias):
        values += np.array(wanted.bias, np.float32)[:, None, None]
    return values[:, None] if rank5 else values


def _labels(network: Any, source: str) -> tuple[str, ...] | tuple[int, ...]:
    kind = network.WhichOneof("ClassLabels")
    if kind is None:
        raise CorruptModel(f"{source}: has no class labels.")
    return tuple(getattr(network, kind).vector)
