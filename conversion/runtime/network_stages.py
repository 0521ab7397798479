"""Neural networks and ML Programs with any inputs and outputs, as functions of batches of features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conversion.runtime.features import Batch, Feature, Scores
from conversion.runtime.interface import Array, CorruptModel, ImageInput, NotCheckable
from conversion.runtime.limits import MAX_BLOB_ELEMENTS, Unsupported
from conversion.runtime.mil_graph import Program
from conversion.runtime.mil_ops import Variable
from conversion.runtime.mil_values import FLEXIBLE, tensor_type
from conversion.runtime.mlprogram import Weights, main_function
from conversion.runtime.model_file import planar
from conversion.runtime.network import Network, blaming
from conversion.runtime.neuralnetwork import EXACT, scaler_of
from conversion.runtime.nn_graph import Graph
from conversion.runtime.package import Package
from conversion.runtime.processors import LARGE_IMAGE_BYTES, MAX_WORKERS, helped, one_blas_thread
from experiments.cores import cores

Execute = Callable[[Mapping[str, Batch]], dict[str, Batch]]


@dataclass(frozen=True)
class Labels:
    """The labels of a classifier, and the names of its outputs."""

    values: tuple[str, ...] | tuple[int, ...]
    label_name: str
    scores_name: str  # empty: it has none

    @classmethod
    def of(cls, p: Any, description: Any, outputs: Sequence[Feature]) -> Labels:
        """Read a classifier's message; raise ValueError if it has no labels, or declares no output for them."""
        kind = p.WhichOneof("ClassLabels")
        values = tuple(getattr(p, kind).vector) if kind else ()
        if not values:
            raise ValueError("it has no class labels")
        return cls.named(values, description, outputs)

    @classmethod
    def named(cls, values: tuple[Any, ...], description: Any, outputs: Sequence[Feature]) -> Labels:
        announced = {each.name for each in outputs}
        label, scores = description.predictedFeatureName, description.predictedProbabilitiesName
        if label not in announced or (scores and scores not in announced):
            raise ValueError(f"it announces no output {label!r} or {scores!r}")
        return cls(values, label, scores)

    def answers(self, indices: np.ndarray, scores: np.ndarray | None) -> dict[str, Batch]:
        """Return the outputs of a batch."""
        found: dict[str, Batch] = {self.label_name: np.array([self.values[i] for i in indices.tolist()], object)}
        if self.scores_name:
            if scores is None:
                raise Unsupported("it announces probabilities and has nothing to compute them with")
            found[self.scores_name] = Scores(self.values, scores)
        return found


def neural_network(model: Any, inputs: Sequence[Feature], outputs: Sequence[Feature], *, source: str) -> Execute:
    """Compile a neuralNetwork of any of the three kinds."""
    kind, description = model.WhichOneof("Type"), model.description
    network = getattr(model, kind)
    labels = Labels.of(network, description, outputs) if kind == "neuralNetworkClassifier" else None
    names = [each.name for each in outputs]
    if labels:
        names = [network.labelProbabilityLayerName or labels.scores_name]
    enter = [_entrance(each, network, source) for each in inputs]
    graph = Graph(network.layers, inputs=[each.name for each in inputs], outputs=names, source=source)
    legacy = network.arrayInputShapeMapping != EXACT
    return _answering(graph, inputs, enter, labels, [(each, legacy) for each in outputs], source)


def ml_program(
    model: Any, package: Package | None, inputs: Sequence[Feature], outputs: Sequence[Feature], *, source: str
) -> Execute:
    """Compile an ML Program, with or without `classify`, at the default sizes of its inputs."""
    function, block = main_function(model, source)
    if sorted(each.name for each in function.inputs) != sorted(each.name for each in inputs):
        raise CorruptModel(f"{source}: its program has other inputs than it announces.")
    by_name = {each.name: each for each in inputs}
    variables, enter, flexible = [], [], False
    for stored in function.inputs:
        with blaming(source, f"input {stored.name!r}"):
            declared = tensor_type(stored.type, flexible=True)
            told = by_name[stored.name]
            flexible |= FLEXIBLE in declared.shape
            shape = told.shape if told.kind == "array" else (1, told.shape[2], *told.shape[:2]) if told.shape else ()
            if told.kind not in ("array", "image") or not shape:
                raise Unsupported(f"it is of the kind {told.kind}, or of no stated shape")
            variables.append(Variable(stored.name, declared.sized(shape)))
        enter.append(_image(told, 1.0, (), rank5=False) if told.kind == "image" else _array(told.shape))
    program = Program(block, inputs=variables, blob=Weights(package).blob, source=source, flexible=flexible)
    found = program.classification
    labels = None
    if found:
        labels = Labels.named(found.labels, model.description, outputs)
        if found.label_name != labels.label_name or labels.scores_name not in ("", found.probabilities_name):
            raise CorruptModel(f"{source}: announces other outputs than it computes.")
    elif not set(block.outputs) >= {each.name for each in outputs}:
        raise CorruptModel(f"{source}: announces other outputs than it computes.")
    ordered = [by_name[variable.name] for variable in variables]
    by_output = {each.name: each for each in outputs}
    answered = [(by_output.get(name, Feature(name, "array")), False) for name in block.outputs]
    return _answering(program.network, ordered, enter, labels, answered, source)


def _answering(
    network: Network,
    inputs: Sequence[Feature],
    enter: Sequence[Callable[[np.ndarray], Array]],
    labels: Labels | None,
    outputs: Sequence[tuple[Feature, bool]],
    source: str,
) -> Execute:
    """Prepare a network with blank inputs; return the function from features to outputs."""
    blank = [np.zeros((1, *each.shape), np.uint8 if each.kind == "image" else np.float32) for each in inputs]
    with np.errstate(all="ignore"):
        answers = network.prepare(*(bring(x) for bring, x in zip(enter, blank, strict=True)))
    if labels and math.prod(answers[0].shape[1:]) != len(labels.values):
        count = math.prod(answers[0].shape[1:])
        raise CorruptModel(f"{source}: it computes {count} probabilities for {len(labels.values)} labels.")
    most = max(1, MAX_BLOB_ELEMENTS // max(1, network.largest_blob))
    large = network.bytes_per_image >= LARGE_IMAGE_BYTES

    def some(blobs: Sequence[Array]) -> tuple[Array, ...]:
        count = len(blobs[0])
        with one_blas_thread() as alone, helped(min(MAX_WORKERS, cores()) if alone and large else 1):
            parts = [network.run(*(blob[first : first + most] for blob in blobs)) for first in range(0, count, most)]
        # A blob that does not depend on an input has N = 1.
        joined = (np.concatenate(each) if len(each) > 1 else each[0] for each in zip(*parts, strict=True))
        return tuple(x if len(x) == count else np.broadcast_to(x[:1], (count, *x.shape[1:])) for x in joined)

    def run(values: Mapping[str, Batch]) -> dict[str, Batch]:
        blobs = []
        for each, bring in zip(inputs, enter, strict=True):
            batch = values.get(each.name)
            if not isinstance(batch, np.ndarray):
                raise Unsupported(f"its input {each.name!r} is not given")
            if each.shape and math.prod(batch.shape[1:]) != math.prod(each.shape):
                raise ValueError(f"its input {each} is given the shape {batch.shape[1:]}")
            blobs.append(bring(batch))
        found = some(blobs)
        if labels:
            scores = found[0].reshape(len(found[0]), -1)
            return labels.answers(scores.argmax(axis=1), scores)
        return {
            told.name: _leaving(blob, told, legacy=legacy) for (told, legacy), blob in zip(outputs, found, strict=True)
        }

    return run


def _entrance(given: Feature, network: Any, source: str) -> Callable[[np.ndarray], Array]:
    """Return the function from a batch of an input to its blob."""
    if given.kind == "image":
        if network.imageInputShapeMapping not in (0, EXACT):
            raise NotCheckable(f"{source}: maps its image in the unknown way {network.imageInputShapeMapping}.")
        image = ImageInput(given.name, given.shape[0], given.shape[1], given.color, 1.0, (0.0,) * given.shape[2])
        steps = [step for step in network.preprocessing if step.featureName in ("", given.name)]
        scale, bias = scaler_of(steps, image, source)
        return _image(given, scale, bias, rank5=network.imageInputShapeMapping != EXACT)
    if given.kind != "array" or not given.shape:
        raise NotCheckable(f"{source}: its input {given} is neither an image nor an array with a stated shape.")
    if network.arrayInputShapeMapping == EXACT:
        return _array(given.shape)
    if len(given.shape) not in (1, 3):
        raise CorruptModel(f"{source}: its input {given} has neither one axis nor three.")
    return _array((1, 1, *given.shape) if len(given.shape) == 3 else (1, 1, given.shape[0], 1, 1))


def _array(shape: tuple[int, ...]) -> Callable[[np.ndarray], Array]:
    return lambda batch: np.ascontiguousarray(batch, np.float32).reshape(len(batch), *shape)


def _image(given: Feature, scale: float, bias: tuple[float, ...], *, rank5: bool) -> Callable[[np.ndarray], Array]:
    def run(batch: np.ndarray) -> Array:
        values = planar(batch, given.color)
        values *= np.float32(scale)
        if any(bias):
            values += np.array(bias, np.float32)[:, None, None]
        return values[:, None, None] if rank5 else values[:, None]

    return run


def _leaving(blob: Array, told: Feature, *, legacy: bool) -> np.ndarray:
    """Convert a blob to the output as the file describes it: its shape, or an image as uint8 (height, width, 3)."""
    if told.kind == "image":
        height, width, channels = told.shape
        planes = blob.reshape(len(blob), channels, height, width).transpose(0, 2, 3, 1)
        planes = planes[..., ::-1] if told.color == "BGR" else planes
        return np.clip(np.rint(planes), 0, 255).astype(np.uint8)
    if told.shape and math.prod(told.shape) == math.prod(blob.shape[1:]):
        return blob.reshape(len(blob), *told.shape)
    if legacy and blob.ndim == 6:  # (N, sequence, batch, channels, height, width)
        return blob[:, 0, 0] if blob.shape[1:3] == (1, 1) else blob
    return blob
