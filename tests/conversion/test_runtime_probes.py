"""The executor gives what Keras gives for single layers and blocks, converted by coremltools and saved."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tests.support.layers import convert, images, loaded, randomize

TOLERANCE = 2e-6  # relative to the largest value: a few roundings of float32

# coremltools 9 turns a batch normalization that follows no convolution into a batchnorm layer of variance 1 with the
# format's default epsilon of 1e-5, which nothing asked for: the file itself is off by a share of 5e-6.
CONVERSION_ERRORS = {"batch_normalization": 1e-5}


def conv(*arguments: Any, **options: Any) -> Callable[[Any], Any]:
    return layers.Conv2D(*arguments, **options)


def squeeze_and_excite(x: Any) -> Any:
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(2, 1, activation="relu")(gate)
    return layers.Multiply()([x, layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(gate)])


def squeeze_and_excite_dense(x: Any) -> Any:
    gate = layers.Dense(2, activation="relu")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Dense(x.shape[-1], activation="hard_sigmoid")(gate)
    return layers.Multiply()([x, layers.Reshape((1, 1, x.shape[-1]))(gate)])


def inverted_residual(x: Any) -> Any:
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(12, 1, use_bias=False)(x)))
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)))
    return layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(x.shape[-1], 1, use_bias=False)(y))])


def residual(x: Any) -> Any:
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    return layers.Add()([layers.Conv2D(8, 1, strides=2)(x), y])


def dense_block(x: Any) -> Any:
    for _ in range(2):
        x = layers.Concatenate()([x, layers.Conv2D(3, 3, padding="same", activation="relu")(x)])
    return x


def attention(x: Any) -> Any:
    tokens = layers.Reshape((-1, x.shape[-1]))(x)
    return layers.MultiHeadAttention(2, 3)(tokens, tokens)


class TensorFlow(layers.Layer):
    """An operation that Keras has no layer for."""

    def __init__(self, compute: Callable[[Any], Any]) -> None:
        super().__init__()
        self.compute = compute

    def call(self, x: Any) -> Any:
        return self.compute(x)


PROBES: dict[str, Callable[[Any], Any]] = {
    "conv": conv(5, 3),
    "conv_1x1": conv(5, 1),
    "conv_no_bias": conv(5, 3, use_bias=False),
    "conv_same": conv(5, 3, padding="same"),
    "conv_same_even": conv(5, (2, 4), padding="same"),
    "conv_stride": conv(5, 3, strides=2),
    "conv_stride_uneven": conv(5, (3, 2), strides=(2, 3)),
    "conv_stride_same": conv(5, 3, strides=2, padding="same"),
    "conv_stride_larger_than_kernel": conv(5, 1, strides=3, padding="same"),
    "conv_dilated": conv(5, 3, dilation_rate=2),
    "conv_dilated_same": conv(5, (3, 2), dilation_rate=(2, 3), padding="same"),
    "conv_groups": conv(8, 3, groups=2, padding="same"),
    "depthwise": layers.DepthwiseConv2D(3),
    "depthwise_same_stride": layers.DepthwiseConv2D(3, strides=2, padding="same"),
    "depthwise_multiplier": layers.DepthwiseConv2D((2, 3), depth_multiplier=3),
    "depthwise_dilated": layers.DepthwiseConv2D(3, dilation_rate=2),
    "separable": layers.SeparableConv2D(6, 3, padding="same", activation="relu"),
    "transposed": layers.Conv2DTranspose(5, 3),
    "transposed_stride": layers.Conv2DTranspose(5, 3, strides=2),
    "transposed_same": layers.Conv2DTranspose(5, 3, strides=2, padding="same"),
    "transposed_same_even": layers.Conv2DTranspose(5, (4, 2), strides=(2, 3), padding="same"),
    "max_pool": layers.MaxPooling2D(),
    "max_pool_overlap": layers.MaxPooling2D(3, strides=2),
    "max_pool_same": layers.MaxPooling2D(3, strides=2, padding="same"),
    "max_pool_uneven": layers.MaxPooling2D((2, 3), strides=(1, 2), padding="same"),
    "average_pool": layers.AveragePooling2D(2),
    "average_pool_same": layers.AveragePooling2D(3, strides=2, padding="same"),
    "average_pool_uneven": layers.AveragePooling2D((3, 2), strides=(2, 1)),
    "global_average": layers.GlobalAveragePooling2D(),
    "global_average_kept": layers.GlobalAveragePooling2D(keepdims=True),
    "global_max": layers.GlobalMaxPooling2D(),
    "batch_normalization": layers.BatchNormalization(),
    "batch_normalization_after_conv": lambda x: layers.BatchNormalization()(layers.Conv2D(5, 3)(x)),
    "layer_normalization": layers.LayerNormalization(),
    "layer_normalization_planes": layers.LayerNormalization(axis=(1, 2, 3)),
    "layer_normalization_vector": lambda x: layers.LayerNormalization()(layers.Flatten()(x)),
    "group_normalization": layers.GroupNormalization(2),
    "unit_normalization": layers.UnitNormalization(),
    "upsample_nearest": layers.UpSampling2D((2, 3)),
    "upsample_bilinear": layers.UpSampling2D(2, interpolation="bilinear"),
    "zero_padding": layers.ZeroPadding2D(((1, 2), (3, 0))),
    "cropping": layers.Cropping2D(((1, 2), (0, 3))),
    "flatten": layers.Flatten(),
    "reshape": layers.Reshape((4, -1)),
    "permute": layers.Permute((2, 3, 1)),
    "dense": lambda x: layers.Dense(7)(layers.Flatten()(x)),
    "dense_no_bias": lambda x: layers.Dense(7, use_bias=False)(layers.Flatten()(x)),
    "dense_on_planes": layers.Dense(7),
    "dense_on_sequence": lambda x: layers.Dense(7)(layers.Reshape((-1, 4))(x)),
    "residual": residual,
    "inverted_residual": inverted_residual,
    "squeeze_and_excite": squeeze_and_excite,
    "squeeze_and_excite_dense": squeeze_and_excite_dense,
    "dense_block": dense_block,
    "attention": attention,
    "concatenate_rows": lambda x: layers.Concatenate(axis=1)([x, layers.ReLU()(x)]),
    "add_constant": lambda x: x + np.linspace(-1, 1, 4, dtype=np.float32),
    "subtract": lambda x: layers.Subtract()([x, layers.ReLU()(x)]),
    "maximum": lambda x: layers.Maximum()([x, layers.Conv2D(4, 1)(x)]),
    "minimum": lambda x: layers.Minimum()([x, layers.Conv2D(4, 1)(x)]),
    "average": lambda x: layers.Average()([x, layers.Conv2D(4, 1)(x), layers.ReLU()(x)]),
    "divide": lambda x: x / (1 + ops.abs(x)),
    "power": lambda x: ops.power(ops.abs(x) + 0.1, 1.5),
    "square_root": lambda x: ops.sqrt(ops.abs(x)),
    "inverse_square_root": lambda x: ops.rsqrt(ops.abs(x) + 0.1),
    "logarithm": lambda x: ops.log(ops.abs(x) + 0.1),
    "logarithm_of_one_plus": lambda x: ops.log1p(ops.abs(x)),
    "standard_deviation": lambda x: ops.std(x, axis=(1, 2)),
    "norm": lambda x: ops.norm(x, axis=-1),
    "clip": lambda x: ops.clip(x, -0.2, 0.3),
    "where": lambda x: ops.where(x > 0.1, x, -2.0 * x),
    "local_response": TensorFlow(lambda x: tf.nn.local_response_normalization(x, 1, 2.0, 0.7, 0.6)),
    "softmax_channels": layers.Softmax(),
    "softmax_rows": layers.Softmax(axis=1),
    "reduce_sum": lambda x: ops.sum(x, axis=(1, 3)),
    "reduce_max": lambda x: ops.max(x, axis=2, keepdims=True),
    "reduce_minimum": lambda x: ops.min(x, axis=-1),
    "reduce_product": lambda x: ops.prod(x, axis=1),
    "reduce_mean_all": lambda x: ops.mean(x, axis=(1, 2, 3), keepdims=True) + x,
    "slice": lambda x: x[:, 1:-1, ::2, 1:3],
    "slice_one_row": lambda x: x[:, 2],
    "split": lambda x: ops.concatenate(ops.split(x, 2, axis=-1)[::-1], axis=-1),
    "split_unequal": lambda x: ops.concatenate(ops.split(x, [1, 3], axis=-1)[::-1], axis=-1),
    "tile": lambda x: ops.tile(x, (1, 2, 1, 3)),
    "stack": lambda x: ops.stack([x, 2.0 * x], axis=1),
    "reflect": lambda x: ops.pad(x, ((0, 0), (2, 1), (0, 3), (0, 0)), mode="reflect"),
    "depth_to_space": TensorFlow(lambda x: tf.nn.depth_to_space(x, 2)),
    "space_to_depth": TensorFlow(lambda x: tf.nn.space_to_depth(x, 2)),
    "relu_limits": layers.ReLU(max_value=0.5, negative_slope=0.1, threshold=0.05),
    "leaky_relu": layers.LeakyReLU(0.2),
    "prelu": layers.PReLU(shared_axes=[1, 2]),
    "elu": layers.ELU(0.7),
    "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    **{
        name: layers.Activation(name)
        for name in (
            *("elu", "exponential", "hard_sigmoid", "hard_swish", "leaky_relu", "linear", "log_sigmoid", "mish"),
            *(
                "hard_tanh",
                "hard_shrink",
                "log_softmax",
                "soft_shrink",
                "sparse_plus",
                "squareplus",
            ),
            *("relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh", "tanh_shrink"),
        )
    },
}
for probe, made in PROBES.items():
    if isinstance(made, layers.Layer):
        made.name = f"probe_{probe}"  # Keras counts names from 0 again once another test has cleared its session


def model_of(names: list[str], shape: tuple[int, int, int]) -> keras.Model:
    """A model that shows side by side all that its probes compute from values of both signs."""
    image = keras.Input(shape)
    x = layers.Conv2D(4, 1, name="signs")(image)
    flat = [layers.Flatten()(PROBES[name](x)) for name in names]
    model = randomize(keras.Model(image, [*flat, layers.Concatenate()(flat)] if len(flat) > 1 else [flat[0], flat[0]]))
    signs = model.get_layer("signs")
    signs.kernel.assign(np.random.default_rng(3).uniform(-2, 2, signs.kernel.shape))
    return model


def group_of(name: str, size: int = 19) -> list[str]:
    """The probes that are converted together: a conversion takes a second, however little it converts."""
    names = list(PROBES)
    first = names.index(name) // size * size
    return names[first : first + size]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """What the saved file and Keras give for one probe of a model of several."""

    @cache
    def converted(names: tuple[str, ...], shape: tuple[int, int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
        model = model_of(list(names), shape)
        spec = convert(keras.Model(model.input, model.outputs[-1]))
        pixels = images(shape)
        expected = model(pixels.astype(np.float32) / 255, training=False)
        answer = loaded(spec, tmp_path_factory.mktemp("probes")).probabilities(pixels)
        return answer, [values.numpy() for values in expected[: len(names)]]

    def of(name: str, names: list[str], shape: tuple[int, int, int] = (8, 10, 1)) -> tuple[np.ndarray, np.ndarray]:
        answer, expected = converted(tuple(names), shape)
        ends = np.cumsum([values.shape[1] for values in expected])
        index = names.index(name)
        return answer[:, ends[index] - expected[index].shape[1] : ends[index]], expected[index]

    return of


def assert_equal(answer: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert expected.std() > 1e-3, "a probe that gives one value shows nothing"
    np.testing.assert_allclose(answer, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", PROBES)
def test_layer(name: str, answers: Callable[..., Any]) -> None:
    assert_equal(*answers(name, group_of(name)), tolerance=CONVERSION_ERRORS.get(name, TOLERANCE))


COLOURED = ["conv_stride_same", "average_pool_same", "transposed_same", "flatten", "residual"]


@pytest.mark.parametrize("name", COLOURED)
def test_colour_images(name: str, answers: Callable[..., Any]) -> None:
    assert_equal(*answers(name, COLOURED, (7, 9, 3)))
