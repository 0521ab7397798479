"""Convolution in NumPy, in blocks of windows; the operations that follow are applied while a block is in the cache.

Arrays are (N, channels, height, width) for the caller, as in Core ML, but channels are last in memory. So each row of a
window is contiguous, and a block of windows is one matrix product.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from conversion.runtime.blocks import Block, blocks, each
from conversion.runtime.interface import Array
from conversion.runtime.kernels import NO_PADS, Pads, Pair, extent_of, pad_channels_last
from conversion.runtime.limits import PASS_COST, bounded, bounded_window, bounded_work
from conversion.runtime.precision import matmul, taps_summed

WINDOW_BYTES = 2**20  # windows gathered at a time: about half an L2 cache; 0.5 to 4 MiB were equally fast
OUTPUT_ELEMENTS = 2**17  # per block
LEAST_WINDOWS = 128  # per block: with fewer rows, a matrix product is slow
DEPTHWISE_ELEMENTS = 2**17  # per block of the output: 2**16 to 2**18 were equally fast

KEPT_ELEMENTS = 2**20  # of windows: memory that a thread keeps

_kept = threading.local()

# Changes a block (n, channels, rows, width) of the output in place.
Epilogue = Callable[[Array, Block], None]


class Convolution:
    """A two-dimensional convolution with its weights.

    Args:
        kernel: (kernel height, kernel width, channels / groups, output channels), contiguous.
        bias: (output channels,) or None.
        stride: vertical and horizontal step.
        dilation: vertical and horizontal distance between the kernel's taps.
        groups: number of independent convolutions that the channels are divided into.
    """

    def __init__(
        self,
        kernel: Array,
        bias: Array | None = None,
        *,
        stride: Pair = (1, 1),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> None:
        self._kernel, self._bias, self._stride, self._dilation = kernel, bias, stride, dilation
        self._groups = groups
        self._taps = (kernel.shape[0], kernel.shape[1])
        self._rows_of_taps: tuple[int, Array] | None = None  # a width, and the result of `_taps_along` for it

    def __call__(self, x: Array, *, pads: Pads = NO_PADS, finish: Epilogue | None = None) -> Array:
        """Convolve a batch.

        Args:
            x: (N, channels, height, width).
            pads: zeros added at (top, bottom), (left, right).
            finish: applied to each block of the output.

        Returns:
            (N, output channels, height, width), channels last in memory.

        Raises:
            ValueError: if the shapes do not fit.
            Unsupported: if the output or the work exceeds the limits.
        """
        group_channels, out_channels = self._kernel.shape[2:]
        if x.shape[1] != group_channels * self._groups or out_channels % self._groups:
            raise ValueError(
                f"{x.shape[1]} channels come in; its kernel takes {group_channels} x {self._groups} groups "
                f"and gives {out_channels}"
            )
        extent = extent_of(self._taps, self._dilation)
        padded = [x.shape[i + 2] + sum(pads[i]) for i in (0, 1)]
        size = tuple((padded[i] - extent[i]) // self._stride[i] + 1 for i in (0, 1))
        if min(size) < 1:
            raise ValueError(f"its kernel of {extent} does not fit into {tuple(padded)}")
        shape = bounded((x.shape[0], *size, out_channels))
        bounded_work(size[0] * size[1] * self._kernel.size)
        bounded((size[1], math.prod(self._kernel.shape[:3])))  # one row of gathered windows
        image = pad_channels_last(x, pads)
        out = np.empty(shape, np.float32)
        if group_channels == 1 and self._groups > 1:
            self._depthwise(image, out, finish)
        else:
            self._grouped(image, out, finish)
        return out.transpose(0, 3, 1, 2)

    def _grouped(self, image: Array, out: Array, finish: Epilogue | None) -> None:
        bounded_window(self._groups)
        group_channels, group_outputs = self._kernel.shape[2], self._kernel.shape[3] // self._groups
        for group in range(self._groups):
            outputs = slice(group * group_outputs, (group + 1) * group_outputs)
            inputs = slice(group * group_channels, (group + 1) * group_channels)
            self._convolve(
                image[..., inputs],
                np.ascontiguousarray(self._kernel[..., outputs]).reshape(-1, group_outputs),
                None if self._bias is None else self._bias[outputs],
                out[..., outputs],
                finish if self._groups == 1 else None,
            )
        if finish and self._groups > 1:
            self._finished(out, finish)

    def _convolve(self, image: Array, matrix: Array, bias: Array | None, out: Array, finish: Epilogue | None) -> None:
        """Gather windows in blocks that fit into the cache, and multiply each block by the kernel's matrix."""
        windows = sliding_window_view(image, extent_of(self._taps, self._dilation), axis=(1, 2))
        windows = windows[:, :: self._stride[0], :: self._stride[1], :, :: self._dilation[0], :: self._dilation[1]]
        windows = windows.transpose(0, 1, 2, 4, 5, 3)
        count, height, width, out_channels = out.shape
        size = matrix.shape[0]  # of a window
        whole = out.flags.c_contiguous  # false for one of several groups
        most = min(OUTPUT_ELEMENTS // out_channels, WINDOW_BYTES // 4 // size)

        def work(block: Block) -> None:
            source, target = windows[block], out[block]
            flat = target.reshape(-1, out_channels) if whole else None
            product = matmul(_gathered(source), matrix, out=flat)
            if bias is not None:
                product += bias
            if not whole:
                target[...] = product.reshape(target.shape)
            if finish:
                finish(target.transpose(0, 3, 1, 2), block)

        each(work, blocks(count, height, rows=max(most, LEAST_WINDOWS) // width))

    def _depthwise(self, image: Array, out: Array, finish: Epilogue | None) -> None:
        """Apply one kernel per channel: multiply rows of the image by equally long rows of taps, all taps in one call.

        `np.einsum` multiplies and adds in one pass, which is twice as fast as a product and a sum.
        """
        taps_high, taps_wide = self._taps
        multiplier = self._kernel.shape[3] // self._groups
        bounded_window(taps_high * taps_wide)
        count, height, width, channels = out.shape
        bounded_work(PASS_COST * height * width * self._kernel.size)
        taps = self._taps_along(width)
        down, right = self._stride
        if multiplier > 1:
            image = image.repeat(multiplier, axis=3)
        results = out.reshape(count, height, width * channels)
        # Every `right`th column from the first, the second, ...: in one of these, a tap's inputs are adjacent.
        every = right // math.gcd(right, self._dilation[1])  # after this many taps, the same columns repeat
        sources = []
        for first in range(min(every, taps_wide)):
            column, phase = divmod(first * self._dilation[1], right)
            columns = np.ascontiguousarray(image[:, :, phase::right]).reshape(*image.shape[:2], -1)
            after = every * self._dilation[1] // right * channels  # from one tap of these to the next
            runs = len(range(first, taps_wide, every))
            windows = _runs(columns[:, :, column * channels :], width * channels, after=after, count=runs)
            sources.append((windows, taps[:, first::every]))

        def work(block: Block) -> None:
            target = results[block]
            lines = slice(block.rows.start * down, None)
            tall = {"rows": target.shape[1], "stride": down, "dilation": self._dilation[0], "taps": taps_high}
            for place, (windows, along) in enumerate(sources):
                seen = _tall(windows[block.images, lines], **tall)
                if not place:
                    taps_summed(seen, along, out=target)
                else:
                    target += taps_summed(seen, along)
            if self._bias is not None:
                view = out[block]
                view += self._bias
            if finish:
                finish(out[block].transpose(0, 3, 1, 2), block)

        each(work, blocks(count, height, rows=DEPTHWISE_ELEMENTS // (width * channels)))

    def _taps_along(self, width: int) -> Array:
        """Return the taps of a depthwise kernel, repeated for a row of the output: (high, wide, width * channels)."""
        kept = self._rows_of_taps
        if kept is None or kept[0] != width:
            bounded((*self._taps, width * self._kernel.shape[3]))
            kept = width, np.tile(self._kernel.reshape(*self._taps, -1), (1, 1, width))
            self._rows_of_taps = kept  # another thread may do the same
        return kept[1]

    def _finished(self, out: Array, finish: Epilogue) -> None:
        rows = OUTPUT_ELEMENTS // (out.shape[2] * out.shape[3])
        each(lambda block: finish(out[block].transpose(0, 3, 1, 2), block), blocks(*out.shape[:2], rows=rows))


def _runs(lines: Array, length: int, *, after: int, count: int) -> Array:
    """View lines (n, rows, floats) as overlapping runs (n, rows, count, length), each `after` floats later."""
    runs = sliding_window_view(lines, length, axis=2)
    return runs[:, :, : (count - 1) * after + 1 : max(after, 1)]


def _tall(runs: Array, *, rows: int, stride: int, dilation: int, taps: int) -> Array:
    """View runs (n, lines, count, length) as windows (n, rows, taps, count, length) of lines."""
    windows = sliding_window_view(runs, (taps - 1) * dilation + 1, axis=1)
    return windows[:, : (rows - 1) * stride + 1 : stride, :, :, ::dilation].transpose(0, 1, 4, 2, 3)


def _gathered(windows: Array) -> Array:
    """Copy windows (n, rows, columns, taps high, taps wide, channels) to a matrix with one window per row."""
    size = math.prod(windows.shape[3:])
    if windows.flags.c_contiguous:  # a kernel with one tap
        return windows.reshape(-1, size)
    buffer = _buffer(windows.size)
    if windows.shape[5] > 1:
        np.copyto(buffer.reshape(windows.shape), windows)
        return buffer.reshape(-1, size)
    # With one channel, a window has no long contiguous runs, but the same tap of a row of windows does.
    by_tap = windows.transpose(3, 4, 5, 0, 1, 2)
    np.copyto(buffer.reshape(by_tap.shape), by_tap)
    return buffer.reshape(size, -1).T


def _buffer(size: int) -> Array:
    """Return floats for this thread's next block; reusing memory is a twentieth faster than allocating it."""
    kept: Array | None = getattr(_kept, "buffer", None)
    if kept is None or kept.size < size:
        kept = np.empty(size, np.float32)
        if size <= KEPT_ELEMENTS:
            _kept.buffer = kept
    return kept[:size]
