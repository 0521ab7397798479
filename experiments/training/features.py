"""Features of images from a frozen backbone: computed once, cached on disk, memory-mapped by all trials.

A file has the features of one split, or of one augmented view of it (array_cache.py). Their bits are determined by the
images, the backbone's weights and code, TensorFlow's version and threads, and the machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from architectures.knobs import PIN
from architectures.plugins import plugin_sha256
from architectures.registry import Architecture
from architectures.weights import FEATURES
from experiments.classifier import forward_function, network_of, weights_sha256
from experiments.config import RunConfig
from experiments.datasets import Dataset, Split
from experiments.training.array_cache import cached_array, surroundings
from experiments.training.augmentation import AUGMENTATION_FUNCTIONS

if TYPE_CHECKING:
    import keras

VERSION = 1  # of the computation of features
BATCH = 16  # images: the largest layer of EfficientNet-Lite0 at 224x224 holds 5 MB for each

_Graph = Callable[[np.ndarray, int, int, int], np.ndarray]


@dataclass(frozen=True)
class Frozen:
    """A classifier split into its frozen backbone and the rest, which share their weights with it."""

    classifier: keras.Model
    forward: Callable[[np.ndarray], np.ndarray]  # of the classifier
    trunk: keras.Model  # from pixels of 0..255 to features
    head: keras.Model  # from features to probabilities
    digest: str  # of everything that determines the bits of the features, except the images
    graphs: dict[str, _Graph] = field(default_factory=dict, repr=False)  # by augmentation: tracing takes seconds

    def computes(self, augment: str) -> _Graph:
        """Return the graph that computes features of uint8 images, given the first one's row, the seed and the view."""
        if augment not in self.graphs:
            self.graphs[augment] = _graph(self.trunk, augment)
        return self.graphs[augment]


_last: dict[object, Frozen] = {}  # the last one in this process: rebuilding it takes longer than training a head


def taken_apart(
    config: RunConfig, architecture: Architecture, dataset: Dataset, build: Callable[[], keras.Model]
) -> Frozen | keras.Model:
    """Return the classifier of a run, split if it has a frozen part, with a new head initialized from the seed.

    Args:
        dataset: that it trains on.
        build: builds the classifier, unless this process still has it from a run with the same knobs.
    """
    import keras

    keras.utils.set_random_seed(config.seed)
    key = architecture.name, architecture.source, config.knobs, dataset.input_shape, dataset.num_classes
    found = _last.get(key)
    if found is None:
        built = build()
        found = apart(built, architecture)
        if found is None or found.trunk.trainable_weights or not found.trunk.weights:
            return built
    dropouts = [layer for layer in found.head.layers if isinstance(layer, keras.layers.Dropout)]
    pinned = any(isinstance(value, str) and PIN in value for _, value in config.knobs)  # the weights are the same
    known = key in _last or all(layer.rate == config.dropout for layer in dropouts)  # the effect of a rate on the head
    _last.clear()
    if pinned and known:
        _last[key] = found
        for layer in dropouts:
            layer.rate = config.dropout
    keras.utils.set_random_seed(config.seed)  # again, so that a new and a cached classifier get the same head
    found.head.set_weights(keras.models.clone_model(found.head).get_weights())
    return found


def apart(classifier: keras.Model, architecture: Architecture) -> Frozen | None:
    """Split a classifier at the end of its backbone; return None if it has no backbone."""
    import keras

    network = network_of(classifier)
    if not any(layer.name == FEATURES for layer in getattr(network, "layers", ())):
        return None
    features = network.get_layer(FEATURES).output
    trunk = keras.Sequential(
        [keras.Input(classifier.input_shape[1:]), classifier.layers[0], keras.Model(network.inputs, features)]
    )
    head = keras.Model(features, network.outputs)
    return Frozen(classifier, forward_function(classifier), trunk, head, _digest(trunk, architecture))


def of_split(frozen: Frozen, split: Split, *, augment: str = "off", seed: int = 0, view: int = 0) -> np.ndarray:
    """Return the features (N, F) of a split's images, or of an augmented view of them, in float32 and memory-mapped."""
    compute = frozen.computes(augment)

    def features() -> np.ndarray:
        return np.concatenate(
            [compute(split.images[at : at + BATCH], at, seed, view) for at in range(0, len(split), BATCH)]
        )

    decisive = f"{frozen.digest} {split.images_digest} {augment} {seed} {view}"
    return cached_array("features", decisive, (len(split), frozen.trunk.output_shape[1]), features)


def _graph(trunk: keras.Model, augment: str) -> _Graph:
    import tensorflow as tf

    augmented = AUGMENTATION_FUNCTIONS[augment]
    number = tf.TensorSpec((), tf.int64)

    @tf.function(input_signature=[tf.TensorSpec((None, *trunk.input_shape[1:]), tf.uint8), number, number, number])
    def compute(images, first, seed, view):  # type: ignore[no-untyped-def]
        images = tf.cast(images, tf.float32)
        if augmented is not None:
            images = augmented(images, seed=tf.stack([seed, first * 2**20 + view]))
        return trunk(images, training=False)

    return lambda images, *numbers: compute(images, *numbers).numpy()


def _digest(trunk: keras.Model, architecture: Architecture) -> str:
    decisive = [
        VERSION,
        architecture.name,
        plugin_sha256(architecture.source),
        weights_sha256(trunk),
        trunk.input_shape,
        trunk.output_shape,
        *surroundings(),
    ]
    return hashlib.sha256(repr(decisive).encode()).hexdigest()
