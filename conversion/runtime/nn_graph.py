"""Build a network of NumPy operations from the layers of a neuralnetwork."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conversion.runtime.interface import Array, CorruptModel, NotCheckable
from conversion.runtime.limits import MAX_OPERATIONS
from conversion.runtime.network import Network, Node, blaming
from conversion.runtime.nn_layers import LAYERS, REARRANGING_LAYERS, Layer

# Kinds whose output is newly allocated: a ReLU that is its only reader may overwrite it, which saves a tenth of time.
MAKES_OWN_MEMORY = frozenset({"batchedMatmul", "convolution", "innerProduct"})


class Graph(Network):
    """The layers between the inputs and outputs.

    Args:
        stored: the file's layer messages, in order.
        inputs: names of the input blobs.
        outputs: names of the output blobs.
        source: name of the file, for errors.

    Raises:
        CorruptModel: if a layer reads a missing blob, writes an existing one, or contradicts itself.
        NotCheckable: if a layer is unknown.
    """

    def __init__(self, stored: Sequence[Any], *, inputs: Sequence[str], outputs: Sequence[str], source: str) -> None:
        if len(stored) > MAX_OPERATIONS:
            raise NotCheckable(f"{source}: has {len(stored):,} layers; the limit is {MAX_OPERATIONS:,}.")
        self.layers = [_layer(message, source) for message in stored]
        _check_names(self.layers, inputs=inputs, outputs=outputs, source=source)
        nodes = [_node(layer, source) for layer in self.layers]
        super().__init__(nodes, inputs=inputs, outputs=outputs, source=source)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the layers in order; an activation includes its function."""
        return tuple(node.kind for node in self.nodes)

    @property
    def first_factor(self) -> float:
        """The number that the input is multiplied by first; 1 if there is none."""
        readers = [layer for layer in self.layers if self.inputs[0] in layer.inputs]
        multiplied = len(readers) == 1 and readers[0].kind == "multiply" and len(readers[0].inputs) == 1
        return float(readers[0].params.alpha) if multiplied else 1.0

    @property
    def weights(self) -> dict[str, Mapping[str, Array]]:
        """Decoded weights by layer name and field name."""
        return {layer.name: layer.weights for layer in self.layers if layer.weights}


def _layer(message: Any, source: str) -> Layer:
    kind = message.WhichOneof("layer")
    if kind not in LAYERS:
        raise NotCheckable(f"{source}: layer {message.name!r} is of the unknown kind {kind or '(unnamed)'}.")
    return Layer(message.name, kind, getattr(message, kind), tuple(message.input), tuple(message.output))


def _check_names(layers: Sequence[Layer], *, inputs: Sequence[str], outputs: Sequence[str], source: str) -> None:
    known = set(inputs)
    for layer in layers:
        for name in layer.inputs:
            if name not in known:
                raise CorruptModel(f"{source}: {_title(layer)} reads {name!r}, which no layer above writes.")
        for name in layer.outputs:
            if name in known:
                raise CorruptModel(f"{source}: {_title(layer)} writes {name!r} a second time.")
            known.add(name)
    for output in outputs:
        if output not in known - set(inputs):
            raise CorruptModel(f"{source}: no layer writes the output {output!r}.")


def _title(layer: Layer) -> str:
    return f"layer {layer.name!r} ({layer.kind})"


def _node(layer: Layer, source: str) -> Node:
    with blaming(source, _title(layer)), np.errstate(all="ignore"):
        operation = LAYERS[layer.kind](layer)
    kind = layer.kind
    if kind == "activation":
        kind = f"activation.{layer.params.WhichOneof('NonlinearityType')}"
    return Node(
        _title(layer),
        kind,
        layer.inputs,
        layer.outputs,
        operation,
        rearranges=layer.kind in REARRANGING_LAYERS,
        makes_own_memory=layer.kind in MAKES_OWN_MEMORY,
    )
