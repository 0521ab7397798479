"""Layers that coremltools' converter seldom or never writes, written by hand, against the format's description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

from tests.support.layers import (
    OTHER,
    PER_CHANNEL,
    PLANES,
    VECTOR,
    C,
    Case,
    H,
    Values,
    W,
    binary,
    case,
    check_case,
    joined,
)


def activation(kind: str, parameters: Any, expected: Callable[[Values], Values]) -> Case:
    return case("activation", expected, non_linearity=kind, params=parameters)


def unary(mode: str, expected: Callable[[Values], Values], **options: Any) -> Case:
    return case("unary", expected, mode=mode, **options)


CASES: dict[str, Case] = {
    "scaled_tanh": activation("SCALED_TANH", [1.3, 0.6], lambda x: 1.3 * np.tanh(0.6 * x)),
    "sigmoid_hard": activation("SIGMOID_HARD", [0.3, 0.4], lambda x: np.clip(0.3 * x + 0.4, 0, 1)),
    "linear": activation("LINEAR", [0.3, 0.4], lambda x: 0.3 * x + 0.4),
    "thresholded_relu": activation("THRESHOLDEDRELU", 0.7, lambda x: np.where(x >= 0.7, x, 0)),
    "softplus": activation("SOFTPLUS", None, lambda x: np.log1p(np.exp(x))),
    "softsign": activation("SOFTSIGN", None, lambda x: x / (1 + abs(x))),
    "elu": activation("ELU", 0.6, lambda x: np.where(x >= 0, x, 0.6 * (np.exp(x) - 1))),
    "prelu": activation("PRELU", OTHER, lambda x: np.where(x >= 0, x, OTHER[PER_CHANNEL] * x)),
    "prelu_one": activation("PRELU", np.array([0.3]), lambda x: np.where(x >= 0, x, 0.3 * x)),
    "parametric_softplus": activation(
        "PARAMETRICSOFTPLUS",
        [VECTOR, OTHER],
        lambda x: VECTOR[PER_CHANNEL] * np.log1p(np.exp(OTHER[PER_CHANNEL] * x)),
    ),
    "sqrt": unary("sqrt", lambda x: np.sqrt(0.5 * x + 3), scale=0.5, shift=3),
    "rsqrt": unary("rsqrt", lambda x: 1 / np.sqrt(x + 3 + 0.1), shift=3, epsilon=0.1),
    "inverse": unary("inverse", lambda x: 1 / (2 * x + 5 + 0.1), scale=2, shift=5, epsilon=0.1),
    "inverse_default_epsilon": (
        joined(("unary", {"input_name": "x", "output_name": "a", "mode": "abs", "scale": 1e-6}),
               ("unary", {"input_name": "a", "output_name": "output", "mode": "inverse", "epsilon": 0})),
        lambda x: 1 / (1e-6 * abs(x) + 1e-6),
    ),
    "exp_default_scale": unary("exp", np.exp, scale=0),  # zero stands for one
    "power": unary("power", lambda x: (x + 3) ** 1.5, shift=3, alpha=1.5),
    "square": unary("power", lambda x: x**2, alpha=2),
    "exp": unary("exp", lambda x: np.exp(-x), scale=-1),
    "log": unary("log", lambda x: np.log(x + 3), shift=3),
    "abs": unary("abs", lambda x: abs(x - 0.4), shift=-0.4),
    "threshold": unary("threshold", lambda x: np.maximum(0.3, 2 * x - 1), alpha=0.3, scale=2, shift=-1),
    "bias": case("bias", lambda x: x + OTHER[PER_CHANNEL], b=OTHER, shape_bias=[C]),
    "bias_planes": case("bias", lambda x: x + PLANES, b=PLANES, shape_bias=[C, H, W]),
    "scale": case("scale", lambda x: x * VECTOR[PER_CHANNEL] + PLANES[:1], W=VECTOR, b=PLANES[:1], has_bias=True,
                  shape_scale=[C], shape_bias=[1, H, W]),
    "scale_one": case("scale", lambda x: x * 1.7, W=np.float32(1.7), b=None, has_bias=False, shape_scale=[1]),
    "softmax": case("softmax", lambda x: scipy.special.softmax(x, 1)),
    "softmax_nd": case("softmax_nd", lambda x: scipy.special.softmax(x, 2), axis=2),
    "batchnorm": case(
        "batchnorm",
        lambda x: VECTOR[PER_CHANNEL] * (x - OTHER[PER_CHANNEL]) / np.sqrt(VECTOR[PER_CHANNEL] + 0.1)
        + OTHER[PER_CHANNEL],
        channels=C, gamma=VECTOR, beta=OTHER, mean=OTHER, variance=VECTOR, epsilon=0.1,
    ),
    "batchnorm_instance": case(
        "batchnorm",
        lambda x: VECTOR[PER_CHANNEL] * (x - x.mean((2, 3), keepdims=True))
        / np.sqrt(x.var((2, 3), keepdims=True) + 0.1) + OTHER[PER_CHANNEL],
        channels=C, gamma=VECTOR, beta=OTHER, compute_mean_var=True, instance_normalization=True, epsilon=0.1,
    ),
    "mvn": case("mvn", lambda x: (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 0.1),
                across_channels=False, epsilon=0.1),
    "mvn_across": case("mvn", lambda x: x - x.mean((1, 2, 3), keepdims=True), normalize_variance=False),
    "l2_normalize": case("l2_normalize", lambda x: x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + 0.1),
                         epsilon=0.1),
    "layer_normalization": case(
        "layer_normalization",
        lambda x: PLANES[0] * (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 0.1)
        + PLANES[1],
        normalized_shape=[H, W], gamma=PLANES[0], beta=PLANES[1], eps=0.1,
    ),
    "lrn": case(
        "lrn",
        lambda x: x
        / (1.5 + 0.2 * np.stack([(x[:, max(0, c - 1) : c + 2] ** 2).sum(1) for c in range(C)], axis=1)) ** 0.7,
        alpha=0.6, beta=0.7, local_size=3, k=1.5,
    ),
    **{
        f"reduce_{mode}_{axis}": case("reduce", lambda x, f=f, axes=axes: f(x, axes), axis=axis, mode=mode)
        for mode, axis, axes, f in (
            ("sum", "CHW", (1, 2, 3), np.sum),
            ("avg", "HW", (2, 3), np.mean),
            ("prod", "H", 2, np.prod),
            ("max", "W", 3, np.max),
            ("min", "C", 1, np.min),
            ("sumsquare", "C", 1, lambda x, axes: (x**2).sum(axes)),
            ("L1", "HW", (2, 3), lambda x, axes: abs(x).sum(axes)),
            ("L2", "HW", (2, 3), lambda x, axes: np.sqrt((x**2).sum(axes))),
            ("argmax", "W", 3, np.argmax),
        )
    },
    **{
        f"reduce_nd_{name}": case(f"reduce_{name}", lambda x, f=f: f(x), axes=[-1, 1], keepdims=False)
        for name, f in {
            "l1": lambda x: abs(x).sum((1, 3)),
            "l2": lambda x: np.sqrt((x**2).sum((1, 3))),
            "sumsquare": lambda x: (x**2).sum((1, 3)),
            "logsumexp": lambda x: scipy.special.logsumexp(x, (1, 3)),
        }.items()
    },
    "reduce_nd_prod": case("reduce_prod", lambda x: x.prod(1), axes=[1], keepdims=False),
    "reduce_all": case("reduce_sum", lambda x: x.sum((1, 2, 3)), reduce_all=True, keepdims=False),
    "argmin": case("argmin", lambda x: x.argmin(2), axis=-2, keepdims=False),
    "flatten_first": case("flatten", lambda x: x, mode=0),
    "flatten_last": case("flatten", lambda x: x.transpose(0, 2, 3, 1), mode=1),
    "flatten_to_2d": case("flatten_to_2d", lambda x: x, axis=2),
    "split": (
        joined(("split", {"input_name": "x", "output_names": ["a", "b"]}),
               ("elementwise", {"input_names": ["b", "a"], "output_name": "output", "mode": "CONCAT"})),
        lambda x: np.concatenate([x[:, 2:], x[:, :2]], 1),
    ),
    "split_nd": (
        joined(("split_nd", {"input_name": "x", "output_names": ["a", "b"], "axis": -1, "split_sizes": [3, 5]}),
               ("concat_nd", {"input_names": ["b", "a"], "output_name": "output", "axis": -1})),
        lambda x: np.concatenate([x[..., 3:], x[..., :3]], -1),
    ),
    "concat_with_constant": (
        joined(("load_constant_nd", {"output_name": "c", "constant_value": PLANES[:1], "shape": (1, 1, H, W)}),
               ("concat_nd", {"input_names": ["x", "c"], "output_name": "output", "axis": 1})),
        lambda x: np.concatenate([x, np.broadcast_to(PLANES[:1], (len(x), 1, H, W))], 1),
    ),
    "slice": case("slice", lambda x: x[:, :, 1:-1:2], axis="height", start_index=1, end_index=-1, stride=2),
    "slice_static": case(
        "slice_static", lambda x: x[:, 1:, 2, -2:0:-3],
        begin_ids=[0, 1, 2, -2], end_ids=[0, 0, 3, 0], strides=[1, 1, 1, -3],
        begin_masks=[True, False, False, False], end_masks=[True, True, False, False],
        squeeze_masks=[False, False, True, False],
    ),
    "tile": case("tile", lambda x: np.tile(x, (1, 2, 1, 3)), reps=[1, 2, 1, 3]),
    "reverse": case("reverse", lambda x: x[:, ::-1, :, ::-1], reverse_dim=[False, True, False, True]),
    "transpose_batch": (  # the file moves its own batch axis: images must stay apart
        joined(("transpose", {"axes": (3, 1, 0, 2), "input_name": "x", "output_name": "t"}),
               ("squeeze", {"input_name": "t", "output_name": "output", "axes": [2]})),
        lambda x: x.transpose(0, 3, 1, 2),
    ),
    "expand_and_squeeze": (
        joined(("expand_dims", {"input_name": "x", "output_name": "e", "axes": [0, -2]}),
               ("squeeze", {"input_name": "e", "output_name": "s", "squeeze_all": True}),
               ("softmax_nd", {"input_name": "s", "output_name": "output", "axis": 0})),
        lambda x: scipy.special.softmax(x, 1),
    ),
    "rank_preserving": (
        joined(("rank_preserving_reshape", {"input_name": "x", "output_name": "r", "output_shape": (0, 2, -1, W)}),
               ("softmax_nd", {"input_name": "r", "output_name": "output", "axis": 2})),
        lambda x: scipy.special.softmax(x.reshape(len(x), 2, -1, W), 2),
    ),
    "stack": (
        joined(("copy", {"input_name": "x", "output_name": "c"}),
               ("stack", {"input_names": ["x", "c"], "output_name": "s", "axis": -1}),
               ("softmax_nd", {"input_name": "s", "output_name": "output", "axis": 1})),
        lambda x: scipy.special.softmax(np.stack([x, x], -1), 1),
    ),
    "broadcast_to": (
        joined(("reduce_max", {"input_name": "x", "output_name": "m", "axes": [1, 2], "keepdims": True}),
               ("broadcast_to_static", {"input_name": "m", "output_name": "output", "output_shape": (1, 2, 3, W)})),
        lambda x: np.broadcast_to(x.max((1, 2), keepdims=True), (len(x), 2, 3, W)),
    ),
    "matmul": (
        joined(("transpose", {"axes": (0, 1, 3, 2), "input_name": "x", "output_name": "t"}),
               ("batched_mat_mul", {"input_names": ["x", "t"], "output_name": "output"})),
        lambda x: x @ x.swapaxes(2, 3),
    ),
    "matmul_transposed": case("batched_mat_mul", lambda x: x.swapaxes(2, 3) @ x, input_names=["x", "x"],
                              transpose_a=True),
    "matmul_constant": (
        joined(("load_constant_nd", {"output_name": "c", "constant_value": PLANES[0], "shape": (H, W)}),
               ("batched_mat_mul", {"input_names": ["c", "x"], "output_name": "output", "transpose_b": True})),
        lambda x: PLANES[0] @ x.swapaxes(2, 3),
    ),
    "matmul_weights": case(
        "batched_mat_mul", lambda x: x @ PLANES[0].T + PLANES[0, :, 0],
        weight_matrix_rows=W, weight_matrix_columns=H, W=PLANES[0].T, bias=PLANES[0, :, 0],
    ),
    "inner_product_planes": case(
        "inner_product", lambda x: x.reshape(len(x), -1) @ PLANES.ravel()[:, None] + 0.3,
        W=PLANES.reshape(1, -1), b=np.array([0.3]), input_channels=C * H * W, output_channels=1, has_bias=True,
    ),
    "add_scalar": case("elementwise", lambda x: x + 0.3, mode="ADD", alpha=0.3, input_names="x"),
    "multiply_scalar": case("elementwise", lambda x: x * 0.3, mode="MULTIPLY", alpha=0.3, input_names="x"),
    **{name: binary("elementwise", f, mode=name.upper())
       for name, f in {"add": np.add, "multiply": np.multiply, "max": np.maximum, "min": np.minimum,
                       "ave": lambda a, b: (a + b) / 2}.items()},
    **{f"{name}_broadcastable": binary(f"{name}_broadcastable", f)
       for name, f in {"floor_div": np.floor_divide, "mod": np.mod, "divide": np.divide, "max": np.maximum,
                       "min": np.minimum, "subtract": np.subtract}.items()},
    "pow_broadcastable": (
        joined(("unary", {"input_name": "x", "output_name": "a", "mode": "abs"}),
               ("load_constant_nd", {"output_name": "c", "constant_value": VECTOR, "shape": (C, 1, 1)}),
               ("pow_broadcastable", {"input_names": ["a", "c"], "output_name": "output"})),
        lambda x: abs(x) ** VECTOR[PER_CHANNEL],
    ),
    "greater_than": binary("greater_than", np.greater),
    "greater_than_number": case("greater_than", lambda x: x > 0.3, alpha=0.3),
    "greater_equal_number": case("greater_than", lambda x: x >= 0.3, alpha=0.3, use_greater_than_equal=True),
    "less_than_number": case("less_than", lambda x: x < 0.3, alpha=0.3),
    "less_equal": binary("less_than", np.less_equal, use_less_than_equal=True),
    **{
        f"logical_{mode.lower()}": (
            joined(("greater_than", {"input_names": ["x"], "output_name": "g", "alpha": 0.2}),
                   ("less_than", {"input_names": ["x"], "output_name": "l", "alpha": 0.9}),
                   ("logical", {"input_names": ["g", "l"], "output_name": "output", "mode": mode})),
            lambda x, f=f: f(x > 0.2, x < 0.9),
        )
        for mode, f in (("AND", np.logical_and), ("XOR", np.logical_xor))
    },
    "logical_or_not": (
        joined(("greater_than", {"input_names": ["x"], "output_name": "g", "alpha": 0.9}),
               ("less_than", {"input_names": ["x"], "output_name": "l", "alpha": 0.2}),
               ("logical", {"input_names": ["g", "l"], "output_name": "o", "mode": "OR"}),
               ("logical", {"input_names": ["o"], "output_name": "output", "mode": "NOT"})),
        lambda x: ~((x > 0.9) | (x < 0.2)),
    ),
    "where": (
        joined(("greater_than", {"input_names": ["x"], "output_name": "g", "alpha": 0.2}),
               ("load_constant_nd", {"output_name": "c", "constant_value": OTHER, "shape": (C, 1, 1)}),
               ("where_broadcastable", {"input_names": ["g", "x", "c"], "output_name": "output"})),
        lambda x: np.where(x > 0.2, x, OTHER[PER_CHANNEL]),
    ),
    "broadcast_lower_rank": (
        joined(("reduce_max", {"input_name": "x", "output_name": "m", "axes": [0, 1, 2], "keepdims": False}),
               ("subtract_broadcastable", {"input_names": ["x", "m"], "output_name": "output"})),
        lambda x: x - x.max((1, 2))[:, None, None],
    ),
    "relu_of_what_is_read_later": (  # it must not overwrite its input
        joined(("activation", {"input_name": "x", "output_name": "r", "non_linearity": "RELU"}),
               ("subtract_broadcastable", {"input_names": ["r", "x"], "output_name": "output"})),
        lambda x: np.maximum(x, 0) - x,
    ),
    "clip": case("clip", lambda x: np.clip(x, -0.4, 0.6), min_value=-0.4, max_value=0.6),
    "clamped_relu": case("clamped_relu", lambda x: np.minimum(0.6, np.where(x >= 0, x, 0.2 * x)), alpha=0.2, beta=0.6),
    "erf": case("erf", scipy.special.erf),
    "gelu": case("gelu", lambda x: x * scipy.special.ndtr(x)),
    "gelu_tanh": case(
        "gelu", lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), mode="TANH_APPROXIMATION"
    ),
    "gelu_sigmoid": case("gelu", lambda x: x * scipy.special.expit(1.702 * x), mode="SIGMOID_APPROXIMATION"),
    **{name: case(name, getattr(np, name)) for name in ("sin", "cos", "sinh", "cosh", "tanh", "ceil", "floor",
                                                        "sign", "exp2")},
    **{name: case(name, getattr(np, f"arc{name[1:]}")) for name in ("atan", "asinh")},
    **{
        name: (
            joined(("unary", {"input_name": "x", "output_name": "u", "mode": "abs", "scale": 0.2}),
                   (name, {"input_name": "u", "output_name": "output"})),
            lambda x, f=f: f(abs(0.2 * x)),
        )
        for name, f in (("tan", np.tan), ("asin", np.arcsin), ("acos", np.arccos), ("atanh", np.arctanh))
    },
}  # fmt: skip

RANK_5: dict[str, Case] = {
    "permute": case("permute", lambda x: x.transpose(0, 3, 1, 2), dim=(0, 3, 1, 2)),
    "permute_sequence": (
        joined(("permute", {"dim": (2, 1, 0, 3), "input_name": "x", "output_name": "p"}),
               ("softmax", {"input_name": "p", "output_name": "output"})),
        lambda x: scipy.special.softmax(x, 1).transpose(0, 2, 1, 3),
    ),
    "reshape_first": (
        joined(("reshape", {"target_shape": (2, 8, 12), "mode": 0, "input_name": "x", "output_name": "r"}),
               ("softmax", {"input_name": "r", "output_name": "output"})),
        lambda x: scipy.special.softmax(x.reshape(-1, 2, 8, 12), 1),
    ),
    "reshape_last": (
        joined(("reshape", {"target_shape": (2, 8, 12), "mode": 1, "input_name": "x", "output_name": "r"}),
               ("softmax", {"input_name": "r", "output_name": "output"})),
        lambda x: scipy.special.softmax(
            x.transpose(0, 2, 3, 1).reshape(-1, 8, 12, 2).transpose(0, 3, 1, 2), 1),
    ),
    "load_constant": (
        joined(("load_constant", {"output_name": "c", "constant_value": OTHER, "shape": [C, 1, 1]}),
               ("elementwise", {"input_names": ["x", "c"], "output_name": "output", "mode": "MULTIPLY"})),
        lambda x: x * OTHER[PER_CHANNEL],
    ),
    "inner_product": case(
        "inner_product", lambda x: x.reshape(len(x), -1) @ PLANES.ravel()[:, None],
        W=PLANES.reshape(1, -1), b=None, input_channels=C * H * W, output_channels=1, has_bias=False,
    ),
    "sequence_concat": case("elementwise", lambda x: np.stack([x, x], 1), mode="SEQUENCE_CONCAT",
                            input_names=["x", "x"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_layer(name: str, tmp_path: Any) -> None:
    check_case(*CASES[name], tmp_path, rank5=False)


@pytest.mark.parametrize("name", RANK_5)
def test_layer_of_the_first_generation(name: str, tmp_path: Any) -> None:
    check_case(*RANK_5[name], tmp_path, rank5=True)
