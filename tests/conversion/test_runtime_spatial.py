"""Convolutions, pooling, padding and resampling written by hand, against the format's description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from tests.support.layers import KERNEL, OTHER, PER_CHANNEL, C, Case, H, Values, W, case, check_case

TAPS = KERNEL.transpose(2, 3, 0, 1)


def windows(x: Values, *, size: int, stride: int, pads: tuple[tuple[int, int], tuple[int, int]], fill: float) -> Values:
    padded = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=fill)
    every = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    return every[:, :, ::stride, ::stride]


def convolved(x: Values, pads: Any, *, strides: int = 1) -> Values:
    padded = np.pad(x, ((0, 0), (0, 0), *pads)).transpose(0, 2, 3, 1)
    return tf.nn.conv2d(padded, KERNEL, strides, "VALID").numpy().transpose(0, 3, 1, 2)


def spread(x: Values, kernel: Values, stride: int) -> Values:
    """Transposed convolution by its definition; kernel (channels, outputs, height, width)."""
    n, _, h, w = x.shape
    _, outputs, kh, kw = kernel.shape
    out = np.zeros((n, outputs, (h - 1) * stride + kh, (w - 1) * stride + kw))
    for i in range(h):
        for j in range(w):
            out[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw] += np.einsum(
                "nc,cohw->nohw", x[:, :, i, j], kernel
            )
    return out


def interpolated(x: Values, rows: Any, columns: Any) -> Values:
    grid = np.meshgrid(np.arange(x.shape[0]), np.arange(x.shape[1]), rows, columns, indexing="ij")
    return scipy.ndimage.map_coordinates(x, grid, order=1, mode="nearest")


def convolution(expected: Callable[[Values], Values], **options: Any) -> Case:
    settings = {
        "kernel_channels": C, "output_channels": 5, "height": 3, "width": 3, "stride_height": 1, "stride_width": 1,
        "border_mode": "valid", "groups": 1, "W": KERNEL, "b": None, "has_bias": False,
    }  # fmt: skip
    return case("convolution", expected, **{**settings, **options})


def pooling(mode: str, expected: Callable[[Values], Values], **options: Any) -> Case:
    settings = {"height": 3, "width": 3, "stride_height": 2, "stride_width": 2, "padding_type": "VALID"}
    return case("pooling", expected, layer_type=mode, **{**settings, **options})


CASES: dict[str, Case] = {
    "conv_explicit": convolution(
        lambda x: convolved(x, ((1, 0), (2, 3))), padding_top=1, padding_left=2, padding_right=3
    ),
    "conv_top_left": convolution(
        lambda x: convolved(x, ((1, 0), (1, 0)), strides=2),
        border_mode="same", stride_height=2, stride_width=2, same_padding_asymmetry_mode="TOP_LEFT_HEAVY",
    ),
    "conv_bottom_right": convolution(
        lambda x: convolved(x, ((0, 1), (0, 1)), strides=2), border_mode="same", stride_height=2, stride_width=2
    ),
    "deconv_valid": convolution(
        lambda x: spread(x, TAPS, 2)[:, :, 1:-2, 3:], is_deconv=True, stride_height=2, stride_width=2,
        padding_top=1, padding_bottom=2, padding_left=3, b=KERNEL[0, 0, 0] * 0, has_bias=True,
    ),
    "deconv_same": convolution(
        lambda x: spread(x, TAPS, 2)[:, :, :-1, :-1], is_deconv=True, stride_height=2, stride_width=2,
        border_mode="same",
    ),
    "deconv_same_top_left": convolution(
        lambda x: spread(x, TAPS, 2)[:, :, 1:, 1:], is_deconv=True, stride_height=2, stride_width=2,
        border_mode="same", same_padding_asymmetry_mode="TOP_LEFT_HEAVY",
    ),
    "deconv_groups": convolution(
        lambda x: np.concatenate([spread(x[:, :2], TAPS[:2, :2], 1), spread(x[:, 2:], TAPS[2:, :2], 1)], axis=1),
        is_deconv=True, groups=2, output_channels=4, W=KERNEL[..., :2],
    ),
    "conv_groups_bias": convolution(
        lambda x: np.concatenate(
            [
                tf.nn.conv2d(x[:, i : i + 2].transpose(0, 2, 3, 1), KERNEL[:, :, :2, o], 1, "VALID").numpy()
                for i, o in ((0, slice(0, 2)), (2, slice(2, 4)))
            ], axis=3,
        ).transpose(0, 3, 1, 2) + OTHER[PER_CHANNEL],
        groups=2, kernel_channels=2, output_channels=4, W=KERNEL[:, :, :2, :4], b=OTHER, has_bias=True,
    ),
    "max_pool_padded": pooling(
        "MAX", lambda x: windows(x, size=3, stride=2, pads=((1, 0), (1, 1)), fill=-np.inf).max((-1, -2)),
        padding_top=1, padding_left=1, padding_right=1,
    ),
    "max_pool_top_left": pooling(
        "MAX", lambda x: windows(x, size=3, stride=2, pads=((1, 0), (1, 0)), fill=-np.inf).max((-1, -2)),
        padding_type="SAME", same_padding_asymmetry_mode="TOP_LEFT_HEAVY",
    ),
    "average_pool_counting_padding": pooling(
        "AVERAGE", lambda x: windows(x, size=3, stride=2, pads=((1, 1), (1, 1)), fill=0).mean((-1, -2)),
        padding_top=1, padding_bottom=1, padding_left=1, padding_right=1, exclude_pad_area=False,
    ),
    "average_pool_last_pixel": pooling(
        "AVERAGE", lambda x: np.nanmean(windows(x, size=3, stride=2, pads=((0, 1), (0, 1)), fill=np.nan), (-1, -2)),
        padding_type="INCLUDE_LAST_PIXEL",
    ),
    "max_pool_last_pixel_padded": pooling(  # the formula drops a fourth row of windows, which would start in padding
        "MAX", lambda x: windows(x, size=3, stride=3, pads=((2, 2), (2, 2)), fill=-np.inf).max((-1, -2)),
        stride_height=3, stride_width=3, padding_type="INCLUDE_LAST_PIXEL",
        padding_top=2, padding_bottom=2, padding_left=2, padding_right=2,
    ),
    "l2_pool": pooling(
        "L2", lambda x: np.sqrt((windows(x, size=3, stride=2, pads=((0, 0), (0, 0)), fill=0) ** 2).sum((-1, -2)))
    ),
    "global_l2_pool": pooling("L2", lambda x: np.sqrt((x**2).sum((2, 3))), is_global=True),
    "pad_constant": case("padding", lambda x: np.pad(x, ((0, 0), (0, 0), (3, 0), (1, 2)), constant_values=0.3),
                         top=3, left=1, right=2, value=0.3),
    "pad_reflection": case("padding", lambda x: np.pad(x, ((0, 0), (0, 0), (3, 0), (1, 2)), mode="reflect"),
                           top=3, left=1, right=2, padding_type="reflection"),
    "pad_replication": case("padding", lambda x: np.pad(x, ((0, 0), (0, 0), (3, 0), (1, 2)), mode="edge"),
                            top=3, left=1, right=2, padding_type="replication"),
    "constant_pad": case("constant_pad", lambda x: np.pad(x, ((0, 0), (2, 1), (0, 3), (1, 0)), constant_values=0.3),
                         value=0.3, pad_amounts=[0, 0, 2, 1, 0, 3, 1, 0]),
    "crop": case("crop", lambda x: x[:, :, 1:-2, 3:], left=3, right=0, top=1, bottom=2, offset=[0, 0]),
    "upsample_nearest": case("upsample", lambda x: x.repeat(2, 2).repeat(3, 3),
                             scaling_factor_h=2, scaling_factor_w=3),
    **{
        f"upsample_{mode.lower()}": case(
            "upsample", lambda x, points=points: interpolated(x, points(H, 2 * H), points(W, 3 * W)),
            scaling_factor_h=2, scaling_factor_w=3, mode="BILINEAR", linear_upsample_mode=mode,
        )
        for mode, points in {
            "DEFAULT": lambda size, n: np.arange(n) * (size - size / n) / (n - 1),
            "ALIGN_CORNERS_TRUE": lambda size, n: np.arange(n) * (size - 1) / (n - 1),
            "ALIGN_CORNERS_FALSE": lambda size, n: np.clip((np.arange(n) + 0.5) * size / n - 0.5, 0, size - 1),
        }.items()
    },
    **{
        f"resize_{mode.lower()}": case(
            "resize_bilinear", lambda x, rows=rows, columns=columns: interpolated(x, rows, columns),
            target_height=4, target_width=11, mode=mode,
        )
        for mode, rows, columns in (
            ("STRICT_ALIGN_ENDPOINTS_MODE", np.linspace(0, 5, 4), np.linspace(0, 7, 11)),
            ("ALIGN_ENDPOINTS_MODE", np.linspace(0, 5, 4), np.linspace(0, 7, 11)),
            ("UPSAMPLE_MODE", np.linspace(0, 6 - 6 / 4, 4), np.linspace(0, 8 - 8 / 11, 11)),
            ("ROI_ALIGN_MODE", 5 / 8 + np.arange(4) * 5 / 4, 7 / 22 + np.arange(11) * 7 / 11),
        )
    },
    "resize_to_one": case("resize_bilinear", lambda x: interpolated(x, [2.5], [3.5]), mode="ALIGN_ENDPOINTS_MODE"),
    "space_to_depth": case(
        "reorganize_data", lambda x: tf.nn.space_to_depth(x.transpose(0, 2, 3, 1), 2).numpy().transpose(0, 3, 1, 2)
    ),
    "depth_to_space": case(
        "reorganize_data", lambda x: tf.nn.depth_to_space(x.transpose(0, 2, 3, 1), 2).numpy().transpose(0, 3, 1, 2),
        mode="DEPTH_TO_SPACE",
    ),
    "pixel_shuffle": case(
        "reorganize_data",
        lambda x: x.reshape(-1, 1, 2, 2, H, W).transpose(0, 1, 4, 2, 5, 3).reshape(-1, 1, 2 * H, 2 * W),
        mode="PIXEL_SHUFFLE",
    ),
}  # fmt: skip

RANK_5: dict[str, Case] = {
    "convolution": convolution(lambda x: convolved(x, ((0, 0), (0, 0)))),
    "pooling": pooling(
        "MAX", lambda x: windows(x, size=3, stride=2, pads=((0, 0), (0, 0)), fill=0).max((-1, -2))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_layer(name: str, tmp_path: Any) -> None:
    check_case(*CASES[name], tmp_path, rank5=False)


@pytest.mark.parametrize("name", RANK_5)
def test_layer_of_the_first_generation(name: str, tmp_path: Any) -> None:
    check_case(*RANK_5[name], tmp_path, rank5=True)
