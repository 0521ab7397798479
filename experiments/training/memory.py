"""Estimate the memory of training for each image of a batch, from a network's shapes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

BATCH_BYTES = 2**30  # limit for the values of a batch in a process, in addition to weights and libraries
VALUE_BYTES = 4  # of a float32
WORKING_COPIES = 3  # of the largest output: its gradient, that of the next layer, temporary memory of a kernel


def image_bytes(network: keras.Model) -> int:
    """Estimate the peak memory of a training step for one image: each layer's output, and copies of the largest.

    Measurements at 224x224 were 0.55 to 0.95 of this (experiments/LOG.md).

    >>> from architectures import registry
    >>> image_bytes(registry.build("malireddi", (28, 28, 1), 10))
    392808
    """
    layers = network._flatten_layers(include_self=False, recursive=True)
    shapes = [shape for layer in layers for shape in _output_shapes(layer)]
    sizes = [math.prod(side or 1 for side in shape[1:]) for shape in shapes]
    return VALUE_BYTES * (sum(sizes) + WORKING_COPIES * max(sizes, default=0))


def _output_shapes(layer: keras.layers.Layer) -> list[tuple[int | None, ...]]:
    """Return the output shapes of a layer for each of its uses in the network."""
    return [output.shape for node in layer._inbound_nodes for output in node.outputs]
