"""The model that a run trains and keeps: scaling to [0, 1], then the registered network.

Its input is pixels of 0..255, so that training, evaluation and the Core ML file (which has the same scale) agree.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from architectures import registry
from architectures.errors import ProjectError
from architectures.registry import Architecture
from experiments import keras_file
from experiments.config import RunConfig

if TYPE_CHECKING:
    import keras
    import numpy as np

PIXEL_SCALE = 1 / 255.0
PREPROCESSING_VERSION = 1  # of rendering drawings (strokes.py), recorded in the Core ML file
PREDICTION_BATCH = 500  # images
PREDICTION_BYTES = 500 * 64 * 64 * 3  # of pixels in a batch, which has fewer images if they are large


def build_classifier(
    architecture: Architecture, config: RunConfig, input_shape: tuple[int, int, int], num_classes: int, precision: str
) -> keras.Model:
    """Build the network with its scaling layer, under a precision policy.

    With `mixed_bfloat16`, the layers compute in bfloat16 with float32 weights, except for the last layer, because
    bfloat16 probabilities have only 8 bits, and depthwise convolutions, because TensorFlow's CPU kernels take up to
    three times as long in bfloat16 (experiments/LOG.md).
    """
    import keras

    keras.config.set_dtype_policy(precision)
    try:
        network = architecture.build(
            input_shape, num_classes, filters=config.filters, dropout=config.dropout, knobs=dict(config.knobs)
        )
        head = network.outputs[0]._keras_history.operation
        depthwise = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
        for layer in network._flatten_layers(include_self=False, recursive=True):
            if layer is head or isinstance(layer, depthwise):
                layer.dtype_policy = "float32"
        return as_classifier(network)
    finally:
        keras.config.set_dtype_policy("float32")


def as_classifier(network: keras.Model) -> keras.Model:
    """Add to a registered network the layer that scales pixels of 0..255 to [0, 1]."""
    import keras

    shape = network.input_shape[1:]
    return keras.Sequential([keras.Input(shape), keras.layers.Rescaling(PIXEL_SCALE), network], name="classifier")


def network_of(classifier: keras.Model) -> keras.Model:
    """Return the registered network inside a classifier, which takes values in [0, 1].

    Raises:
        ProjectError: if the model was not made by `build_classifier`.
    """
    import keras

    layers = classifier.layers
    if len(layers) != 2 or not isinstance(layers[0], keras.layers.Rescaling):
        raise ProjectError("The model is not a classifier of this project: a Rescaling layer and a network.")
    return layers[1]


def weights_sha256(model: keras.Model) -> str:
    """Return the SHA-256 of the bytes of all weights, in the model's order."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def load_classifier(path: Path, sha256: str) -> keras.Model:
    """Load a `.keras` file safely: check its digest, then its structure, then use Keras' own safe mode.

    Args:
        sha256: the recorded digest; a file without a record is not loaded.

    Raises:
        ProjectError: if the digest differs, or the file is damaged or refused by `keras_file.check`.
    """
    if path.suffix != ".keras":
        raise ProjectError(f"{path.name} is not loaded: models are loaded from .keras files only.")
    if not path.is_file():  # a pipe would block
        raise ProjectError(f"{path.name} is not loaded: there is no such file.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ProjectError(f"{path.name} has SHA-256 {found[:12]}..., its record says {sha256[:12]}...: not loaded.")
    registry.names()  # registers the Layer subclasses that families define
    import keras

    keras_file.check(path)
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise ProjectError(f"{path.name} cannot be loaded: {' '.join(str(error).split())[:300]}") from error


def forward_function(classifier: keras.Model, dtype: str = "uint8") -> Callable[[np.ndarray], np.ndarray]:
    """Return a graph from uint8 images (any number, height, width, channels) to float32 probabilities, traced once.

    A model that starts from features takes these instead, with their `dtype`.

    >>> import numpy as np
    >>> from architectures import build
    >>> forward = forward_function(as_classifier(build("malireddi", (28, 28, 1), 10, filters=4)))
    >>> forward(np.zeros((3, 28, 28, 1), np.uint8)).shape
    (3, 10)
    """
    import tensorflow as tf

    graph = tf.function(
        lambda batch: classifier(tf.cast(batch, tf.float32), training=False),
        input_signature=[tf.TensorSpec((None, *classifier.input_shape[1:]), dtype)],
        autograph=False,
    )
    return lambda images: graph(images).numpy()


def predict(forward: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, num_classes) of any number of images, computed in batches to limit memory."""
    import numpy as np

    size = max(1, min(PREDICTION_BATCH, PREDICTION_BYTES // math.prod(images.shape[1:])))
    return np.concatenate([forward(images[start : start + size]) for start in range(0, len(images), size)])
