"""Helpers for backbones: networks of fixed width with optional ImageNet weights and a new head.

Their knobs: `weights` (none, imagenet, a file), `train` (how much of the network learns), `hidden` and `features`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keras import layers

from architectures.blocks import normalization
from architectures.errors import ProjectError, UsageError
from architectures.knobs import Knob, Setting
from architectures.weights import FEATURES, HEAD, IMAGENET, NONE, TRAIN, WEIGHTS

if TYPE_CHECKING:
    import keras

SMALLEST_SIDE = 32  # pixels: these networks halve an image five times
TOP, ALL = "top", "all"
HIDDEN = (0, 128)  # units of a layer between features and classes; 0: no such layer
LAST, STAGES = "last", "stages"  # the features that the head takes


def knobs(*files: str) -> dict[str, tuple[Knob, ...]]:
    """Return the knobs of every backbone; `files` are the suffixes of weight files."""
    return {
        WEIGHTS: Setting((NONE, IMAGENET), files=files),
        TRAIN: Setting((ALL, TOP, HEAD)),
        "hidden": HIDDEN,
        "features": (LAST, STAGES),
    }


def in_colour(x: keras.KerasTensor) -> keras.KerasTensor:
    """Repeat gray images in three channels, for weights that were trained on colours; leave others unchanged."""
    return layers.Concatenate(name="gray_to_rgb")([x, x, x]) if x.shape[-1] == 1 else x


def with_head(
    backbone: keras.Model, num_classes: int, *, dropout: float, hidden: int, features: str
) -> keras.KerasTensor:
    """Return probabilities from the means of feature maps over all positions, by dropout and dense layers.

    Args:
        backbone: from images to the last feature map.
        features: `last` takes this map alone, `stages` those of all stages, which tell more about images that are
            unlike ImageNet's (Evci et al. 2022, arXiv:2201.03529).
    """
    if features == STAGES:
        maps = [*_stages(backbone), backbone.output]
        x = layers.Concatenate(name=FEATURES)([layers.GlobalAveragePooling2D()(each) for each in maps])
        # Their scales differ, and with a hidden layer and dropout some heads would learn nothing at the usual rate.
        x = normalization()(x)
    else:
        x = layers.GlobalAveragePooling2D(name=FEATURES)(backbone.output)
    if hidden:
        x = layers.Dropout(dropout)(x)
        x = layers.Dense(hidden, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return layers.Dense(num_classes, activation="softmax")(x)


def _stages(backbone: keras.Model) -> list[keras.KerasTensor]:
    """Return the widest map of each stage: its last depthwise convolution, normalised and activated."""
    found = {}
    for place, layer in enumerate(backbone.layers):
        if isinstance(layer, layers.DepthwiseConv2D):
            found[layer.output.shape] = backbone.layers[place + 2].output
    return list(found.values())


def set_trainable(network: keras.Model, train: str, weights: Path | None) -> None:
    """Freeze everything before the head, or before the layers at the last resolution.

    With weights, batch normalisation is always frozen with its pretrained averages: those of a few photographs would
    be worse.

    Raises:
        UsageError: if untrained layers would be frozen.
    """
    if weights is None:
        if train != ALL:
            raise UsageError(f"train={train} without weights would keep random ones: choose weights, or train={ALL}.")
        return
    backbone = network.layers[: network.layers.index(network.get_layer(FEATURES))]
    heights = {place: layer.output.shape[1] for place, layer in enumerate(backbone) if len(layer.output.shape) == 4}
    larger = [place for place, height in heights.items() if height > heights[max(heights)]]
    first = {ALL: 0, TOP: larger[-1] + 1, HEAD: len(backbone)}[train]
    for place, layer in enumerate(backbone):
        layer.trainable = place >= first and not isinstance(layer, layers.BatchNormalization)
        if place < first and isinstance(layer, layers.Dropout):
            layer.rate = 0.0


def wrong_weights(path: Path, network: str, reason: object) -> ProjectError:
    """Return the error for a file with the weights of another network."""
    return ProjectError(f"{path} holds no weights of {network}: {' '.join(str(reason).split())[:200]}.")
