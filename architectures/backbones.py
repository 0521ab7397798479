"""Helpers for backbones: networks of fixed width with optional ImageNet weights and a new head.

Their knobs: `weights` (none, imagenet, a file), `train` (how much of the network learns), and `hidden`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keras import layers

from architectures.errors import ProjectError, UsageError
from architectures.knobs import Knob, Setting
from architectures.weights import FEATURES, HEAD, IMAGENET, NONE, TRAIN, WEIGHTS

if TYPE_CHECKING:
    import keras

SMALLEST_SIDE = 32  # pixels: these networks halve an image five times
TOP, ALL = "top", "all"
HIDDEN = (0, 128)  # units of a layer between features and classes; 0: no such layer


def knobs(*files: str) -> dict[str, tuple[Knob, ...]]:
    """Return the knobs of every backbone; `files` are the suffixes of weight files."""
    return {
        WEIGHTS: Setting((NONE, IMAGENET), files=files),
        TRAIN: Setting((ALL, TOP, HEAD)),
        "hidden": HIDDEN,
    }


def in_colour(x: keras.KerasTensor) -> keras.KerasTensor:
    """Repeat gray images in three channels, for weights that were trained on colours; leave others unchanged."""
    return layers.Concatenate(name="gray_to_rgb")([x, x, x]) if x.shape[-1] == 1 else x


def with_head(x: keras.KerasTensor, num_classes: int, *, dropout: float, hidden: int) -> keras.KerasTensor:
    """Return probabilities from the last feature map: its mean over all positions, dropout, dense layers."""
    x = layers.GlobalAveragePooling2D(name=FEATURES)(x)
    if hidden:
        x = layers.Dropout(dropout)(x)
        x = layers.Dense(hidden, activation="relu")(x)
    x = layers.Dropout(dropout)(x)
    return layers.Dense(num_classes, activation="softmax")(x)


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
    features = network.get_layer(FEATURES)
    backbone = network.layers[: network.layers.index(features)]
    last = features.input.shape[1:3]
    larger = [place for place, layer in enumerate(backbone) if layer.output.shape[1] > last[0]]
    first = {ALL: 0, TOP: larger[-1] + 1, HEAD: len(backbone)}[train]
    for place, layer in enumerate(backbone):
        layer.trainable = place >= first and not isinstance(layer, layers.BatchNormalization)
        if place < first and isinstance(layer, layers.Dropout):
            layer.rate = 0.0


def wrong_weights(path: Path, network: str, reason: object) -> ProjectError:
    """Return the error for a file with the weights of another network."""
    return ProjectError(f"{path} holds no weights of {network}: {' '.join(str(reason).split())[:200]}.")
