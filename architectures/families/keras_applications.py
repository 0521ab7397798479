"""Networks of `keras.applications`. Keras downloads their ImageNet weights only on request."""

import contextlib
import sys
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import keras
import numpy as np
from keras import layers

from architectures import backbones
from architectures.blocks import MOMENTUM
from architectures.errors import ProjectError, UsageError
from architectures.knobs import Setting
from architectures.registry import Shape, register

PLACE = "https://storage.googleapis.com/tensorflow/keras-applications"
DROPOUT = 0.2  # as published
KNOBS = backbones.knobs(".h5")
MOBILENET_V2_WIDTHS = Setting((1.0, 0.35, 0.5, 0.75, 1.3, 1.4))  # widths with published weights
MOBILENET_V3_WIDTHS = Setting((1.0, 0.75))


def mobilenet_v2_imagenet(alpha: float) -> Path:
    return _fetched(f"{PLACE}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5")


def mobilenet_v3_imagenet(alpha: float) -> Path:
    return _fetched(f"{PLACE}/mobilenet_v3/weights_mobilenet_v3_small_224_{alpha}_float_no_top_v2.h5")


def efficientnet_v2_imagenet() -> Path:
    return _fetched(f"{PLACE}/efficientnet_v2/efficientnetv2-b0_notop.h5")


def _fetched(url: str) -> Path:
    """Return the file of a URL in Keras' own cache, downloading it if necessary.

    Raises:
        ProjectError: if it cannot be downloaded.
    """
    name = Path(urlsplit(url).path).name
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return Path(keras.utils.get_file(name, url, cache_subdir="models"))
    except Exception as error:  # of the network, or of the folder
        reason = " ".join(str(error).split())
        raise ProjectError(
            f"weights=imagenet could not be fetched ({reason}). Put {name} into ~/.keras/models, or give its place, "
            f"weights=FILE."
        ) from error


@register(
    default_dropout=DROPOUT,
    knobs={**KNOBS, "alpha": MOBILENET_V2_WIDTHS},
    smallest_side=backbones.SMALLEST_SIDE,
    find_weights=mobilenet_v2_imagenet,
)
def keras_mobilenet_v2(
    input_shape: Shape,
    num_classes: int,
    *,
    dropout: float,
    weights: Path | None,
    train: str,
    hidden: int,
    features: str,
    alpha: float,
) -> keras.Model:
    """Inverted residuals with linear bottlenecks; 2.3 million parameters below the head, 0.4 at a width of 0.35.

    Family: MobileNet
    Paper: Sandler et al. 2018, arXiv:1801.04381
    """
    inputs = keras.Input(input_shape)
    x = layers.Rescaling(2.0, -1.0)(backbones.in_colour(inputs))
    backbone = keras.applications.MobileNetV2(input_tensor=x, alpha=alpha, include_top=False, weights=None)
    head = backbones.with_head(backbone, num_classes, dropout=dropout, hidden=hidden, features=features)
    return _finished(keras.Model(inputs, head, name="keras_mobilenet_v2"), backbone, weights, train)


@register(
    default_dropout=DROPOUT,
    knobs={**KNOBS, "alpha": MOBILENET_V3_WIDTHS},
    smallest_side=backbones.SMALLEST_SIDE,
    find_weights=mobilenet_v3_imagenet,
)
def keras_mobilenet_v3_small(
    input_shape: Shape,
    num_classes: int,
    *,
    dropout: float,
    weights: Path | None,
    train: str,
    hidden: int,
    features: str,
    alpha: float,
) -> keras.Model:
    """The quickest of them on a phone: hard swish, squeeze-and-excitation; 0.9 million parameters below the head.

    Family: MobileNet
    Paper: Howard et al. 2019, arXiv:1905.02244
    """
    inputs = keras.Input(input_shape)
    x = layers.Rescaling(255.0)(backbones.in_colour(inputs))  # its own preprocessing begins with bytes
    backbone = keras.applications.MobileNetV3Small(input_tensor=x, alpha=alpha, include_top=False, weights=None)
    head = backbones.with_head(backbone, num_classes, dropout=dropout, hidden=hidden, features=features)
    return _finished(keras.Model(inputs, head, name="keras_mobilenet_v3_small"), backbone, weights, train)


@register(
    default_dropout=DROPOUT, knobs=KNOBS, smallest_side=backbones.SMALLEST_SIDE, find_weights=efficientnet_v2_imagenet
)
def keras_efficientnet_v2_b0(
    input_shape: Shape,
    num_classes: int,
    *,
    dropout: float,
    weights: Path | None,
    train: str,
    hidden: int,
    features: str,
) -> keras.Model:
    """The most accurate of them, and the largest: 5.9 million parameters below the head.

    Family: EfficientNet
    Paper: Tan and Le 2021, arXiv:2104.00298
    """
    if input_shape[2] not in (1, 3):  # its own preprocessing subtracts the mean of three
        raise UsageError(f"keras_efficientnet_v2_b0 takes images of 1 or 3 channels, not {input_shape[2]}.")
    inputs = keras.Input(input_shape)
    x = layers.Rescaling(255.0)(backbones.in_colour(inputs))  # its own preprocessing begins with bytes
    backbone = keras.applications.EfficientNetV2B0(input_tensor=x, include_top=False, weights=None)
    for layer in backbone.layers:
        if isinstance(layer, layers.Dropout):  # of whole branches; published with the rate of the head's
            layer.rate *= dropout / DROPOUT
    head = backbones.with_head(backbone, num_classes, dropout=dropout, hidden=hidden, features=features)
    return _finished(keras.Model(inputs, head, name="keras_efficientnet_v2_b0"), backbone, weights, train)


def _finished(model: keras.Model, backbone: keras.Model, weights: Path | None, train: str) -> keras.Model:
    """Load the chosen weights, if any, into the backbone, and freeze layers according to `train`."""
    if weights:
        for weight in backbone.weights:  # Keras skips layers that are missing in a file
            weight.assign(np.full(weight.shape, np.nan))
        try:
            with warnings.catch_warnings(action="ignore"):
                backbone.load_weights(weights)
        except Exception as error:  # h5py and Keras raise different types
            raise backbones.wrong_weights(weights, model.name, error) from error
        for weight in backbone.weights:
            if np.isnan(weight.numpy()).any():
                raise backbones.wrong_weights(weights, model.name, f"it has no {weight.path}")
    else:  # Keras' averages take thousands of steps, as in training on ImageNet
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.momentum = MOMENTUM
    backbones.set_trainable(model, train, weights)
    return model
