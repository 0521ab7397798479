"""Compute receptive fields from the Keras graph: how much of the image one position of a layer's output sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from architectures.registry import Shape

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class _Axis:
    """Output position i sees the pixels from i * step + first to i * step + last."""

    first: float
    last: float
    step: int  # pixels between neighbouring outputs

    def windowed(self, *, kernel: int, stride: int, before: int) -> _Axis:
        """Return what a window sees that moves over this axis, with `before` positions of padding in front."""
        return _Axis(self.first - before * self.step, self.last + (kernel - 1 - before) * self.step, self.step * stride)


Sight = tuple[_Axis, _Axis] | None  # by height and width; None: not known
PIXEL: Sight = (_Axis(0, 0, 1), _Axis(0, 0, 1))
WHOLE: Sight = (_Axis(-math.inf, math.inf, 1), _Axis(-math.inf, math.inf, 1))


def receptive_fields(network: keras.Model) -> dict[str, tuple[int, int] | None]:
    """Return height and width in pixels that one output position of each layer sees, by the layer's name.

    Padding counts as seen, but a field is never larger than the image. Where branches meet, it is the bounding box of
    their fields. None for a layer of an unknown kind, and for all layers after it.
    """
    return {name: _size(sight, network.input_shape[1:]) for name, sight in _sights(network, PIXEL)[1].items()}


def _size(sight: Sight, image: Shape) -> tuple[int, int] | None:
    if sight is None:
        return None
    tall, wide = (int(min(axis.last - axis.first + 1, side)) for axis, side in zip(sight, image, strict=False))
    return tall, wide


def _sights(network: keras.Model, entering: Sight) -> tuple[Sight, dict[str, Sight]]:
    """Return what the output of a network and each of its layers see, if its input sees `entering`."""
    import keras

    graph = getattr(network, "_functional", network)  # a Sequential's graph
    seen: dict[int, Sight] = {id(tensor): entering for tensor in graph.inputs}
    of_layer: dict[str, Sight] = {}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.is_input:
                continue
            sight = _joined([seen[id(tensor)] for tensor in node.input_tensors])
            if isinstance(node.operation, keras.Model):
                sight = _sights(node.operation, sight)[0]
            else:
                sight = _through(node.operation, node.input_tensors[0].shape, node.outputs[0].shape, sight)
            seen.update((id(tensor), sight) for tensor in node.outputs)
            of_layer[node.operation.name] = sight
    return seen[id(graph.outputs[0])], of_layer


def _joined(sights: list[Sight]) -> Sight:
    """Return the bounding box of what several branches see."""
    if WHOLE in sights:
        return WHOLE
    known = [sight for sight in sights if sight is not None]
    if len(known) < len(sights):
        return None
    height, width = (
        _Axis(min(axis.first for axis in axes), max(axis.last for axis in axes), axes[0].step)
        for axes in zip(*known, strict=True)
    )
    return height, width


def _through(layer: Any, entering: tuple[int, ...], leaving: tuple[int, ...], sight: Sight) -> Sight:
    """Return what a layer's output sees if its input sees `sight`; shapes are (None, height, width, channels)."""
    from keras import layers

    if sight == WHOLE or isinstance(layer, layers.Flatten | layers.GlobalAveragePooling2D | layers.GlobalMaxPooling2D):
        return WHOLE
    if sight is None:
        return None
    if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D):
        kernels = [(side - 1) * gap + 1 for side, gap in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
    elif isinstance(layer, layers.MaxPooling2D | layers.AveragePooling2D):
        kernels = list(layer.pool_size)
    elif _works_on_each_position(layer) and leaving[1:3] == entering[1:3]:
        return sight
    else:
        return None
    height, width = (
        axis.windowed(
            kernel=kernel,
            stride=stride,
            before=max(0, (after - 1) * stride + kernel - size) // 2 if layer.padding == "same" else 0,
        )
        for axis, size, after, kernel, stride in zip(
            sight, entering[1:3], leaving[1:3], kernels, layer.strides, strict=True
        )
    )
    return height, width


def _works_on_each_position(layer: Any) -> bool:
    """Return whether an output position depends only on the same position of the inputs."""
    from keras import layers

    return isinstance(
        layer,
        layers.Activation
        | layers.ReLU
        | layers.LeakyReLU
        | layers.PReLU
        | layers.ELU
        | layers.Softmax
        | layers.BatchNormalization
        | layers.LayerNormalization
        | layers.Rescaling
        | layers.Dropout
        | layers.SpatialDropout2D
        | layers.Dense
        | layers.Add
        | layers.Subtract
        | layers.Multiply
        | layers.Average
        | layers.Maximum
        | layers.Minimum
        | layers.Concatenate,
    )
