"""Find the layer of a network with an operation that coremltools cannot convert."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def layer_behind(error: BaseException, network: keras.Model) -> str | None:
    """Return the layer's name and class, `'scale' (LogGamma)`; None if they are not known.

    Args:
        network: that was being converted, traced as one function.
    """
    path = _operation(error)
    if path is None:
        return None
    layers = {layer.name: layer for layer in network._flatten_layers(include_self=False, recursive=True)}
    for scope in reversed(path.split("/")[:-1]):  # the innermost layer first
        # Keras opens a layer's scope twice, so TensorFlow numbers it: `conv2d_1` is the layer `conv2d`.
        base, _, count = scope.rpartition("_")
        name = base if count.isdecimal() and base in layers else scope
        if name in layers:
            return f"{name!r} ({type(layers[name]).__name__})"
    return None


def _operation(error: BaseException) -> str | None:
    """Return the name of the operation, `network_1/scale_1/Lgamma`, that coremltools was converting when it raised.

    Only some of its messages have the name, but the frames of both its loops over operations have the operation.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for variable in ("node", "op"):
            name = getattr(frame.f_locals.get(variable), "name", None)
            if isinstance(name, str) and "/" in name:
                return name
    return None
