"""Check before a sweep whether coremltools can convert an architecture, if possible without converting it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from architectures.errors import NotConvertible, ProjectError
from conversion.coreml.convert import convert, coremltools
from conversion.coreml.facts import FileFacts
from experiments.classifier import as_classifier
from experiments.training.graph_work import trace_network

if TYPE_CHECKING:
    import keras

# TensorFlow's operations that are gone when coremltools converts a graph: it turns variables into constants, and
# removes operations without outputs.
RESOLVED = frozenset({"NoOp", "Assert", "ReadVariableOp"})


def check_convertible(network: keras.Model, name: str, *, tested: bool = False) -> None:
    """Raise NotConvertible, with the layer, for a network with an operation that coremltools lacks.

    A conversion takes seconds for deep networks. For an architecture that is tested to be convertible, the traced
    operations are looked up instead, in some tenths of a second. It is only converted if coremltools, perhaps in
    another version, does not know them all.

    Args:
        network: freshly built, from (N, height, width, channels) to (N, num_classes).
        tested: whether tests of this project convert it.
    """
    with contextlib.suppress(Exception):  # if a layer cannot be traced, the conversion reports it
        if tested and _operations(network) <= _known():
            return
    labels = tuple(map(str, range(network.output_shape[1])))
    try:
        convert(as_classifier(network), FileFacts(labels, "", "", name, "", "", "", 0.0))
    except ProjectError as error:
        raise NotConvertible(str(error)) from error


def _operations(network: keras.Model) -> set[str]:
    """Return the kinds of TensorFlow operations in a network, including those in called functions."""
    graph = trace_network(network).as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return {node.op for node in nodes}


def _known() -> set[str]:
    """Return the kinds of TensorFlow operations that coremltools converts or does not need."""
    coremltools()  # registers the operations that this project adds
    from coremltools.converters.mil.frontend.tensorflow.tf_op_registry import _TF_OPS_REGISTRY

    return {*_TF_OPS_REGISTRY, *RESOLVED}
