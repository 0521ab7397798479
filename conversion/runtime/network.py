"""A checked sequence of NumPy operations on named blobs, from a file of either format."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from conversion.runtime.functions import relu
from conversion.runtime.fusion import FusedRun, ordered, run_length
from conversion.runtime.interface import Array, CorruptModel, NotCheckable
from conversion.runtime.limits import Unsupported, bounded_total

# Computes blobs (N, *shape) from blobs (N, *shape); `arrays` explains the batch axis.
Operation = Callable[..., Array | list[Array]]

# What NumPy raises if shapes, axes and counts do not fit.
CONTRADICTIONS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

HEADS = {"softmaxND": "softmax", "activation.sigmoid": "sigmoid"}  # one name for both formats
RELU = frozenset({"activation.ReLU", "relu"})


@dataclass(frozen=True)
class Node:
    """A layer or operation of the file."""

    title: str  # for errors: layer 'conv_1' (convolution)
    kind: str  # an activation includes its function, as in "activation.ReLU"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operation: Operation
    rearranges: bool = False  # whether it keeps a preceding softmax a softmax
    makes_own_memory: bool = False  # whether a following ReLU may overwrite its output
    shapes: tuple[tuple[int, ...], ...] = field(default=())  # of the outputs, if the file declares them


@dataclass(frozen=True)
class Step:
    """A node, or several that are computed as one."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operation: Operation
    releases: tuple[str, ...]  # blobs that are not needed after this step


class Network:
    """The nodes between the inputs and outputs; for a classifier, the image and the probabilities.

    Args:
        nodes: in the order of the file; each reads only inputs, constants, or blobs written before, and each blob
            is written once.
        inputs: names of the input blobs.
        outputs: names of the output blobs.
        source: name of the file, for errors.
        constants: blobs (1, *shape) that the nodes read as well.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        source: str,
        constants: Mapping[str, Array] | None = None,
    ) -> None:
        self.nodes, self.inputs, self.outputs, self._source = tuple(nodes), tuple(inputs), tuple(outputs), source
        self._constants = dict(constants or {})
        self._steps: list[Step] = []
        self.computed: tuple[Node, ...] = ()  # those that the outputs need and that depend on the inputs, in order
        self.bytes_per_image = self.largest_blob = 0

    @property
    def head(self) -> str:
        """The operation that computes the first output, ignoring nodes that only rearrange it."""
        writers = {name: node for node in self.nodes for name in node.outputs}
        node = writers[self.outputs[0]]
        while node.rearranges and node.inputs and node.inputs[0] in writers:
            node = writers[node.inputs[0]]
        return HEADS.get(node.kind, node.kind)

    def prepare(self, *given: Array) -> tuple[Array, ...]:
        """Run every node once on one image to check shapes, fold constants, and measure memory.

        Args:
            given: a blob (1, *shape) for each input.

        Returns:
            A blob (1, ...) for each output.

        Raises:
            CorruptModel: if shapes do not fit, or the outputs depend on no input.
            NotCheckable: if a node has something unknown, or exceeds the limits.
        """
        constants = dict(self._constants)
        blobs = {**dict(zip(self.inputs, given, strict=True)), **constants}
        for node in self.nodes:
            with blaming(self._source, node.title), np.errstate(all="ignore"):
                bounded_total(sum(blobs[name].size for name in node.inputs))
                written = _written(node, blobs)
                for name, shape in zip(node.outputs, node.shapes, strict=False):
                    if written[name].shape[1:] != shape:
                        raise ValueError(f"it declares the shape {shape} and computes {written[name].shape[1:]}")
                bounded_total(sum(blob.size for blob in written.values()))
            blobs.update(written)
            if all(name in constants for name in node.inputs):
                constants.update(written)
        if all(name in constants for name in self.outputs):
            raise CorruptModel(f"{self._source}: its probabilities do not depend on the image.")
        self._schedule(constants, {name: blob.shape[1:] for name, blob in blobs.items()})
        self._measure({name: blob.nbytes for name, blob in blobs.items()})
        self.largest_blob = max(blob.size for blob in blobs.values())
        return tuple(blobs[name] for name in self.outputs)

    def run(self, *given: Array) -> tuple[Array, ...]:
        """Return the output blobs (n, ...) of n images; `given` has a blob (n, *shape) for each input."""
        blobs = {**self._constants, **dict(zip(self.inputs, given, strict=True))}
        for step in self._steps:
            blobs.update(_written(step, blobs))
            for name in step.releases:
                del blobs[name]
        return tuple(blobs[name] for name in self.outputs)

    def one_by_one(self, *given: Array, change: Callable[[int, Node, Array], Array]) -> tuple[Array, ...]:
        """Return the output blobs; each node runs alone in this thread, and its outputs are changed before being read.

        Args:
            given: as for `run`.
            change: returns the changed blob; called with the node's position among the computed ones, and the node.
        """
        blobs = {**self._constants, **dict(zip(self.inputs, given, strict=True))}
        left = Counter([*(name for node in self.computed for name in node.inputs), *self.outputs])
        for place, node in enumerate(self.computed):
            blobs.update({name: change(place, node, blob) for name, blob in _written(node, blobs).items()})
            for name in node.inputs:
                left[name] -= 1
                if not left[name] and name not in self._constants:
                    del blobs[name]
        return tuple(blobs[name] for name in self.outputs)

    def _schedule(self, constants: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Keep the nodes that the outputs need and that depend on the inputs; find the last reader of each blob."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.outputs) and not all(name in constants for name in node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.computed = tuple(kept[::-1])
        steps = _steps(self.computed, self.outputs, shapes)
        last_readers = {*self.outputs, *constants}
        for place, step in reversed(list(enumerate(steps))):
            fresh = {*step.inputs, *step.outputs} - last_readers
            last_readers |= fresh
            steps[place] = dataclasses.replace(step, releases=tuple(sorted(fresh)))
        self._steps = steps
        self._constants = {name: blob for name, blob in constants.items() if name in needed}

    def _measure(self, nbytes: Mapping[str, int]) -> None:
        alive = sum(nbytes[name] for name in self.inputs)
        for step in self._steps:
            alive += sum(nbytes[name] for name in step.outputs)
            self.bytes_per_image = max(self.bytes_per_image, alive)
            alive -= sum(nbytes[name] for name in step.releases)


def _steps(nodes: Sequence[Node], outputs: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> list[Step]:
    """Return the steps to compute, combining runs of nodes."""
    readers = Counter([*(name for node in nodes for name in node.inputs), *outputs])
    # An earlier reader may have a view of the blob, so a ReLU only overwrites a blob without other readers.
    own_memory = {name for node in nodes if node.makes_own_memory for name in node.outputs if readers[name] == 1}
    nodes = ordered(nodes, readers)
    steps, place = [], 0
    while place < len(nodes):
        node = nodes[place]
        length = run_length(nodes[place:], shapes, readers)
        place += length
        if length > 1:
            run = FusedRun(nodes[place - length : place], shapes[node.outputs[0]])
            steps.append(Step(run.inputs, run.outputs, run, ()))
            continue
        in_place = node.kind in RELU and node.inputs[0] in own_memory
        steps.append(Step(node.inputs, node.outputs, _relu_in_place if in_place else node.operation, ()))
    return steps


@contextlib.contextmanager
def blaming(source: str, title: str) -> Iterator[None]:
    """Convert errors raised inside to errors that name the file and the layer or operation."""
    try:
        yield
    except Unsupported as error:
        raise NotCheckable(f"{source}: {title} cannot be executed: {_line(error)}.") from error
    except MemoryError as error:
        raise NotCheckable(f"{source}: {title} needs more memory than there is: {_line(error)}.") from error
    except CONTRADICTIONS as error:
        raise CorruptModel(f"{source}: {title} does not add up: {_line(error)}.") from error


def _written(step: Node | Step, blobs: Mapping[str, Array]) -> dict[str, Array]:
    out = step.operation(*(blobs[name] for name in step.inputs))
    values = out if isinstance(out, list) else [out]
    return dict(zip(step.outputs, (np.asarray(value, np.float32) for value in values), strict=True))


def _relu_in_place(x: Array) -> Array:
    return relu(x, out=x)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
