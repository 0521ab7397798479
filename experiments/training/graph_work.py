"""Count the cost of a network for one image on its traced graph: nothing is computed, no weights are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

CONVOLUTIONS = {"Conv2D", "Conv3D", "DepthwiseConv2dNative"}
TRANSPOSED = {"Conv2DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput"}
PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}
POOLINGS = {"MaxPool", "MaxPoolV2", "AvgPool", "MaxPool3D", "AvgPool3D"}
CUBIC = {"Cholesky", "Lu", "MatrixDeterminant", "MatrixInverse", "MatrixSolve", "MatrixTriangularSolve", "Qr", "Svd"}
LOOPS = {"While", "StatelessWhile"}
CALLS = {"PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "Case", "StatelessCase"}

VALUE_COST = 32  # multiplications of a matrix product in the time in which another operation computes one value
START_COST = 1_000  # values that an operation computes in the time that it takes to start


@dataclass(frozen=True)
class Work:
    """The cost of one operation."""

    name: str
    multiplications: float  # plus other work, in equivalent multiplications
    values: int  # in memory at once: its outputs, or what it needs to compute them


def trace_network(network: keras.Model) -> Any:
    """Return the graph of a network for one image; its weights are inputs."""
    import tensorflow as tf

    def specs(variables: list[Any]) -> list[tf.TensorSpec]:
        return [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]

    images = tf.nest.map_structure(lambda each: tf.TensorSpec((1, *each.shape[1:]), each.dtype), network.inputs)
    call = tf.function(lambda *given: network.stateless_call(*given, training=False)[0], autograph=False)
    state = specs(network.trainable_variables), specs(network.non_trainable_variables)
    return call.get_concrete_function(*state, images if len(images) > 1 else images[0]).graph


def work(graph: Any, times: int = 1) -> Iterator[Work]:
    """Yield the work of each operation; those in a loop count once for each possible iteration."""
    for operation in graph.get_operations():
        kind = operation.type
        if kind in ("Placeholder", "Const"):
            continue
        for function in _functions(operation) if kind in LOOPS | CALLS else ():
            yield from work(function, times * (_turns(operation) if kind in LOOPS else 1))
        made = sum(map(_size, operation.outputs))
        other = VALUE_COST * (START_COST + _passes(operation) * made)
        yield Work(operation.name, times * (macs(operation) + other), max(made, _scratch(operation)))


def macs(operation: Any) -> int:
    """Return the multiply-accumulates of a convolution or a matrix product; 0 for any other operation."""
    kind = operation.type
    if kind in CONVOLUTIONS:
        *taps, entering, _ = operation.inputs[1].shape.as_list()
        # A depthwise kernel is (h, w, channels, multiplier): each output channel reads one input channel.
        return _size(operation.outputs[0]) * math.prod(taps) * (1 if kind == "DepthwiseConv2dNative" else entering)
    if kind in TRANSPOSED:
        *taps, leaving, _ = operation.inputs[1].shape.as_list()
        each = math.prod(taps) * (1 if kind == "DepthwiseConv2dNativeBackpropInput" else leaving)
        return _size(operation.inputs[2]) * each
    if kind in PRODUCTS:
        transposed = operation.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
        return _size(operation.outputs[0]) * (operation.inputs[0].shape.as_list()[-2 if transposed else -1] or 1)
    if kind == "Einsum":
        terms = operation.get_attr("equation").decode().partition("->")[0].split(",")
        sizes = {
            letter: size or 1
            for term, given in zip(terms, operation.inputs, strict=True)
            for letter, size in zip(reversed(term), reversed(given.shape.as_list()), strict=False)
        }
        return math.prod(sizes.values())
    return 0


def _passes(operation: Any) -> int:
    """Return how many passes over its outputs an operation makes."""
    if operation.type in POOLINGS:
        window = operation.inputs[1] if operation.type == "MaxPoolV2" else None
        return math.prod(_constant(window) or (1,)) if window is not None else math.prod(operation.get_attr("ksize"))
    return (operation.outputs[0].shape.as_list() or [1])[-1] or 1 if operation.type in CUBIC else 1


def _scratch(operation: Any) -> int:
    """Return the number of temporary values of an operation: TensorFlow pads images for a dilated kernel."""
    if operation.type not in {"Conv2D", "Conv3D"}:
        return 0
    first, *sides, channels = operation.inputs[0].shape.as_list()
    taps = operation.inputs[1].shape.as_list()[:-2]
    if operation.get_attr("data_format").decode().startswith("NC"):
        first, channels, *sides = operation.inputs[0].shape.as_list()
    gaps = [gap for gap in operation.get_attr("dilations") if gap > 1] or [1]
    padded = ((side or 1) + (tap - 1) * max(gaps) for side, tap in zip(sides, taps, strict=True))
    return math.prod(padded) * (channels or 1) * (first or 1)


def _turns(operation: Any) -> int:
    """Return the maximum number of iterations of a loop: one of the numbers in its condition."""
    condition = _function(operation, "cond")
    known = [_constant(given) for given in operation.inputs]
    known += [_constant(each.outputs[0]) for each in condition.get_operations() if each.type == "Const"]
    return max([1, *(limit for found in known if found for limit in found)])


def _constant(tensor: Any) -> tuple[int, ...] | None:
    """Return the integers in a tensor, if they are constants of the graph."""
    import tensorflow as tf

    if not tensor.dtype.is_integer or (tensor.shape.num_elements() or 0) > 8:
        return None
    found = tf.get_static_value(tensor)
    return None if found is None else tuple(int(number) for number in found.reshape(-1))


def _functions(operation: Any) -> Iterator[Any]:
    """Yield the graphs that an operation calls."""
    for key in ("body", "cond", "f", "then_branch", "else_branch"):
        if any(key == attribute for attribute in operation.node_def.attr):
            yield _function(operation, key)
    for branch in operation.node_def.attr["branches"].list.func if "branches" in operation.node_def.attr else ():
        yield operation.graph._get_function(branch.name).graph


def _function(operation: Any, key: str) -> Any:
    return operation.graph._get_function(operation.get_attr(key).name).graph


def _size(tensor: Any) -> int:
    """Return the number of elements of a tensor; an unknown dimension counts as 1."""
    sides = tensor.shape.as_list() if tensor.shape.rank is not None else []
    return math.prod(side or 1 for side in sides)
