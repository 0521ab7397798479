"""Runs of operations that are computed block by block, so that intermediate results stay in the cache.

A run is a chain of pointwise operations, optionally after a convolution. Only its last blob is stored completely. Each
operation computes the same values as it would alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from conversion.runtime.blocks import POINTWISE_ELEMENTS, Block, blocks, each
from conversion.runtime.convolution import Epilogue
from conversion.runtime.interface import Array

AnyNode = TypeVar("AnyNode", bound="Linked")
BlobShape = tuple[int, ...]  # without the batch axis


@dataclass(frozen=True)
class Pointwise:
    """An operation whose output at a position depends only on its inputs there, or on what broadcasts to it."""

    compute: Callable[..., Array]
    takes_out: bool = False  # whether it accepts the keyword `out`, which may be any of its inputs

    def __call__(self, *blobs: Array) -> Array:
        return self.compute(*blobs)

    def into(self, out: Array, *blobs: Array) -> None:
        """Compute into an array, which may be one of the blobs."""
        if self.takes_out:
            self.compute(*blobs, out=out)
        else:
            np.copyto(out, self.compute(*blobs), casting="unsafe")


@dataclass(frozen=True)
class Finishing:
    """An operation that can pass each block of its output to the operations that follow."""

    compute: Callable[[Array, Epilogue | None], Array]

    def __call__(self, x: Array, finish: Epilogue | None = None) -> Array:
        return self.compute(x, finish)


class Linked(Protocol):
    """What matters about a network's node here."""

    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...
    @property
    def operation(self) -> Callable[..., Array | list[Array]]: ...


def ordered(nodes: Sequence[AnyNode], readers: Mapping[str, int]) -> list[AnyNode]:
    """Order the nodes so that those that can be computed in one run are adjacent.

    A pointwise operation that is the only reader of a blob is placed right after the blob's writer, if its other inputs
    are available there.
    """
    waiting = {name: node for node in nodes for name in node.inputs if readers[name] == 1}
    written_here = {name for node in nodes for name in node.outputs}
    found: list[AnyNode] = []
    placed: set[str] = set()
    for node in nodes:
        following: AnyNode | None = node
        while following is not None and placed.isdisjoint(following.outputs):
            found.append(following)
            placed.update(following.outputs)
            candidate = waiting.get(following.outputs[0])
            ready = candidate is not None and placed.issuperset(written_here.intersection(candidate.inputs))
            following = candidate if ready and candidate and isinstance(candidate.operation, Pointwise) else None
    return found


def run_length(nodes: Sequence[Linked], shapes: Mapping[str, BlobShape], readers: Mapping[str, int]) -> int:
    """Return how many nodes, from the first on, can be computed as one run.

    Args:
        nodes: the remaining nodes of a network, in order.
        readers: number of readers of each blob in the whole network; the network's output counts as read.
    """
    first = nodes[0]
    shape = shapes[first.outputs[0]]
    starts = isinstance(first.operation, Finishing) or _fits(first, shapes, shape)
    least = 4 if isinstance(first.operation, Finishing) else 3  # a one-dimensional convolution has planes with one row
    if not starts or len(first.outputs) > 1 or len(shape) < least or set(shape[:-3]) - {1}:
        return 1
    left = dict.fromkeys(first.outputs, readers[first.outputs[0]])  # reads that are still to come
    longest = 1
    for count, node in enumerate(nodes[1:], 2):
        if left.keys().isdisjoint(node.inputs) or len(node.outputs) > 1 or not _fits(node, shapes, shape):
            break
        for name in node.inputs:
            if name in left:
                left[name] -= 1
        if not any(left.values()):  # no later node reads a blob that would not be stored
            longest = count
        left[node.outputs[0]] = readers[node.outputs[0]]
    return longest


def _fits(node: Linked, shapes: Mapping[str, BlobShape], shape: BlobShape) -> bool:
    """Return whether a node can be computed for some rows only."""
    if not isinstance(node.operation, Pointwise) or shapes[node.outputs[0]] != shape:
        return False
    return all(
        len(shapes[name]) <= len(shape)
        and all(own in (1, whole) for own, whole in zip(shapes[name][::-1], shape[::-1], strict=False))
        for name in node.inputs
    )


@dataclass(frozen=True)
class _Step:
    """A pointwise operation of a run."""

    operation: Pointwise
    inputs: tuple[str, ...]
    output: str
    in_place: bool  # whether it writes to the run's output instead of its own memory


class FusedRun:
    """Several nodes as one operation.

    Args:
        nodes: as many as `run_length` returned.
    """

    def __init__(self, nodes: Sequence[Linked], shape: BlobShape) -> None:
        first = nodes[0].operation
        self._shape = shape
        own = {name for node in nodes for name in node.outputs}
        self.outputs = nodes[-1].outputs
        self.inputs = tuple(dict.fromkeys(name for node in nodes for name in node.inputs if name not in own))
        self._convolution = first if isinstance(first, Finishing) else None
        self._convolved = nodes[0].outputs[0] if self._convolution else None
        self._steps = _steps(nodes[1:] if self._convolution else nodes, self._convolved)

    def __call__(self, *blobs: Array) -> Array:
        """Return the last blob (N, *shape), in memory with channels last after a convolution, else like an input."""
        *lead, channels, height, width = self._shape
        given = dict(zip(self.inputs, blobs, strict=True))

        def finish(target: Array, block: Block) -> None:
            values = {name: block.of(blob, height) for name, blob in given.items()}
            if self._convolved is not None:
                values[self._convolved] = target
            for step in self._steps:
                out = target if step.in_place else np.empty_like(target)
                step.operation.into(out, *(values[name] for name in step.inputs))
                values[step.output] = out

        if self._convolution:
            return self._convolution(
                blobs[0], lambda target, block: finish(target.reshape(target.shape[0], *lead, *target.shape[1:]), block)
            )
        shape = (max(blob.shape[0] for blob in blobs), *self._shape)
        like = next((blob for blob in blobs if blob.shape == shape), None)
        out = np.empty(shape, np.float32) if like is None else np.empty_like(like)
        parts = blocks(shape[0], height, rows=POINTWISE_ELEMENTS // (width * channels))
        each(lambda block: finish(block.of(out, height), block), parts)
        return out


def _steps(nodes: Sequence[Linked], held: str | None) -> list[_Step]:
    """Decide where each node writes: to the run's output, unless that has a needed blob, called `held`."""
    steps = []
    for place, node in enumerate(nodes):
        read_later = {name for later in nodes[place + 1 :] for name in later.inputs}
        in_place = held not in read_later
        assert isinstance(node.operation, Pointwise)
        steps.append(_Step(node.operation, node.inputs, node.outputs[0], in_place))
        held = node.outputs[0] if in_place else held
    return steps
