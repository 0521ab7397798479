"""A checked sequence of NumPy operations on named blobs: what either format's file becomes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from conversion.runtime.interface import Array, CorruptModel, NotCheckable
from conversion.runtime.limits import Unsupported, bounded_total

# Computes blobs (N, *shape) of blobs (N, *shape); see `arrays` for the axis in front.
Operation = Callable[..., Array | list[Array]]

# What NumPy raises where shapes, axes and counts do not fit together.
CONTRADICTIONS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

HEADS = {"softmaxND": "softmax", "activation.sigmoid": "sigmoid"}  # one name for both formats
RELU = frozenset({"activation.ReLU", "relu"})


@dataclass(frozen=True)
class Node:
    """One layer or operation of the file."""

    title: str  # as errors call it: layer 'conv_1' (convolution)
    kind: str  # an activation names its function, as in "activation.ReLU"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operation: Operation
    rearranges: bool = False  # whether a softmax stays a softmax behind it
    makes_own_memory: bool = False  # whether a ReLU behind it may overwrite its output
    shapes: tuple[tuple[int, ...], ...] = field(default=())  # of the outputs, where the file declares them


@dataclass(frozen=True)
class Step:
    """One node at work."""

    node: Node
    operation: Operation
    releases: tuple[str, ...]  # blobs that nothing reads any more once it is done


class Network:
    """The nodes between the image and the probabilities.

    Args:
        nodes: in the order of the file; each reads only what is the image, a constant, or written above it, each blob
            is written once, and `output` is one of them.
        image: name of the blob that holds the image.
        output: name of the blob that holds the probabilities.
        source: name of the file, for errors.
        constants: blobs (1, *shape) that the nodes read besides.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        image: str,
        output: str,
        source: str,
        constants: Mapping[str, Array] | None = None,
    ) -> None:
        self.nodes, self.image, self.output, self._source = tuple(nodes), image, output, source
        self._constants = dict(constants or {})
        self._steps: list[Step] = []
        self.bytes_per_image = self.largest_blob = 0

    @property
    def head(self) -> str:
        """What computes the probabilities, seen through nodes that only rearrange them."""
        writers = {name: node for node in self.nodes for name in node.outputs}
        node = writers[self.output]
        while node.rearranges and node.inputs and node.inputs[0] in writers:
            node = writers[node.inputs[0]]
        return HEADS.get(node.kind, node.kind)

    def prepare(self, image: Array) -> Array:
        """Run every node once on one image: checks all shapes, folds constants, measures the memory needed.

        Args:
            image: (1, *shape of the image's blob).

        Returns:
            The probabilities' blob (1, ...).

        Raises:
            CorruptModel: if shapes do not fit, or the probabilities do not depend on the image.
            NotCheckable: if a node meets something unknown, or something beyond all measure.
        """
        constants = dict(self._constants)
        blobs = {self.image: image, **constants}
        for node in self.nodes:
            with blaming(self._source, node.title), np.errstate(all="ignore"):
                bounded_total(sum(blobs[name].size for name in node.inputs))
                written = _written(node, node.operation, blobs)
                for name, shape in zip(node.outputs, node.shapes, strict=False):
                    if written[name].shape[1:] != shape:
                        raise ValueError(f"it declares the shape {shape} and computes {written[name].shape[1:]}")
                bounded_total(sum(blob.size for blob in written.values()))
            blobs.update(written)
            if all(name in constants for name in node.inputs):
                constants.update(written)
        if self.output in constants:
            raise CorruptModel(f"{self._source}: its probabilities do not depend on the image.")
        self._schedule(constants)
        self._measure({name: blob.nbytes for name, blob in blobs.items()})
        self.largest_blob = max(blob.size for blob in blobs.values())
        return blobs[self.output]

    def run(self, images: Array) -> Array:
        """The probabilities' blob (n, ...) of n images (n, *shape of the image's blob)."""
        blobs = {**self._constants, self.image: images}
        for step in self._steps:
            blobs.update(_written(step.node, step.operation, blobs))
            for name in step.releases:
                del blobs[name]
        return blobs[self.output]

    def _schedule(self, constants: Mapping[str, Array]) -> None:
        """Keep the nodes that the probabilities need and that depend on the image; find each blob's last reader."""
        needed, last_readers, kept = {self.output}, {self.output}, []
        own_memory = {name for node in self.nodes if node.makes_own_memory for name in node.outputs}
        # An earlier reader may have kept a view of the blob, so a ReLU overwrites only what it alone reads.
        readers = Counter([*(name for node in self.nodes for name in node.inputs), self.output])
        for node in reversed(self.nodes):
            if needed.isdisjoint(node.outputs) or all(name in constants for name in node.outputs):
                continue
            needed.update(node.inputs)
            fresh = {*node.inputs, *node.outputs} - last_readers - set(constants)
            last_readers |= fresh
            operation = node.operation
            if node.kind in RELU and node.inputs[0] in fresh & own_memory and readers[node.inputs[0]] == 1:
                operation = _relu_in_place
            kept.append(Step(node, operation, tuple(sorted(fresh))))
        self._steps = kept[::-1]
        self._constants = {name: blob for name, blob in constants.items() if name in needed}

    def _measure(self, nbytes: Mapping[str, int]) -> None:
        alive = nbytes[self.image]
        for step in self._steps:
            alive += sum(nbytes[name] for name in step.node.outputs)
            self.bytes_per_image = max(self.bytes_per_image, alive)
            alive -= sum(nbytes[name] for name in step.releases)


@contextlib.contextmanager
def blaming(source: str, title: str) -> Iterator[None]:
    """Turn what is raised below into an error that names the file and the layer or operation."""
    try:
        yield
    except Unsupported as error:
        raise NotCheckable(f"{source}: {title} cannot be executed: {_line(error)}.") from error
    except MemoryError as error:
        raise NotCheckable(f"{source}: {title} needs more memory than there is: {_line(error)}.") from error
    except CONTRADICTIONS as error:
        raise CorruptModel(f"{source}: {title} does not add up: {_line(error)}.") from error


def _written(node: Node, operation: Operation, blobs: Mapping[str, Array]) -> dict[str, Array]:
    out = operation(*(blobs[name] for name in node.inputs))
    values = out if isinstance(out, list) else [out]
    return dict(zip(node.outputs, (np.asarray(value, np.float32) for value in values), strict=True))


def _relu_in_place(x: Array) -> Array:
    return np.maximum(x, np.float32(0), out=x)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
