"""The layers of Core ML's neuralnetwork format: one builder per kind, from the stored parameters to a function."""

from conversion.runtime.nn_layers import arrangement, dense, elementwise, normalization, reduction, spatial
from conversion.runtime.nn_layers.layer import Layer, LayerBuilder

LAYERS: dict[str, LayerBuilder] = {
    **spatial.LAYERS,
    **dense.LAYERS,
    **elementwise.LAYERS,
    **normalization.LAYERS,
    **reduction.LAYERS,
    **arrangement.LAYERS,
}

# Kinds that only rearrange values: they keep a preceding softmax a softmax.
REARRANGING_LAYERS = frozenset(
    {"copy", "expandDims", "flatten", "flattenTo2D", "permute", "rankPreservingReshape", "reshape"}
    | {"reshapeStatic", "squeeze", "transpose"}
)

__all__ = ["LAYERS", "REARRANGING_LAYERS", "Layer", "LayerBuilder"]
