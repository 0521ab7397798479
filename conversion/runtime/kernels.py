"""Transposed convolution and pooling in NumPy, vectorised over the batch.

Arrays are (N, channels, height, width) for the caller, as in Core ML, but channels are last in memory. Kernels return
such views, and elementwise operations keep the order. So each row of a window is contiguous, and the transposition
before a flatten costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from conversion.runtime.interface import Array
from conversion.runtime.limits import PASS_COST, bounded, bounded_window, bounded_work
from conversion.runtime.precision import matmul

Pair = tuple[int, int]  # height, width
Pads = tuple[Pair, Pair]  # (top, bottom), (left, right)

NO_PADS: Pads = ((0, 0), (0, 0))


def same_pads(size: Pair, window: Pair, stride: Pair, *, top_left_heavy: bool = False) -> Pads:
    """Return the padding for which a window at every `stride` gives ceil(size / stride) outputs.

    >>> same_pads((28, 28), (3, 4), (1, 2))
    ((1, 1), (1, 1))
    >>> same_pads((28, 28), (2, 2), (1, 1), top_left_heavy=True)
    ((1, 0), (1, 0))
    """
    pads = []
    for length, extent, step in zip(size, window, stride, strict=True):
        total = max(0, (-(-length // step) - 1) * step + extent - length)
        small, large = total // 2, total - total // 2
        pads.append((large, small) if top_left_heavy else (small, large))
    return pads[0], pads[1]


def deconv2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Pair = (1, 1),
    crop: Pair = (0, 0),
    size: Pair | None = None,
    groups: int = 1,
) -> Array:
    """Compute a transposed convolution: every pixel spreads its kernel over the output.

    Args:
        x: (N, channels, height, width).
        kernel: (kernel height, kernel width, output channels / groups, channels), contiguous.
        bias: (output channels,) or None.
        stride: distance in the output between neighbouring pixels of the input.
        crop: rows and columns removed from the top and the left of the full output.
        size: height and width of the output; by default everything that the kernel reaches after the crop.
        groups: number of independent convolutions that the channels are divided into.

    Returns:
        (N, output channels, height, width), channels last in memory.

    Raises:
        ValueError: if the shapes do not fit.
        Unsupported: if the output or the work exceeds the limits.
    """
    kernel_height, kernel_width, group_outputs, channels = kernel.shape
    count, _, height, width = x.shape
    if x.shape[1] != channels or channels % groups:
        raise ValueError(f"{x.shape[1]} channels come in; its kernel takes {channels} in {groups} groups")
    bounded_window(kernel_height * kernel_width * groups)
    bounded_work(height * width * kernel.size)
    bounded_work(PASS_COST * height * width * kernel_height * kernel_width * group_outputs * groups)
    full = ((height - 1) * stride[0] + kernel_height, (width - 1) * stride[1] + kernel_width)
    size = size or (full[0] - crop[0], full[1] - crop[1])
    canvas_size = (max(full[0], crop[0] + size[0]), max(full[1], crop[1] + size[1]))
    canvas = np.zeros(bounded((count, *canvas_size, group_outputs * groups)), np.float32)
    bounded((count, *size, group_outputs * groups))
    image = x.transpose(0, 2, 3, 1)
    group_channels = channels // groups
    for group in range(groups):
        inputs = slice(group * group_channels, (group + 1) * group_channels)
        outputs = slice(group * group_outputs, (group + 1) * group_outputs)
        pixels = np.ascontiguousarray(image[..., inputs]).reshape(-1, group_channels)
        for i in range(kernel_height):
            down = slice(i, i + (height - 1) * stride[0] + 1, stride[0])
            for j in range(kernel_width):
                right = slice(j, j + (width - 1) * stride[1] + 1, stride[1])
                spread = matmul(pixels, kernel[i, j, :, inputs].T)
                canvas[:, down, right, outputs] += spread.reshape(count, height, width, group_outputs)
    if bias is not None:
        canvas += bias
    return canvas[:, crop[0] : crop[0] + size[0], crop[1] : crop[1] + size[1]].transpose(0, 3, 1, 2)


def pool2d(
    x: Array,
    mode: str,
    *,
    window: Pair,
    stride: Pair,
    pads: Pads = NO_PADS,
    size: Pair | None = None,
    count_padding: bool = False,
) -> Array:
    """Compute the maximum, average or root of the sum of squares over windows.

    Args:
        x: (N, channels, height, width).
        mode: "MAX", "AVERAGE" or "L2".
        window: height and width.
        stride: vertical and horizontal step.
        pads: border around the image that windows may cover.
        size: height and width of the output, if windows may extend beyond the border; by default all that fit.
        count_padding: whether an average includes the border's zeros; what is beyond the border never counts.

    Returns:
        (N, channels, height, width).

    Raises:
        ValueError: if the shapes do not fit.
        Unsupported: if the output or the work exceeds the limits.
    """
    bounded_window(window[0] * window[1] if min(window) > 1 else max(window))
    padded = [x.shape[i + 2] + sum(pads[i]) for i in (0, 1)]
    size = size or ((padded[0] - window[0]) // stride[0] + 1, (padded[1] - window[1]) // stride[1] + 1)
    if min(size) < 1:
        raise ValueError(f"its window of {window} does not fit into {tuple(padded)}")
    bounded_work(PASS_COST * x.shape[1] * size[0] * (padded[1] * window[0] + size[1] * window[1]))
    reach = [max(0, (size[i] - 1) * stride[i] + window[i] - padded[i]) for i in (0, 1)]
    full: Pads = ((pads[0][0], pads[0][1] + reach[0]), (pads[1][0], pads[1][1] + reach[1]))
    image = pad_channels_last(x, full, value=-np.inf if mode == "MAX" else 0.0)
    if mode != "MAX":  # sums of float32 values may overflow
        image = image.astype(np.float64)
    if mode == "L2":
        image = np.square(image)
    reduce: Any = np.maximum if mode == "MAX" else np.add
    for axis in (0, 1):  # maximum and sum over a rectangle are separable
        image = _pool_axis(reduce, image, axis + 1, window=window[axis], stride=stride[axis], size=size[axis])
    if mode == "L2":
        image = np.sqrt(image)
    elif mode == "AVERAGE":
        counts = [
            _covered(x.shape[i + 2], pads[i], window=window[i], stride=stride[i], size=size[i], border=count_padding)
            for i in (0, 1)
        ]
        image = image / (counts[0][:, None] * counts[1])[:, :, None]
    return image.astype(np.float32, copy=False).transpose(0, 3, 1, 2)


def _pool_axis(reduce: Any, image: Array, axis: int, *, window: int, stride: int, size: int) -> Array:
    """Reduce windows along one axis with a ufunc."""
    whole: list[slice] = [slice(None)] * image.ndim
    if size == 1:
        whole[axis] = slice(window)
        return reduce.reduce(image[tuple(whole)], axis=axis, keepdims=True)
    parts = []
    for offset in range(window):
        whole[axis] = slice(offset, offset + (size - 1) * stride + 1, stride)
        parts.append(image[tuple(whole)])
    result = reduce(parts[0], parts[1]) if window > 1 else parts[0]
    for part in parts[2:]:
        reduce(result, part, out=result)
    return result


def _covered(length: int, pads: Pair, *, window: int, stride: int, size: int, border: bool) -> Array:
    """Return how many positions of each window are on a pixel, or on a pixel or the border."""
    starts = np.arange(size) * stride - pads[0]
    first, last = (-pads[0], length + pads[1]) if border else (0, length)
    covered = np.minimum(starts + window, last) - np.maximum(starts, first)
    if covered.min() < 1:
        raise ValueError("one of its windows covers no pixel")
    return covered.astype(np.float32)


def pad_channels_last(x: Array, pads: Pads, value: float = 0.0) -> Array:
    """Convert (N, channels, height, width) to contiguous (N, height, width, channels) with a border."""
    image = x.transpose(0, 2, 3, 1)
    (top, bottom), (left, right) = pads
    if not (top or bottom or left or right):
        return np.ascontiguousarray(image)
    count, height, width, channels = image.shape
    padded = np.full(bounded((count, height + top + bottom, width + left + right, channels)), value, np.float32)
    padded[:, top : top + height, left : left + width] = image
    return padded


def extent_of(taps: Pair, dilation: Pair) -> Pair:
    """Return height and width that a dilated kernel covers."""
    return (taps[0] - 1) * dilation[0] + 1, (taps[1] - 1) * dilation[1] + 1
