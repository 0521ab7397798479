"""Separate what a file computes from the numbers it computes with, so that two files can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

from conversion.runtime.interface import Array, Blueprint
from conversion.runtime.mil_graph import Program
from conversion.runtime.mil_ops.op import Variable
from conversion.runtime.nn_graph import Graph


class _Blobs:
    """Numbers blobs in the order in which they are written."""

    def __init__(self, given: Iterable[str]) -> None:
        self._fresh = count()
        self._numbers = {name: next(self._fresh) for name in given}

    def write(self, names: Iterable[str]) -> str:
        self._numbers |= {name: next(self._fresh) for name in names}
        return self.read(names)

    def rename(self, old: str, new: str) -> None:
        """Treat a blob that is only a copy of another as the same one."""
        self._numbers[new] = self._numbers[old]

    def read(self, names: Iterable[str]) -> str:
        return " ".join(f"%{self._numbers[name]}" for name in names)


def of_graph(graph: Graph) -> Blueprint:
    """Return the blueprint of a neuralnetwork."""
    blobs, lines = _Blobs(graph.inputs), []
    constants: list[tuple[str, Array]] = []
    for layer in graph.layers:
        constants += [(f"{layer.name}.{field}", values) for field, values in layer.weights.items()]
        shapes = {field: values.shape for field, values in layer.weights.items()}
        told = _without_weights(layer.params).SerializeToString(deterministic=True).hex()
        lines.append(f"{layer.kind} {blobs.read(layer.inputs)} {shapes} {told} -> {blobs.write(layer.outputs)}")
    return Blueprint((*lines, blobs.read(graph.outputs)), tuple(constants))


def of_program(program: Program) -> Blueprint:
    """Return the blueprint of an ML Program."""
    network = program.network
    blobs, lines = _Blobs(network.inputs), []
    constants: list[tuple[str, Array]] = []
    for op in program.ops:
        (first, *_), types = op.params.get("x", (None,)), op.types
        if op.kind == "cast" and types[0].is_float and isinstance(first, Variable) and first.type.is_float:
            blobs.rename(first.name, op.outputs[0])
            continue
        told = []
        for name in sorted(op.params):
            for place, operand in enumerate(op.params[name]):
                if isinstance(operand, Variable):
                    told.append(f"{name}={blobs.read([operand.name])}")
                elif operand.type.is_float:
                    constants.append((f"{op.name}.{name}" + (f".{place}" if place else ""), operand.values))
                    told.append(f"{name}: {operand.type.shape}")
                else:
                    told.append(f"{name}={operand.values.tolist()}")
        shapes = [("float" if each.is_float else each.name, each.shape) for each in types]
        lines.append(f"{op.kind} {', '.join(told)} -> {blobs.write(op.outputs)} {shapes}")
    return Blueprint((*lines, blobs.read(network.outputs)), tuple(constants))


def _without_weights(message: Any) -> Any:
    """Return a copy of a layer's parameters with empty `WeightParams`."""
    copy = type(message)()
    copy.CopyFrom(message)
    _clear_weights(copy)
    return copy


def _clear_weights(message: Any) -> None:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for child in value if field.is_repeated else [value]:
            if field.message_type.name == "WeightParams":
                child.Clear()
            else:
                _clear_weights(child)
