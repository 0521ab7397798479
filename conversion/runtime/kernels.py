"""Convolution and pooling in NumPy, vectorised over the batch.

Arrays are (N, channels, height, width) to the caller, as Core ML describes them, but lie in memory with channels
last: the convolutions return such views, and elementwise operations keep the order. That makes every window a run
of adjacent floats, one matrix product per block of windows, and the transposition before a flatten free.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from conversion.runtime.interface import Array
from conversion.runtime.limits import PASS_COST, bounded, bounded_window, bounded_work

BLOCK_BYTES = 2**20  # windows gathered at a time: half an L2 cache or so; 0.5 to 4 MiB measured alike

Pair = tuple[int, int]  # height, width
Pads = tuple[Pair, Pair]  # (top, bottom), (left, right)

NO_PADS: Pads = ((0, 0), (0, 0))


def same_pads(size: Pair, window: Pair, stride: Pair, *, top_left_heavy: bool = False) -> Pads:
    """Padding after which a window at every `stride` gives ceil(size / stride) outputs.

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


def conv2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    pads: Pads = NO_PADS,
    groups: int = 1,
) -> Array:
    """Two-dimensional convolution.

    Args:
        x: (N, channels, height, width).
        kernel: (kernel height, kernel width, channels / groups, output channels), contiguous.
        bias: (output channels,) or None.
        stride: vertical and horizontal step.
        dilation: vertical and horizontal distance between the kernel's taps.
        pads: zeros added at (top, bottom), (left, right).
        groups: channels and output channels are cut into so many independent convolutions.

    Returns:
        (N, output channels, height, width), channels last in memory.

    Raises:
        ValueError: if the shapes do not fit.
        Unsupported: if the output or the work is beyond all measure.
    """
    kernel_height, kernel_width, group_channels, out_channels = kernel.shape
    if x.shape[1] != group_channels * groups or out_channels % groups:
        raise ValueError(
            f"{x.shape[1]} channels come in; its kernel takes {group_channels} x {groups} groups "
            f"and gives {out_channels}"
        )
    taps = (kernel_height, kernel_width)
    extent = _extent(taps, dilation)
    image = _pad_channels_last(x, pads)
    size = tuple((image.shape[i + 1] - extent[i]) // stride[i] + 1 for i in (0, 1))
    if min(size) < 1:
        raise ValueError(f"its kernel of {extent} does not fit into {image.shape[1:3]}")
    shape = bounded((image.shape[0], *size, out_channels))
    bounded_work(size[0] * size[1] * kernel.size)
    bounded((size[1], kernel_height * kernel_width * group_channels))  # one row of gathered windows
    out = np.empty(shape, np.float32)
    if group_channels == 1 and groups > 1:
        _depthwise(image, kernel.reshape(*taps, groups, -1), out, stride=stride, dilation=dilation)
        if bias is not None:
            out += bias
        return out.transpose(0, 3, 1, 2)
    bounded_window(groups)
    group_outputs = out_channels // groups
    for group in range(groups):
        outputs = slice(group * group_outputs, (group + 1) * group_outputs)
        inputs = slice(group * group_channels, (group + 1) * group_channels)
        _convolve(
            image[..., inputs],
            np.ascontiguousarray(kernel[..., outputs]).reshape(-1, group_outputs),
            None if bias is None else bias[outputs],
            out[..., outputs],
            taps=taps,
            stride=stride,
            dilation=dilation,
        )
    return out.transpose(0, 3, 1, 2)


def _convolve(
    image: Array, matrix: Array, bias: Array | None, out: Array, *, taps: Pair, stride: Pair, dilation: Pair
) -> None:
    """Gather windows in blocks that stay in the cache, and multiply each block with the kernel's matrix."""
    extent = _extent(taps, dilation)
    windows = sliding_window_view(image, extent, axis=(1, 2))
    windows = windows[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]].transpose(0, 1, 2, 4, 5, 3)
    count, height, width, out_channels = out.shape
    size = matrix.shape[0]  # of a window
    rows = max(1, BLOCK_BYTES // (width * size * 4))
    images = max(1, rows // height)
    rows = min(rows, height)
    buffer = np.empty(min(images, count) * rows * width * size, np.float32)
    for first in range(0, count, images):
        for top in range(0, height, rows):
            source = windows[first : first + images, top : top + rows]
            target = out[first : first + images, top : top + rows]
            product = np.matmul(
                _gathered(source, buffer[: source.size]),
                matrix,
                out=target.reshape(-1, out_channels) if target.flags.c_contiguous else None,
            )
            if bias is not None:
                product += bias
            if not target.flags.c_contiguous:  # one of several groups
                target[...] = product.reshape(target.shape)


def _gathered(windows: Array, buffer: Array) -> Array:
    """Windows (n, rows, columns, taps high, taps wide, channels) as a matrix of one window per row."""
    size = math.prod(windows.shape[3:])
    if windows.flags.c_contiguous:  # a kernel of one tap
        return windows.reshape(-1, size)
    if windows.shape[5] > 1:
        np.copyto(buffer.reshape(windows.shape), windows)
        return buffer.reshape(-1, size)
    # One channel: a window is no longer made of long runs of floats, but the same tap of a row of windows is.
    by_tap = windows.transpose(3, 4, 5, 0, 1, 2)
    np.copyto(buffer.reshape(by_tap.shape), by_tap)
    return buffer.reshape(size, -1).T


def _depthwise(image: Array, kernel: Array, out: Array, *, stride: Pair, dilation: Pair) -> None:
    """One kernel per channel: a multiply-add over the block for each of the kernel's taps."""
    taps_high, taps_wide, channels, multiplier = kernel.shape
    bounded_window(taps_high * taps_wide)
    count, height, width = out.shape[:3]
    bounded_work(PASS_COST * height * width * kernel.size)
    grouped = out.reshape(count, height, width, channels, multiplier)
    images = max(1, BLOCK_BYTES // (grouped[0].size * 4))
    product = np.empty((images, *grouped.shape[1:]), np.float32)
    for first in range(0, count, images):
        target = grouped[first : first + images]
        target[...] = 0
        for i in range(taps_high):
            down = slice(i * dilation[0], i * dilation[0] + (height - 1) * stride[0] + 1, stride[0])
            for j in range(taps_wide):
                right = slice(j * dilation[1], j * dilation[1] + (width - 1) * stride[1] + 1, stride[1])
                shifted = image[first : first + images, down, right, :, None]
                target += np.multiply(shifted, kernel[i, j], out=product[: len(target)])


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
    """Transposed convolution: every pixel spreads its kernel over the output.

    Args:
        x: (N, channels, height, width).
        kernel: (kernel height, kernel width, output channels / groups, channels), contiguous.
        bias: (output channels,) or None.
        stride: distance in the output between neighbouring pixels of the input.
        crop: rows and columns cut from the top and the left of the full output.
        size: height and width of the output; by default all that the kernel reaches after the crop.
        groups: channels and output channels are cut into so many independent convolutions.

    Returns:
        (N, output channels, height, width), channels last in memory.

    Raises:
        ValueError: if the shapes do not fit.
        Unsupported: if the output or the work is beyond all measure.
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
                spread = pixels @ kernel[i, j, :, inputs].T
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
    """Maximum, average or root of the sum of squares over windows.

    Args:
        x: (N, channels, height, width).
        mode: "MAX", "AVERAGE" or "L2".
        window: height and width.
        stride: vertical and horizontal step.
        pads: border around the image that windows may cover.
        size: height and width of the output, if windows may reach beyond the border; by default all that fit.
        count_padding: whether an average counts the border's zeros; the ground beyond it is never counted.

    Returns:
        (N, channels, height, width).

    Raises:
        ValueError: if the shapes do not fit.
        Unsupported: if the output or the work is beyond all measure.
    """
    bounded_window(window[0] * window[1] if min(window) > 1 else max(window))
    padded = [x.shape[i + 2] + sum(pads[i]) for i in (0, 1)]
    size = size or ((padded[0] - window[0]) // stride[0] + 1, (padded[1] - window[1]) // stride[1] + 1)
    if min(size) < 1:
        raise ValueError(f"its window of {window} does not fit into {tuple(padded)}")
    bounded_work(PASS_COST * x.shape[1] * size[0] * (padded[1] * window[0] + size[1] * window[1]))
    reach = [max(0, (size[i] - 1) * stride[i] + window[i] - padded[i]) for i in (0, 1)]
    full: Pads = ((pads[0][0], pads[0][1] + reach[0]), (pads[1][0], pads[1][1] + reach[1]))
    image = _pad_channels_last(x, full, value=-np.inf if mode == "MAX" else 0.0)
    if mode != "MAX":  # sums of what float32 holds may be more than it does
        image = image.astype(np.float64)
    if mode == "L2":
        image = np.square(image)
    reduce: Any = np.maximum if mode == "MAX" else np.add
    for axis in (0, 1):  # a maximum or a sum over a rectangle is one over its rows, then over its columns
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
    """How many positions of each window hold a pixel, or a pixel or border."""
    starts = np.arange(size) * stride - pads[0]
    first, last = (-pads[0], length + pads[1]) if border else (0, length)
    covered = np.minimum(starts + window, last) - np.maximum(starts, first)
    if covered.min() < 1:
        raise ValueError("one of its windows covers no pixel")
    return covered.astype(np.float32)


def _pad_channels_last(x: Array, pads: Pads, value: float = 0.0) -> Array:
    """(N, channels, height, width) to contiguous (N, height, width, channels) with a border."""
    image = x.transpose(0, 2, 3, 1)
    (top, bottom), (left, right) = pads
    if not (top or bottom or left or right):
        return np.ascontiguousarray(image)
    count, height, width, channels = image.shape
    padded = np.full(bounded((count, height + top + bottom, width + left + right, channels)), value, np.float32)
    padded[:, top : top + height, left : left + width] = image
    return padded


def _extent(taps: Pair, dilation: Pair) -> Pair:
    return (taps[0] - 1) * dilation[0] + 1, (taps[1] - 1) * dilation[1] + 1
