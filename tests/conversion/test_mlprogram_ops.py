"""Operations that the converter seldom or never writes, written by hand, against the format's description."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
from coremltools.converters.mil import Builder as mb

from conversion.runtime import load
from tests.support.layers import OpCase, Values, block_of, build_program, change_program, images, program_answers

C, H, W = 3, 6, 8
RNG = np.random.default_rng(7)
VECTOR = RNG.uniform(0.5, 2, C).astype(np.float32)
OTHER = RNG.normal(0, 1, C).astype(np.float32)
PLANES = RNG.normal(0, 1, (1, C, H, W)).astype(np.float32)
MATRIX = RNG.normal(0, 1, (5, W)).astype(np.float32)
PER_CHANNEL = (slice(None), None, None)


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def unary(name: str, expected: Callable[[Values], Values], **options: Any) -> OpCase:
    return lambda x: getattr(mb, name)(x=x, **options), expected


def positive(name: str, expected: Callable[[Values], Values], **options: Any) -> OpCase:
    """For functions of positive numbers."""
    return lambda x: getattr(mb, name)(x=mb.add(x=mb.abs(x=x), y=np.float32(0.1)), **options), lambda x: expected(
        abs(x) + 0.1
    )


def within_one(name: str, expected: Callable[[Values], Values]) -> OpCase:
    """For functions of numbers between -1 and 1."""
    return lambda x: getattr(mb, name)(x=mb.mul(x=x, y=np.float32(0.4))), lambda x: expected(0.4 * x)


def binary(name: str, expected: Callable[[Values, Values], Values], other: Any = PLANES) -> OpCase:
    return lambda x: getattr(mb, name)(x=x, y=other), lambda x: np.float64(expected(x, other))


def comparison(name: str, expected: Callable[[Values, Values], Values]) -> OpCase:
    """Whole numbers, so that some are equal."""
    return (
        lambda x: mb.cast(x=getattr(mb, name)(x=mb.floor(x=x), y=np.float32(-1)), dtype="fp32"),
        lambda x: np.float64(expected(np.floor(x), -1)),
    )


def logical(name: str, expected: Callable[[Values, Values], Values]) -> OpCase:
    return (
        lambda x: mb.cast(
            x=getattr(mb, name)(x=mb.greater(x=x, y=np.float32(0.5)), y=mb.greater(x=mb.abs(x=x), y=np.float32(0.8))),
            dtype="fp32",
        ),
        lambda x: np.float64(expected(x > 0.5, abs(x) > 0.8)),
    )


def reduction(name: str, expected: Callable[..., Values], **options: Any) -> OpCase:
    """Over the file's axes 1 and 3."""
    return (
        lambda x: getattr(mb, name)(x=x, axes=[1, -1], keep_dims=False, **options),
        lambda x: expected(x, axis=(1, 3)),
    )


def normalized(x: Values, axes: tuple[int, ...], epsilon: float) -> Values:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def neighbours(x: Values) -> Values:
    """Sum of each channel and the two beside it."""
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return sum(padded[:, i : i + C] for i in range(3))


CASES: dict[str, OpCase] = {
    # activations
    "clamped_relu": unary("clamped_relu", lambda x: np.minimum(np.where(x >= 0, x, 0.3 * x), 0.8), alpha=0.3, beta=0.8),
    "elu": unary("elu", lambda x: np.where(x > 0, x, 0.6 * (np.exp(x) - 1)), alpha=0.6),
    "gelu": unary("gelu", lambda x: 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2)))),
    "gelu_tanh": unary(
        "gelu",
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        mode="TANH_APPROXIMATION",
    ),
    "gelu_sigmoid": unary("gelu", lambda x: x * scipy.special.expit(1.702 * x), mode="SIGMOID_APPROXIMATION"),
    "leaky_relu": unary("leaky_relu", lambda x: np.where(x >= 0, x, 0.2 * x), alpha=0.2),
    "linear_activation": unary("linear_activation", lambda x: 0.3 * x + 0.4, alpha=0.3, beta=0.4),
    "prelu": unary("prelu", lambda x: np.where(x > 0, x, OTHER[PER_CHANNEL] * x), alpha=OTHER),
    "relu": unary("relu", lambda x: np.maximum(x, 0)),
    "relu6": (lambda x: mb.relu6(x=mb.mul(x=x, y=np.float32(5))), lambda x: np.clip(5 * x, 0, 6)),
    "scaled_tanh": unary("scaled_tanh", lambda x: 1.3 * np.tanh(0.6 * x), alpha=1.3, beta=0.6),
    "sigmoid": unary("sigmoid", scipy.special.expit),
    "sigmoid_hard": unary("sigmoid_hard", lambda x: np.clip(0.3 * x + 0.4, 0, 1), alpha=0.3, beta=0.4),
    "silu": unary("silu", lambda x: x * scipy.special.expit(x)),
    "softplus": unary("softplus", lambda x: np.log1p(np.exp(x))),
    "softplus_parametric": unary(
        "softplus_parametric",
        lambda x: VECTOR[PER_CHANNEL] * np.log1p(np.exp(OTHER[PER_CHANNEL] * x)),
        alpha=VECTOR,
        beta=OTHER,
    ),
    "softsign": unary("softsign", lambda x: x / (1 + abs(x))),
    "softmax": unary("softmax", lambda x: scipy.special.softmax(x, 3)),
    "softmax_channels": unary("softmax", lambda x: scipy.special.softmax(x, 1), axis=1),
    "tanh": unary("tanh", np.tanh),
    "thresholded_relu": unary("thresholded_relu", lambda x: np.where(x >= 0.7, x, 0), alpha=0.7),
    # one input
    **{name: unary(name, getattr(np, name)) for name in ("abs", "ceil", "cos", "cosh", "exp", "exp2", "floor", "sign")},
    **{name: unary(name, getattr(np, name)) for name in ("sin", "sinh", "square")},
    "acos": within_one("acos", np.arccos),
    "asin": within_one("asin", np.arcsin),
    "atan": unary("atan", np.arctan),
    "atanh": within_one("atanh", np.arctanh),
    "tan": within_one("tan", np.tan),
    "erf": unary("erf", scipy.special.erf),
    "round": unary("round", np.round),
    "identity": unary("identity", lambda x: x),
    "sqrt": positive("sqrt", np.sqrt),
    "log": positive("log", lambda x: np.log(x + 0.3), epsilon=0.3),
    "log_default": positive("log", np.log),
    "rsqrt": positive("rsqrt", lambda x: 1 / np.sqrt(x + 0.3), epsilon=0.3),
    "rsqrt_default": positive("rsqrt", lambda x: 1 / np.sqrt(x)),
    "inverse": positive("inverse", lambda x: 1 / (x + 0.3), epsilon=0.3),
    "inverse_default": positive("inverse", lambda x: 1 / (x + 1e-4)),
    "clip": unary("clip", lambda x: np.clip(x, -0.4, 0.9), alpha=-0.4, beta=0.9),
    "threshold": unary("threshold", lambda x: np.maximum(x, 0.3), alpha=0.3),
    "cast_to_integer": (
        lambda x: mb.cast(x=mb.cast(x=mb.mul(x=x, y=np.float32(3.1)), dtype="int32"), dtype="fp32"),
        lambda x: np.trunc(3.1 * x),
    ),
    "cast_to_half": (lambda x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"), lambda x: x),
    "logical_not": (
        lambda x: mb.cast(x=mb.logical_not(x=mb.cast(x=mb.relu(x=x), dtype="bool")), dtype="fp32"),
        lambda x: np.float64(x <= 0),
    ),
    # two inputs
    "add": binary("add", np.add),
    "add_vector": binary("add", np.add, OTHER[PER_CHANNEL]),
    "sub": (lambda x: mb.sub(x=PLANES, y=x), lambda x: PLANES - x),
    "mul": binary("mul", np.multiply, np.float32(1.7)),
    "real_div": (lambda x: mb.real_div(x=x, y=np.abs(PLANES) + 1), lambda x: x / (np.abs(PLANES) + 1)),
    "maximum": binary("maximum", np.maximum),
    "minimum": binary("minimum", np.minimum),
    "floor_div": binary("floor_div", np.floor_divide, np.float32(0.7)),
    "mod": binary("mod", np.mod, np.float32(0.7)),
    "pow": (lambda x: mb.pow(x=mb.abs(x=x), y=np.float32(1.5)), lambda x: abs(x) ** 1.5),
    "equal": comparison("equal", np.equal),
    "not_equal": comparison("not_equal", np.not_equal),
    "greater": comparison("greater", np.greater),
    "greater_equal": comparison("greater_equal", np.greater_equal),
    "less": comparison("less", np.less),
    "less_equal": comparison("less_equal", np.less_equal),
    "logical_and": logical("logical_and", np.logical_and),
    "logical_or": logical("logical_or", np.logical_or),
    "logical_xor": logical("logical_xor", np.logical_xor),
    "select": (
        lambda x: mb.select(cond=mb.greater(x=x, y=np.float32(0.2)), a=PLANES, b=x),
        lambda x: np.where(x > 0.2, PLANES, x),
    ),
    # matrix products
    "linear": (
        lambda x: mb.linear(x=mb.reshape(x=x, shape=[1, C * H, W]), weight=MATRIX, bias=MATRIX[:, 0]),
        lambda x: x.reshape(-1, C * H, W) @ MATRIX.T + MATRIX[:, 0],
    ),
    "linear_no_bias": (
        lambda x: mb.linear(x=mb.reshape(x=x, shape=[C * H, W]), weight=MATRIX),
        lambda x: x.reshape(-1, C * H, W) @ MATRIX.T,
    ),
    "matmul": (lambda x: mb.matmul(x=x, y=x, transpose_y=True), lambda x: x @ x.swapaxes(-1, -2)),
    "matmul_constant": (
        lambda x: mb.matmul(x=MATRIX, y=x, transpose_x=False, transpose_y=True),
        lambda x: MATRIX @ x.swapaxes(-1, -2),
    ),
    "matmul_transposed": (lambda x: mb.matmul(x=x, y=PLANES, transpose_x=True), lambda x: x.swapaxes(-1, -2) @ PLANES),
    "einsum": (
        lambda x: mb.einsum(values=(x, weight(1, W, H, 4)), equation="nchw,nwhu->nchu"),
        lambda x: np.einsum("nchw,whu->nchu", x, weight(1, W, H, 4)[0]),
    ),
    "attention": (
        lambda x: mb.scaled_dot_product_attention(query=x, key=mb.exp(x=x), value=mb.square(x=x)),
        lambda x: scipy.special.softmax(x @ np.exp(x).swapaxes(-1, -2) / np.sqrt(W), -1) @ x**2,
    ),
    # normalization
    "batch_norm": (
        lambda x: mb.batch_norm(x=x, mean=OTHER, variance=VECTOR, gamma=VECTOR, beta=OTHER, epsilon=0.1),
        lambda x: VECTOR[PER_CHANNEL] * (x - OTHER[PER_CHANNEL]) / np.sqrt(VECTOR[PER_CHANNEL] + 0.1)
        + OTHER[PER_CHANNEL],
    ),
    "batch_norm_plain": (
        lambda x: mb.batch_norm(x=x, mean=OTHER, variance=VECTOR / 1e4),
        lambda x: (x - OTHER[PER_CHANNEL]) / np.sqrt(VECTOR[PER_CHANNEL] / 1e4 + 1e-5),
    ),
    "instance_norm": (
        lambda x: mb.instance_norm(x=x, gamma=VECTOR, beta=OTHER, epsilon=0.1),
        lambda x: VECTOR[PER_CHANNEL] * normalized(x, (2, 3), 0.1) + OTHER[PER_CHANNEL],
    ),
    "instance_norm_plain": (
        lambda x: mb.instance_norm(x=mb.mul(x=x, y=np.float32(0.01))), lambda x: normalized(x * 0.01, (2, 3), 1e-5)),
    "layer_norm": (
        lambda x: mb.layer_norm(x=x, axes=[-2, -1], gamma=PLANES[0, 0], beta=PLANES[0, 1], epsilon=0.1),
        lambda x: PLANES[0, 0] * normalized(x, (2, 3), 0.1) + PLANES[0, 1],
    ),
    "layer_norm_channels": (
        lambda x: mb.layer_norm(x=x, axes=[1], gamma=VECTOR, beta=OTHER),
        lambda x: VECTOR[PER_CHANNEL] * normalized(x, (1,), 1e-5) + OTHER[PER_CHANNEL],
    ),
    "layer_norm_all": (lambda x: mb.layer_norm(x=x, axes=[0, 1, 2, 3]), lambda x: normalized(x, (1, 2, 3), 1e-5)),
    "l2_norm": unary(
        "l2_norm", lambda x: x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 0.5), epsilon=0.5),
    "local_response_norm": unary(
        "local_response_norm",
        lambda x: x / (2 + 0.9 / 3 * neighbours(x**2)) ** 0.6,
        size=3, alpha=0.9, beta=0.6, k=2.0,
    ),
    # reduction
    "reduce_argmax": (
        lambda x: mb.cast(x=mb.reduce_argmax(x=x, axis=2), dtype="fp32"), lambda x: np.float64(x.argmax(2))),
    "reduce_argmin": (
        lambda x: mb.cast(x=mb.reduce_argmin(x=x, keep_dims=True), dtype="fp32"), lambda x: np.float64(x.argmin(3))),
    "reduce_l1_norm": reduction("reduce_l1_norm", lambda x, axis: abs(x).sum(axis)),
    "reduce_l2_norm": reduction("reduce_l2_norm", lambda x, axis: np.sqrt((x**2).sum(axis))),
    "reduce_log_sum": (
        lambda x: mb.reduce_log_sum(x=mb.abs(x=x), axes=[1]), lambda x: np.log(abs(x).sum(1))),
    "reduce_log_sum_exp": reduction("reduce_log_sum_exp", scipy.special.logsumexp),
    "reduce_max": reduction("reduce_max", np.max),
    "reduce_mean": reduction("reduce_mean", np.mean),
    "reduce_min": reduction("reduce_min", np.min),
    "reduce_prod": (lambda x: mb.reduce_prod(x=x, axes=[1], keep_dims=True), lambda x: x.prod(1)),
    "reduce_sum": reduction("reduce_sum", np.sum),
    "reduce_sum_square": reduction("reduce_sum_square", lambda x, axis: (x**2).sum(axis)),
    "reduce_all": (lambda x: mb.reduce_mean(x=x), lambda x: x.mean((1, 2, 3))),
    # arrangement
    "transpose": unary("transpose", lambda x: x.transpose(0, 3, 1, 2), perm=[0, 3, 1, 2]),
    "transpose_batch": unary("transpose", lambda x: x.transpose(0, 2, 1, 3), perm=[2, 0, 1, 3]),
    "reshape": unary("reshape", lambda x: x, shape=[4, -1, 2]),
    "reshape_keeps": unary("reshape", lambda x: x, shape=[0, 0, -1, 4]),
    "expand_dims": unary("expand_dims", lambda x: x, axes=[-1]),
    "squeeze": (lambda x: mb.squeeze(x=mb.reduce_sum(x=x, axes=[2], keep_dims=True), axes=[2]), lambda x: x.sum(2)),
    "squeeze_all": (lambda x: mb.exp(x=mb.squeeze(x=mb.reduce_sum(x=x, axes=[2], keep_dims=True))),
                    lambda x: np.exp(x.sum(2))),
    "flatten2d": unary("flatten2d", lambda x: x, axis=-2),
    "tile": unary("tile", lambda x: np.tile(x, (1, 2, 1, 3)), reps=[1, 2, 1, 3]),
    "concat": (lambda x: mb.concat(values=[x, PLANES, x], axis=-2),
               lambda x: np.concatenate([x, PLANES.repeat(len(x), 0), x], 2)),
    "stack": (lambda x: mb.stack(values=[x, PLANES], axis=2),
              lambda x: np.stack([x, PLANES.repeat(len(x), 0)], 2)),
    "split": (lambda x: mb.concat(values=mb.split(x=x, num_splits=3, axis=1)[::-1], axis=1), lambda x: x[:, ::-1]),
    "split_sizes": (
        lambda x: mb.concat(values=mb.split(x=x, split_sizes=[1, 2, 5], axis=-1)[::-1], axis=-1),
        lambda x: np.concatenate([x[..., 3:], x[..., 1:3], x[..., :1]], -1),
    ),
    "slice": unary(
        "slice_by_index", lambda x: x[:, 1:, ::2, -6:-1], begin=[0, 1, 0, -6], end=[0, 9, 6, -1],
        stride=[1, 1, 2, 1], end_mask=[True, False, False, False],
    ),
    "slice_backwards": unary(
        "slice_by_index", lambda x: x[..., 6:2:-2], begin=[0, 0, 0, 6], end=[1, 3, 6, 2], stride=[1, 1, 1, -2]),
    "slice_masks": unary(
        "slice_by_index", lambda x: x[:, :, 2:, :3], begin=[7, 7, 2, 7], end=[0, 0, 0, 3],
        begin_mask=[True, True, False, True], end_mask=[True, True, True, False],
    ),
    "slice_squeeze": unary(
        "slice_by_index", lambda x: x[:, -1, :, 4], begin=[0, -1, 0, 4], end=[1, 0, 6, 0],
        squeeze_mask=[False, True, False, True],
    ),
    "slice_by_size": unary("slice_by_size", lambda x: x[:, 1:, 2:5], begin=[0, 1, 2, 0], size=[1, -1, 3, -1]),
    "pad": unary(
        "pad", lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), constant_values=0.7), pad=[1, 2, 0, 3],
        constant_val=0.7),
    "pad_zero": unary("pad", lambda x: np.pad(x, ((0, 0), (2, 0), (0, 0), (0, 0))), pad=[0, 0, 2, 0, 0, 0, 0, 0]),
    "pad_reflect": unary(
        "pad", lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), "reflect"), pad=[1, 2, 0, 3], mode="reflect"),
    "pad_replicate": unary(
        "pad", lambda x: np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), "edge"), pad=[1, 2, 0, 3], mode="replicate"),
    "reverse": unary("reverse", lambda x: x[:, :, ::-1, ::-1], axes=[-1, 2]),
    "cumsum": unary("cumsum", lambda x: x.cumsum(2), axis=2),
    "gather": unary("gather", lambda x: x[..., [5, 0, 0]], indices=[5, 0, 0], axis=-1),
    "fill": (lambda x: mb.add(x=x, y=mb.fill(shape=[H, W], value=0.3)), lambda x: x + 0.3),
    "fill_like": (lambda x: mb.add(x=x, y=mb.fill_like(ref_tensor=x, value=0.3)), lambda x: x + 0.3),
    "folded": (  # constants meet before they meet the image
        lambda x: mb.mul(x=x, y=mb.exp(x=mb.reduce_sum(x=PLANES, axes=[-1], keep_dims=True))),
        lambda x: x * np.exp(PLANES.sum(-1, keepdims=True)),
    ),
    "shape": (  # the size of an axis becomes a number to compute with
        lambda x: mb.mul(x=x, y=mb.cast(x=mb.reduce_prod(x=mb.shape(x=x), axes=[0]), dtype="fp32")),
        lambda x: x * (C * H * W),
    ),
}  # fmt: skip

GROUP = 12  # cases in one package: each package takes half a second


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    names = list(CASES)

    @cache
    def of_group(group: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        chosen = {name: CASES[name] for name in names[group * GROUP : (group + 1) * GROUP]}
        return program_answers(chosen, tmp_path_factory.mktemp("ops"))

    return lambda name: of_group(names.index(name) // GROUP)[name]


@pytest.mark.parametrize("name", CASES)
def test_operation(name: str, answers: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> None:
    answer, expected = answers(name)
    assert expected.std() > 1e-3, "a case that gives one value shows nothing"
    np.testing.assert_allclose(answer, expected, rtol=2e-5, atol=4e-6 * max(1, np.abs(expected).max()))


# Operations whose parameters have all their default values, and the parameters that say so.
DEFAULTS: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "conv": (lambda x: mb.conv(x=x, weight=weight(4, C, 3, 3)), ("strides", "pad_type", "pad", "dilations", "groups")),
    "conv_transpose": (
        lambda x: mb.conv_transpose(x=x, weight=weight(C, 2, 3, 2)),
        ("strides", "pad_type", "pad", "dilations", "groups"),
    ),
    "max_pool": (
        lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], pad_type="valid"), ("strides", "pad", "ceil_mode")),
    "avg_pool": (
        lambda x: mb.avg_pool(x=x, kernel_sizes=[3, 3], pad_type="same"),
        ("strides", "pad", "ceil_mode", "exclude_padding_from_average"),
    ),
    "upsample_bilinear": (lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2), (
        "scale_factor_width", "align_corners", "half_pixel_centers")),
    "resize_bilinear": (
        lambda x: mb.resize_bilinear(x=x, target_size_height=9), ("target_size_width", "sampling_mode")),
    "linear": (lambda x: mb.linear(x=mb.squeeze(x=x, axes=[0]), weight=MATRIX), ("bias",)),
    "matmul": (lambda x: mb.matmul(x=x, y=MATRIX.T), ("transpose_x", "transpose_y")),
    "gelu": (lambda x: mb.gelu(x=x), ("mode",)),
    "inverse": (lambda x: mb.inverse(x=x), ("epsilon",)),
    "log": (lambda x: mb.log(x=mb.relu(x=x)), ("epsilon",)),
    "rsqrt": (lambda x: mb.rsqrt(x=mb.relu(x=x)), ("epsilon",)),
    "softmax": (lambda x: mb.softmax(x=x), ("axis",)),
    "batch_norm": (
        lambda x: mb.batch_norm(x=x, mean=OTHER, variance=VECTOR / 1e4), ("gamma", "beta", "epsilon")),
    "instance_norm": (lambda x: mb.instance_norm(x=mb.mul(x=x, y=np.float32(0.01))), ("gamma", "beta", "epsilon")),
    "layer_norm": (
        lambda x: mb.layer_norm(x=mb.mul(x=x, y=np.float32(0.01)), axes=[0, 1, 2, 3]),
        ("axes", "gamma", "beta", "epsilon"),
    ),
    "l2_norm": (lambda x: mb.l2_norm(x=mb.mul(x=x, y=np.float32(1e-4))), ("epsilon",)),
    "local_response_norm": (lambda x: mb.local_response_norm(x=mb.mul(x=x, y=np.float32(50)), size=3), (
        "alpha", "beta", "k")),
    "reduce_sum": (lambda x: mb.reduce_sum(x=x), ("axes", "keep_dims")),
    "reduce_argmax": (
        lambda x: mb.cast(x=mb.reduce_argmax(x=x), dtype="fp32"), ("axis", "keep_dims", "output_dtype")),
    "concat": (lambda x: mb.concat(values=[x, x], axis=1), ("interleave",)),
    "cumsum": (lambda x: mb.cumsum(x=mb.squeeze(x=x, axes=[0])), ("axis", "exclusive", "reverse")),
    "flatten2d": (lambda x: mb.flatten2d(x=x), ("axis",)),
    "gather": (
        lambda x: mb.gather(x=mb.squeeze(x=x, axes=[0]), indices=[2, 0]), ("axis", "batch_dims", "validate_indices")),
    "pad": (lambda x: mb.pad(x=x, pad=[1, 2]), ("mode", "constant_val")),
    "reverse": (lambda x: mb.reverse(x=x, axes=[0, 1, 2, 3]), ("axes",)),
    "slice_by_index": (
        lambda x: mb.slice_by_index(x=x, begin=[0, 0, 1, 2], end=[1, 3, 5, 8]),
        ("stride", "begin_mask", "end_mask", "squeeze_mask"),
    ),
    "fill_like": (lambda x: mb.add(x=mb.fill_like(ref_tensor=x), y=x), ("value",)),
}  # fmt: skip


def test_parameters_left_out(tmp_path: Path) -> None:
    """coremltools writes most default values into the file; other tools need not."""

    def write(x: Any) -> Any:
        parts = [mb.reshape(x=operation(x), shape=[1, -1]) for operation, _ in DEFAULTS.values()]
        return mb.concat(values=parts, axis=1, name="joined")

    path, removed = tmp_path / "model.mlpackage", set()
    build_program(write).save(str(path))
    pixels = images((H, W, C), 3)
    expected = load(path).probabilities(pixels)

    def leave_out(spec: Any) -> None:
        for operation in block_of(spec).operations:
            for name in DEFAULTS.get(operation.type, (None, ()))[1]:
                if name in operation.inputs:
                    del operation.inputs[name]
                    removed.add((operation.type, name))

    found = load(change_program(path, leave_out)).probabilities(pixels)
    np.testing.assert_array_equal(found, expected)
    assert {"epsilon", "axis", "keep_dims", "pad_type", "strides", "mode"} <= {name for _, name in removed}
