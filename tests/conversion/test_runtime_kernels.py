"""The executor's quick ways against the plain ones: convolutions tap by tap, runs of operations one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.runtime.blocks import Block
from conversion.runtime.convolution import Convolution
from conversion.runtime.fusion import FusedRun, Pointwise, ordered, run_length
from conversion.runtime.kernels import NO_PADS, Pads, Pair
from conversion.runtime.network import Node
from conversion.runtime.processors import helped
from tests.support.layers import build_network, loaded

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def by_taps(
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, *, stride: Pair, dilation: Pair, pads: Pads, groups: int
) -> np.ndarray:
    """The definition of a convolution, in float64: a sum over taps and channels at each place."""
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pads])
    high, wide, group_channels, outputs = kernel.shape
    height = (x.shape[2] - (high - 1) * dilation[0] - 1) // stride[0] + 1
    width = (x.shape[3] - (wide - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((x.shape[0], outputs, height, width))
    for output in range(outputs):
        group = output // (outputs // groups)
        for i in range(high):
            for j in range(wide):
                rows = slice(i * dilation[0], i * dilation[0] + (height - 1) * stride[0] + 1, stride[0])
                columns = slice(j * dilation[1], j * dilation[1] + (width - 1) * stride[1] + 1, stride[1])
                for channel in range(group_channels):
                    place = group * group_channels + channel
                    out[:, output] += x[:, place, rows, columns] * kernel[i, j, channel, output]
    return out + bias[:, None, None]


# channels, outputs, groups, taps, stride, dilation, pads, size
CASES: dict[str, tuple[int, int, int, Pair, Pair, Pair, Pads, Pair]] = {
    "one tap": (5, 7, 1, (1, 1), (1, 1), (1, 1), NO_PADS, (6, 9)),
    "one tap of every second": (5, 7, 1, (1, 1), (2, 2), (1, 1), NO_PADS, (6, 9)),
    "one channel": (1, 7, 1, (5, 3), (1, 2), (1, 1), ((2, 1), (0, 1)), (9, 8)),
    "dilated": (3, 4, 1, (3, 3), (1, 1), (2, 3), ((1, 2), (3, 0)), (9, 11)),
    "large": (16, 64, 1, (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1)), (40, 60)),
    "groups": (6, 4, 2, (3, 3), (2, 1), (1, 1), ((1, 1), (1, 1)), (8, 7)),
    "depthwise": (6, 6, 6, (3, 3), (1, 1), (1, 1), ((1, 1), (1, 1)), (8, 7)),
    "depthwise, large": (32, 32, 32, (5, 5), (1, 1), (1, 1), ((2, 2), (2, 2)), (60, 80)),
    "depthwise, strides": (6, 6, 6, (5, 5), (2, 3), (1, 1), ((1, 2), (2, 1)), (17, 19)),
    "depthwise, dilated": (4, 4, 4, (3, 4), (1, 1), (2, 3), ((1, 0), (2, 4)), (11, 13)),
    "depthwise, dilated strides": (4, 4, 4, (3, 5), (2, 4), (3, 6), ((3, 3), (4, 8)), (19, 41)),
    "depthwise, several outputs": (3, 9, 3, (3, 2), (1, 2), (1, 1), ((1, 1), (0, 1)), (7, 9)),
    "depthwise, one row": (4, 4, 4, (1, 3), (1, 2), (1, 1), ((0, 0), (1, 1)), (1, 12)),
}


@pytest.mark.parametrize("processors", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_convolution_is_its_definition(name: str, processors: int) -> None:
    channels, outputs, groups, taps, stride, dilation, pads, size = CASES[name]
    generator = np.random.default_rng(0)
    x = generator.standard_normal((3, channels, *size), dtype=np.float32)
    kernel = generator.standard_normal((*taps, channels // groups, outputs), dtype=np.float32) / 10
    bias = generator.standard_normal(outputs, dtype=np.float32)
    how: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
    expected = by_taps(x, kernel, bias, pads=pads, **how)
    convolution = Convolution(kernel, bias, **how)
    finished: list[Block] = []

    def doubled(target: np.ndarray, block: Block) -> None:
        finished.append(block)
        target *= 2

    with helped(processors):
        np.testing.assert_allclose(convolution(x, pads=pads), expected, **TOLERANCE)
        narrow = np.ascontiguousarray(x[..., : size[1] - 1])  # what it remembers of one width must not serve another
        np.testing.assert_allclose(
            convolution(narrow, pads=pads), by_taps(narrow, kernel, bias, pads=pads, **how), **TOLERANCE
        )
        np.testing.assert_allclose(convolution(x, pads=pads, finish=doubled), 2 * expected, **TOLERANCE)
    assert ("large" not in name) or len(finished) > 1


def relu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    return np.maximum(x, 0, out=out)


UNARY = Pointwise(relu, takes_out=True)
SLOW = Pointwise(lambda x: np.tanh(x) > 0.1)  # makes an array of its own, of another type
ADD = Pointwise(lambda x, y, **out: np.add(x, y, **out), takes_out=True)
SHAPE = (1, 24, 70, 60)


def node(operation: Any, inputs: str, output: str) -> Node:
    return Node(output, "probe", tuple(inputs), (output,), operation)


@pytest.mark.parametrize(
    ("nodes", "length"),
    [
        ([node(UNARY, "x", "a"), node(SLOW, "a", "b"), node(ADD, "by", "c")], 3),
        ([node(SLOW, "x", "a"), node(ADD, "ax", "b"), node(ADD, "ba", "c")], 3),  # a stays while b is made
        ([node(UNARY, "x", "a"), node(ADD, "ac", "b")], 2),  # c is one number for each channel
        ([node(UNARY, "x", "a"), node(ADD, "an", "b")], 2),  # n is one number
        ([node(UNARY, "x", "a"), node(UNARY, "a", "b"), node(np.square, "a", "z")], 1),  # a is read elsewhere
        ([node(UNARY, "x", "a"), node(np.square, "a", "z"), node(UNARY, "z", "b")], 1),
        ([node(UNARY, "n", "a"), node(UNARY, "a", "b")], 1),
    ],
)
@pytest.mark.parametrize("order", ["first", "last"])
def test_a_run_is_its_operations_one_by_one(nodes: list[Node], length: int, order: str) -> None:
    generator = np.random.default_rng(0)
    blobs = {name: generator.standard_normal((5, *SHAPE), dtype=np.float32) for name in "xy"}
    if order == "last":
        blobs = {name: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 2, -1)), -1, 2) for name, x in blobs.items()}
    blobs |= {"c": generator.standard_normal((1, 24, 1, 1), dtype=np.float32), "n": np.ones((1, 1), np.float32)}
    before = {name: blob.copy() for name, blob in blobs.items()}
    shapes = {name: blob.shape[1:] for name, blob in blobs.items()} | {
        each.outputs[0]: (1,) if each.inputs == ("n",) else SHAPE for each in nodes
    }
    readers = {name: sum(each.inputs.count(name) for each in nodes) for name in shapes}
    readers[nodes[-1].outputs[0]] += 1
    assert run_length(nodes, shapes, readers) == length
    if length == 1:
        return
    run = FusedRun(nodes, SHAPE)
    answer = run(*(blobs[name] for name in run.inputs))
    values = dict(blobs)
    for each in nodes:
        values[each.outputs[0]] = np.asarray(each.operation(*(values[name] for name in each.inputs)), np.float32)
    np.testing.assert_array_equal(answer, values[run.outputs[0]])
    for name, blob in before.items():
        np.testing.assert_array_equal(blobs[name], blob)


def test_an_activation_is_brought_to_its_convolution() -> None:
    """Two convolutions of one blob, then both their activations: each stands behind its own."""
    square: Callable[..., Any] = np.square
    nodes = [
        node(square, "x", "a"),
        node(square, "x", "b"),
        node(UNARY, "a", "c"),
        node(UNARY, "b", "d"),
        node(ADD, "cd", "e"),
    ]
    readers = dict.fromkeys("abcde", 1) | {"x": 2}
    assert "".join(each.outputs[0] for each in ordered(nodes, readers)) == "acbde"


def test_photographs_answer_alike_however_they_are_cut(tmp_path: Path) -> None:
    """A network with a residual, in batches and one at a time, twice: the same to the last bit in the same batches."""
    generator = np.random.default_rng(0)

    def write(b: Any) -> None:
        weights = generator.standard_normal((3, 3, 3, 32), dtype=np.float32) / 800
        b.add_convolution("c1", 3, 32, 3, 3, 2, 2, "same", 1, weights, None, False, input_name="image", output_name="a")
        b.add_activation("r1", "RELU", "a", "b")
        depth = generator.standard_normal((3, 3, 1, 32), dtype=np.float32) / 3
        b.add_convolution("c2", 1, 32, 3, 3, 1, 1, "same", 32, depth, None, False, input_name="b", output_name="c")
        b.add_elementwise("sum", ["c", "b"], "d", "ADD")
        b.add_activation("s1", "SIGMOID", "d", "e")
        b.add_reduce_mean("mean", "e", "f", axes=[-1, -2], keepdims=False)
        b.add_softmax_nd("soft", "f", "output", -1)

    file = loaded(build_network(write, shape=(3, 224, 224), outputs=32), tmp_path)
    images = generator.integers(0, 256, (5, 224, 224, 3), dtype=np.uint8)
    answer = file.probabilities(images)
    np.testing.assert_array_equal(answer, file.probabilities(images))
    for size in (1, 2, 5):
        np.testing.assert_allclose(file.probabilities(images, batch_size=size), answer, rtol=1e-6)
    np.testing.assert_allclose(np.concatenate([file.probabilities(image[None]) for image in images]), answer, rtol=1e-6)
