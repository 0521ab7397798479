"""Operations on planes, written by hand with every kind of padding, against the definition position by position."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb

from tests.support.layers import OpCase, Values, program_answers

C, H, W = 3, 6, 8


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def convolved(
    x: Values,
    kernel: np.ndarray,
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
) -> Values:
    """The definition, position by position."""
    x = np.pad(x, ((0, 0), (0, 0), pads[:2], pads[2:]))
    outputs, inputs, high, wide = kernel.shape
    rows = (x.shape[2] - (high - 1) * dilation[0] - 1) // stride[0] + 1
    columns = (x.shape[3] - (wide - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((len(x), outputs, rows, columns))
    for o, i, j in np.ndindex(outputs, rows, columns):
        group = o // (outputs // groups)
        for c, k, m in np.ndindex(inputs, high, wide):
            row, column = i * stride[0] + k * dilation[0], j * stride[1] + m * dilation[1]
            out[:, o, i, j] += kernel[o, c, k, m] * x[:, group * inputs + c, row, column]
    return out


def spread(
    x: Values,
    kernel: np.ndarray,
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
) -> Values:
    """The definition of a transposed convolution, position by position."""
    inputs, group_outputs, high, wide = kernel.shape
    rows = (x.shape[2] - 1) * stride[0] + (high - 1) * dilation[0] + 1
    columns = (x.shape[3] - 1) * stride[1] + (wide - 1) * dilation[1] + 1
    out = np.zeros((len(x), group_outputs * groups, rows, columns))
    for c, o, i, j, k, m in np.ndindex(inputs, group_outputs, x.shape[2], x.shape[3], high, wide):
        to = c // (inputs // groups) * group_outputs + o
        out[:, to, i * stride[0] + k * dilation[0], j * stride[1] + m * dilation[1]] += (
            kernel[c, o, k, m] * x[:, c, i, j]
        )
    return out[:, :, pads[0] : rows - pads[1], pads[2] : columns - pads[3]]


def pooled(
    x: Values,
    reduce: Callable[[Values], Values],
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    size: tuple[int, int] | None = None,
) -> Values:
    """The definition, window by window; padding is NaN, so that it can be counted or not."""
    x = np.pad(x, ((0, 0), (0, 0), pads[:2], pads[2:]), constant_values=np.nan)
    size = size or ((x.shape[2] - window[0]) // stride[0] + 1, (x.shape[3] - window[1]) // stride[1] + 1)
    out = np.zeros((*x.shape[:2], *size))
    for i, j in np.ndindex(*size):
        top, left = i * stride[0], j * stride[1]
        out[:, :, i, j] = reduce(x[:, :, top : top + window[0], left : left + window[1]].reshape(*x.shape[:2], -1))
    return out


def largest(x: Values) -> Values:
    return np.nanmax(x, axis=-1)


def mean_of_pixels(x: Values) -> Values:
    return np.nanmean(x, axis=-1)


def mean_with_padding(x: Values) -> Values:
    return np.nan_to_num(x).mean(axis=-1)


def root_of_squares(x: Values) -> Values:
    return np.sqrt(np.nansum(x**2, axis=-1))


def conv(kernel: np.ndarray, bias: np.ndarray | None = None, **options: Any) -> Callable[[Any], Any]:
    return lambda x: mb.conv(x=x, weight=kernel, **({} if bias is None else {"bias": bias}), **options)


def on_rows(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """An operation on the planes' rows, that is on a blob of one spatial dimension."""
    return lambda x: build(mb.reshape(x=x, shape=[1, C * H, W]))


def rows(x: Values) -> Values:
    return x.reshape(len(x), C * H, 1, W)


def resized(x: Values, points: np.ndarray, axis: int) -> Values:
    """Linear interpolation at points along an axis."""
    points = np.clip(points, 0, x.shape[axis] - 1)
    low = np.floor(points).astype(int)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    share = (points - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return x.take(low, axis) * (1 - share) + x.take(high, axis) * share


def resize_bilinear(mode: str, rows: np.ndarray, columns: np.ndarray) -> OpCase:
    return (
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=len(rows), target_size_width=len(columns), sampling_mode=mode
        ),
        lambda x: resized(resized(x, rows, 2), columns, 3),
    )


def blocks_of(x: Values, order: str) -> Values:
    """Channels into 2 x 2 blocks: order "block" if the channels run through the blocks first."""
    count, channels, height, width = x.shape
    out = np.zeros((count, channels // 4, 2 * height, 2 * width))
    for c, i, j in np.ndindex(channels // 4, 2, 2):
        source = (i * 2 + j) * (channels // 4) + c if order == "block" else c * 4 + i * 2 + j
        out[:, c, i::2, j::2] = x[:, source]
    return out


def four_channels(x: Values) -> Values:
    return np.concatenate([x, x[:, :1] ** 2], axis=1)


def to_four(x: Any) -> Any:
    """Four channels out of three."""
    return mb.concat(values=[x, mb.square(x=mb.slice_by_size(x=x, begin=[0, 0, 0, 0], size=[1, 1, H, W]))], axis=1)


K = weight(4, C, 3, 3)
EVEN = weight(4, C, 2, 4)
DEPTHWISE = weight(6, 1, 3, 3)
SPREAD = weight(C, 2, 3, 2)
ROWS = weight(4, C * H, 3)
BIAS = np.float32([0.1, -0.2, 0.3, -0.4])
GRID = np.arange


def pool(name: str, expected: Callable[[Values], Values], **options: Any) -> OpCase:
    """Pooling by windows of 3 x 2 every 2 x 3 positions."""
    extra = {key: options.pop(key) for key in ("pads", "size") if key in options}
    return (
        lambda x: getattr(mb, name)(x=x, kernel_sizes=[3, 2], strides=[2, 3], **options),
        lambda x: pooled(x, expected, window=(3, 2), stride=(2, 3), **extra),
    )


CASES: dict[str, OpCase] = {
    "conv": (conv(K, BIAS), lambda x: convolved(x, K) + BIAS[:, None, None]),
    "conv_custom": (
        conv(K, strides=[2, 1], pad_type="custom", pad=[2, 0, 1, 3]),
        lambda x: convolved(x, K, stride=(2, 1), pads=(2, 0, 1, 3)),
    ),
    "conv_same": (conv(EVEN, pad_type="same"), lambda x: convolved(x, EVEN, pads=(0, 1, 1, 2))),
    "conv_same_lower": (conv(EVEN, pad_type="same_lower"), lambda x: convolved(x, EVEN, pads=(1, 0, 2, 1))),
    "conv_same_stride": (
        conv(K, strides=[2, 3], pad_type="same"), lambda x: convolved(x, K, stride=(2, 3), pads=(0, 1, 0, 1))),
    "conv_pads_unused": (conv(K, pad_type="valid", pad=[1, 1, 1, 1]), lambda x: convolved(x, K)),
    "conv_dilated": (
        conv(K, dilations=[2, 3], pad_type="same"),
        lambda x: convolved(x, K, dilation=(2, 3), pads=(2, 2, 3, 3)),
    ),
    "conv_depthwise": (conv(DEPTHWISE, groups=3), lambda x: convolved(x, DEPTHWISE, groups=3)),
    "conv_groups": (
        lambda x: conv(weight(6, 2, 2, 2), groups=2)(to_four(x)),
        lambda x: convolved(four_channels(x), weight(6, 2, 2, 2), groups=2),
    ),
    "conv_rows": (
        on_rows(conv(ROWS, BIAS, strides=[2], pad_type="custom", pad=[2, 1])),
        lambda x: convolved(rows(x), ROWS[:, :, None], stride=(1, 2), pads=(0, 0, 2, 1)) + BIAS[:, None, None],
    ),
    "conv_transpose": (
        lambda x: mb.conv_transpose(x=x, weight=SPREAD, bias=BIAS[:2], strides=[2, 3]),
        lambda x: spread(x, SPREAD, stride=(2, 3)) + BIAS[:2, None, None],
    ),
    "conv_transpose_custom": (
        lambda x: mb.conv_transpose(x=x, weight=SPREAD, strides=[2, 2], pad_type="custom", pad=[1, 2, 0, 1]),
        lambda x: spread(x, SPREAD, stride=(2, 2), pads=(1, 2, 0, 1)),
    ),
    "conv_transpose_same": (
        lambda x: mb.conv_transpose(x=x, weight=SPREAD, strides=[2, 1], pad_type="same"),
        lambda x: spread(x, SPREAD, stride=(2, 1), pads=(0, 1, 0, 1)),
    ),
    "conv_transpose_dilated": (
        lambda x: mb.conv_transpose(x=x, weight=SPREAD, dilations=[2, 3]),
        lambda x: spread(x, SPREAD, dilation=(2, 3)),
    ),
    "conv_transpose_groups": (
        lambda x: mb.conv_transpose(x=to_four(x), weight=weight(4, 3, 2, 2), groups=2),
        lambda x: spread(four_channels(x), weight(4, 3, 2, 2), groups=2),
    ),
    "conv_transpose_stated": (  # a row and a column more than the kernels reach
        lambda x: mb.conv_transpose(x=x, weight=SPREAD, strides=[2, 2], pad_type="valid", output_shape=[1, 2, 14, 17]),
        lambda x: np.pad(spread(x, SPREAD, stride=(2, 2)), ((0, 0), (0, 0), (0, 1), (0, 1))),
    ),
    "conv_transpose_rows": (
        on_rows(lambda x: mb.conv_transpose(x=x, weight=weight(C * H, 2, 3), strides=[2])),
        lambda x: spread(rows(x), weight(C * H, 2, 3)[:, :, None], stride=(1, 2)),
    ),
    "max_pool": pool("max_pool", largest, pad_type="valid"),
    "max_pool_custom": pool("max_pool", largest, pad_type="custom", pad=[1, 0, 0, 1], pads=(1, 0, 0, 1)),
    "max_pool_ceiling": pool("max_pool", largest, pad_type="valid", ceil_mode=True, size=(3, 3)),
    "max_pool_ceiling_padding": (  # a last window that would see nothing but padding is left out
        lambda x: mb.max_pool(
            x=x, kernel_sizes=[2, 2], strides=[4, 5], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True
        ),
        lambda x: pooled(x, largest, window=(2, 2), stride=(4, 5), pads=(1, 1, 1, 1), size=(2, 2)),
    ),
    "max_pool_same_lower": (
        lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], strides=[1, 1], pad_type="same_lower"),
        lambda x: pooled(x, largest, window=(2, 2), stride=(1, 1), pads=(1, 0, 1, 0)),
    ),
    "max_pool_rows": (
        on_rows(lambda x: mb.max_pool(x=x, kernel_sizes=[3], strides=[2], pad_type="valid")),
        lambda x: pooled(rows(x), largest, window=(1, 3), stride=(1, 2)),
    ),
    "avg_pool": pool("avg_pool", mean_of_pixels, pad_type="valid"),
    "avg_pool_padding": pool("avg_pool", mean_with_padding, pad_type="custom", pad=[1, 0, 0, 1], pads=(1, 0, 0, 1)),
    "avg_pool_no_padding": pool(
        "avg_pool", mean_of_pixels, pad_type="custom", pad=[1, 0, 0, 1], pads=(1, 0, 0, 1),
        exclude_padding_from_average=True,
    ),
    "avg_pool_same": pool(
        "avg_pool", mean_of_pixels, pad_type="same", pads=(0, 1, 0, 0), exclude_padding_from_average=True),
    "l2_pool": pool("l2_pool", root_of_squares, pad_type="custom", pad=[1, 0, 0, 1], pads=(1, 0, 0, 1)),
    "crop": (lambda x: mb.crop(x=x, crop_height=[1, 2], crop_width=[0, 3]), lambda x: x[:, :, 1:4, :5]),
    "upsample_nearest": (
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
        lambda x: x.repeat(2, 2).repeat(3, 3),
    ),
    "resize_nearest": (
        lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=12, target_size_width=8),
        lambda x: x.repeat(2, 2),
    ),
    "upsample_bilinear": (
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=3),
        lambda x: resized(resized(x, np.linspace(0, H - 1, 2 * H), 2), np.linspace(0, W - 1, 3 * W), 3),
    ),
    "upsample_bilinear_centres": (
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False),
        lambda x: resized(resized(x, (GRID(2 * H) + 0.5) / 2 - 0.5, 2), (GRID(3 * W) + 0.5) / 3 - 0.5, 3),
    ),
    "upsample_bilinear_left": (
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False, half_pixel_centers=False
        ),
        lambda x: resized(resized(x, GRID(2 * H) / 2, 2), GRID(3 * W) / 3, 3),
    ),
    "resize_strict": resize_bilinear("STRICT_ALIGN_CORNERS", np.linspace(0, 5, 4), np.linspace(0, 7, 11)),
    "resize_align": resize_bilinear("ALIGN_CORNERS", np.array([2.5]), np.linspace(0, 7, 11)),
    "resize_default": resize_bilinear("DEFAULT", GRID(4) * 6 / 4, GRID(11) * 8 / 11),
    "resize_offset": resize_bilinear("OFFSET_CORNERS", (GRID(4) + 0.5) * 5 / 4, (GRID(11) + 0.5) * 7 / 11),
    "resize_unalign": resize_bilinear(
        "UNALIGN_CORNERS", (GRID(4) + 0.5) * 6 / 4 - 0.5, (GRID(11) + 0.5) * 8 / 11 - 0.5),
    "depth_to_space": (
        lambda x: mb.depth_to_space(x=mb.tile(x=to_four(x), reps=[1, 2, 1, 1]), block_size=2),
        lambda x: blocks_of(np.tile(four_channels(x), (1, 2, 1, 1)), "block"),
    ),
    "pixel_shuffle": (
        lambda x: mb.pixel_shuffle(x=mb.tile(x=to_four(x), reps=[1, 2, 1, 1]), upscale_factor=2),
        lambda x: blocks_of(np.tile(four_channels(x), (1, 2, 1, 1)), "channel"),
    ),
    "space_to_depth": (
        lambda x: mb.reduce_sum(x=mb.space_to_depth(x=x, block_size=2), axes=[2]),
        lambda x: np.stack([x[:, c, i::2, j::2].sum(1) for i, j, c in np.ndindex(2, 2, C)], 1),
    ),
    "pixel_unshuffle": (
        lambda x: mb.reduce_sum(x=mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)), axes=[2]),
        lambda x: np.stack([x[:, c, i::2, j::2].sum(1) for c, i, j in np.ndindex(C, 2, 2)], 1),
    ),
}  # fmt: skip

GROUP = 12  # cases in one package: each package takes half a second


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    names = list(CASES)

    @cache
    def of_group(group: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        chosen = {name: CASES[name] for name in names[group * GROUP : (group + 1) * GROUP]}
        return program_answers(chosen, tmp_path_factory.mktemp("spatial"))

    return lambda name: of_group(names.index(name) // GROUP)[name]


@pytest.mark.parametrize("name", CASES)
def test_operation(name: str, answers: Callable[[str], tuple[np.ndarray, np.ndarray]]) -> None:
    answer, expected = answers(name)
    assert expected.std() > 1e-3, "a case that gives one value shows nothing"
    np.testing.assert_allclose(answer, expected, rtol=0, atol=4e-6 * max(1, np.abs(expected).max()))
