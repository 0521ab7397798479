"""Compute a lower bound of a network's Core ML file size from its parameters, without weights or a conversion."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from conversion.coreml.compress import BITS
from experiments.config import Compression

if TYPE_CHECKING:
    import keras

WHOLE_BITS = {"none": 32, "float16": 16}  # of a weight that is not compressed


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Build networks in this block with layers and shapes but no values: a hundred million weights in 0.1 s."""
    import keras

    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        keras.backend.clear_session()  # otherwise Keras would initialize them at the end of the next such scope


def least_coreml_bytes(network: keras.Model, compression: Compression) -> int:
    """Return a lower bound on the size of a network's `.mlmodel`.

    It only counts the kernels of Keras' own convolutions and dense layers in the network's graph: each trained kernel
    is stored completely, with the compression's bits per weight. Weights that a conversion may fold into others
    (normalisation, biases), frozen weights, and layers of other kinds are not counted.

    >>> from architectures import registry
    >>> with without_weights():
    ...     least_coreml_bytes(registry.build("malireddi", (28, 28, 1), 10), "none")
    376960
    """
    import keras

    kinds = {
        keras.layers.Conv2D: ("kernel",),
        keras.layers.Conv2DTranspose: ("kernel",),
        keras.layers.DepthwiseConv2D: ("kernel",),
        keras.layers.SeparableConv2D: ("depthwise_kernel", "pointwise_kernel"),
        keras.layers.Dense: ("_kernel",),
    }
    stored = {
        id(kernel): math.prod(kernel.shape)
        for layer in _layers(network)
        for name in kinds.get(type(layer), ())
        if (kernel := getattr(layer, name)).trainable
    }
    bits = WHOLE_BITS.get(compression) or BITS[compression]
    return sum(count * bits // 8 for count in stored.values())


def _layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yield the layers that the output depends on, including those in nested networks; none of a subclassed model."""
    import keras

    graph = type(network) is keras.Sequential or type(network).__name__ == "Functional"
    for layer in network.layers if graph and len(network.outputs) == 1 else ():
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer
