"""The stored parameters of a layer, checked as its builder reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from conversion.runtime.arrays import rank
from conversion.runtime.interface import Array
from conversion.runtime.kernels import Pads, Pair, same_pads
from conversion.runtime.limits import Unsupported
from conversion.runtime.network import Operation
from conversion.runtime.precision import stored
from conversion.runtime.weights import decode


@dataclass(frozen=True)
class Layer:
    """A stored layer. Its readers raise ValueError for contradictions, and Unsupported for anything unknown."""

    name: str
    kind: str
    params: Any  # the message of that kind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: dict[str, Array] = field(default_factory=dict)  # filled as they are decoded

    def weight(self, name: str, shape: Sequence[int], *, channel_axis: int = 0, of: Any = None) -> Array:
        """Decode the weights in the field `name` of the layer's message, or of the message `of`."""
        values: Array = stored(decode(getattr(of or self.params, name), tuple(shape), channel_axis=channel_axis))
        self.weights[name] = values
        return values

    def choice(self, name: str, of: Any = None) -> str:
        """Return the name of an enumeration's value."""
        message = of or self.params
        number = getattr(message, name)
        known = message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number
        if number not in known:
            raise Unsupported(f"its {name} is {number}")
        return str(known[number].name)

    def pair(self, name: str, default: Pair) -> Pair:
        """Return a field of two positive numbers, height first."""
        values = tuple(getattr(self.params, name)) or default
        if len(values) != 2 or min(values) < 1 or max(values) > 2**31:
            raise ValueError(f"its {name} is {values}, not two positive numbers")
        return values[0], values[1]

    def expect(self, *, inputs: int | range | None = 1, outputs: int | None = 1) -> None:
        """Check the number of blobs that it reads and writes."""
        allowed = range(inputs, inputs + 1) if isinstance(inputs, int) else inputs
        if allowed is not None and len(self.inputs) not in allowed:
            raise ValueError(f"it reads {len(self.inputs)} blobs, not {' or '.join(map(str, allowed[:2]))}")
        if outputs is not None and len(self.outputs) != outputs:
            raise ValueError(f"it writes {len(self.outputs)} blobs, not {outputs}")

    def refuse(self, *names: str) -> None:
        """Raise Unsupported if one of these fields is set."""
        for name in names:
            if getattr(self.params, name):
                raise Unsupported(f"it sets {name}")


LayerBuilder = Callable[[Layer], Operation]


def channel_axis(x: Array) -> int:
    """Return our index of the axis that the format calls the channel."""
    if rank(x) < 3:
        raise ValueError(f"it reads a blob of rank {rank(x)}, not at least 3")
    return x.ndim - 3


def border(amounts: Any) -> Pads:
    """Return (top, bottom), (left, right) of a `BorderAmounts` message."""
    edges = [(edge.startEdgeSize, edge.endEdgeSize) for edge in amounts.borderAmounts] or [(0, 0), (0, 0)]
    if len(edges) != 2 or max(max(edge) for edge in edges) > 2**31:
        raise ValueError(f"its border is {edges}, not two pairs of reasonable size")
    return edges[0], edges[1]


def window_pads(layer: Layer, size: Pair, window: Pair, stride: Pair) -> Pads:
    """Return the padding of a convolution or pooling layer with padding `valid` or `same`."""
    if layer.params.HasField("same"):
        heavy = layer.choice("asymmetryMode", of=layer.params.same) == "TOP_LEFT_HEAVY"
        return same_pads(size, window, stride, top_left_heavy=heavy)
    return border(layer.params.valid.paddingAmounts)
