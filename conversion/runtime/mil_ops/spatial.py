"""Operations on planes of (channels, height, width): convolution, pooling, cropping, resampling.

With one spatial dimension, planes have height 1; three dimensions are not supported.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from conversion.runtime.arrays import by_planes, planes
from conversion.runtime.convolution import Convolution, Epilogue
from conversion.runtime.functions import (
    depth_to_space,
    pixel_shuffle,
    pixel_unshuffle,
    resize_bilinear,
    space_to_depth,
    upsample_nearest,
)
from conversion.runtime.fusion import Finishing
from conversion.runtime.interface import Array
from conversion.runtime.kernels import NO_PADS, Pads, Pair, deconv2d, pool2d, same_pads
from conversion.runtime.limits import MAX_BLOB_ELEMENTS, Unsupported, bounded
from conversion.runtime.mil_ops.op import Op, OpBuilder
from conversion.runtime.network import Operation

PAD_TYPES = ("valid", "custom", "same", "same_lower")

# Names in `functions.GRIDS`, by the names in this format.
SAMPLING = {
    "STRICT_ALIGN_CORNERS": "STRICT_ALIGN_ENDPOINTS_MODE",
    "ALIGN_CORNERS": "ALIGN_ENDPOINTS_MODE",
    "DEFAULT": "DEFAULT",
    "OFFSET_CORNERS": "ROI_ALIGN_MODE",
    "UNALIGN_CORNERS": "ALIGN_CORNERS_FALSE",
}


def _on_planes(op: Op, compute: Callable[..., Array]) -> Callable[..., Array]:
    """Call with (N, channels, height, width), whether the file's blob has one or two spatial dimensions."""
    if op.rank() not in (3, 4):
        raise Unsupported(f"it reads a blob of rank {op.rank()}; 3 and 4 are known")
    if op.rank() == 4:
        return by_planes(compute, least=4)

    def run_flat(x: Array) -> Array:
        image, lead = planes(x[..., None, :], least=4)
        out = compute(image)
        return out.reshape(*lead, out.shape[1], out.shape[3])

    return run_flat


def _pads(op: Op) -> tuple[str, Pads]:
    """Return the kind of padding, and the amounts for the kind `custom`."""
    kind, amounts = op.text("pad_type", PAD_TYPES, "valid"), op.integers("pad", (0, 0, 0, 0))
    amounts = (0, 0, *amounts) if len(amounts) == 2 else amounts
    if kind != "custom":  # the converter writes amounts anyway
        return kind, NO_PADS
    if len(amounts) != 4 or min(amounts) < 0:
        raise ValueError(f"its padding is {amounts}")
    return kind, ((amounts[0], amounts[1]), (amounts[2], amounts[3]))


def _weights(op: Op) -> tuple[Array, Array | None, int]:
    """Return the stored kernel of a convolution of `x`, its bias, and its groups."""
    op.read("x")
    return op.weight("weight"), op.weight("bias") if op.has("bias") else None, op.integer("groups", 1)


def _conv(op: Op) -> Operation:
    stored, bias, groups = _weights(op)
    stride, dilation = op.pair("strides", (1, 1)), op.pair("dilations", (1, 1))
    kind, custom = _pads(op)
    taps = _taps(op, stored, groups=groups)
    if bias is not None and bias.shape != (taps.shape[3],):
        raise ValueError(f"its bias has the shape {bias.shape} for {taps.shape[3]:,} channels")
    extent = ((taps.shape[0] - 1) * dilation[0] + 1, (taps.shape[1] - 1) * dilation[1] + 1)

    convolution = Convolution(taps, bias, stride=stride, dilation=dilation, groups=groups)

    def compute(x: Array, finish: Epilogue | None = None) -> Array:
        pads = custom
        if kind.startswith("same"):
            pads = same_pads(x.shape[2:], extent, stride, top_left_heavy=kind == "same_lower")
        return convolution(x, pads=pads, finish=finish)

    run = _on_planes(op, compute)
    return Finishing(run) if op.rank() == 4 else run


def _taps(op: Op, stored: Array, *, groups: int) -> Array:
    """Convert a weight (a, b, [height,] width) to the order of the kernels: (height, width, b, a)."""
    if stored.ndim != op.rank() or not stored.size:
        raise ValueError(f"its weight has the shape {stored.shape} for a blob of rank {op.rank()}")
    if groups < 1:
        raise ValueError(f"it has {groups} groups")
    kernel = stored[:, :, None] if stored.ndim == 3 else stored
    return np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))


def _conv_transpose(op: Op) -> Operation:
    stored, bias, groups = _weights(op)
    stride, dilation = op.pair("strides", (1, 1)), op.pair("dilations", (1, 1))
    kind, custom = _pads(op)
    stated = op.integers("output_shape") if op.has("output_shape") else None
    if stated is not None and len(stated) != op.rank():
        raise ValueError(f"its output shape is {stated} for a blob of rank {op.rank()}")
    if kind == "same_lower":
        raise Unsupported("its pad_type is 'same_lower'")
    taps = _dilated(_taps(op, stored, groups=groups), dilation)
    channels = taps.shape[2] * groups
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"its bias has the shape {bias.shape} for {channels:,} channels")

    def compute(x: Array) -> Array:
        full = [(x.shape[i + 2] - 1) * stride[i] + taps.shape[i] for i in (0, 1)]
        size = [full[i] - sum(custom[i]) for i in (0, 1)]
        crop: Pair = (custom[0][0], custom[1][0])
        if kind == "same":
            size = [x.shape[i + 2] * stride[i] for i in (0, 1)]
        if stated is not None:
            size = list(stated[2:]) if len(stated) == 4 else [1, stated[2]]
        if kind == "same":  # the padding of the convolution whose gradient this is
            surplus = [max(0, full[i] - size[i]) for i in (0, 1)]
            crop = (surplus[0] // 2, surplus[1] // 2)
        elif any(size[i] < full[i] if kind == "valid" else size[i] != full[i] - sum(custom[i]) for i in (0, 1)):
            raise Unsupported(f"its output of {tuple(size)} is not what its padding makes it")
        bounded((1, *size))
        return deconv2d(x, taps, bias, stride=stride, crop=crop, size=(size[0], size[1]), groups=groups)

    return _on_planes(op, compute)


def _dilated(taps: Array, dilation: Pair) -> Array:
    """Return the same kernel with zeros between its taps."""
    if dilation == (1, 1):
        return taps
    extent = [(taps.shape[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    spread = np.zeros(bounded((*extent, *taps.shape[2:])), np.float32)
    spread[:: dilation[0], :: dilation[1]] = taps
    return spread


def _pool(mode: str) -> OpBuilder:
    def build(op: Op) -> Operation:
        op.read("x")
        window, stride = op.pair("kernel_sizes"), op.pair("strides", (1, 1))
        kind, custom = _pads(op)
        ceiling = op.flag("ceil_mode", False)
        counted = mode == "AVERAGE" and not op.flag("exclude_padding_from_average", False)

        def compute(x: Array) -> Array:
            pads, size = custom, None
            if kind.startswith("same"):
                pads = same_pads(x.shape[2:], window, stride, top_left_heavy=kind == "same_lower")
            elif ceiling:
                size = _ceiling(x.shape[2:], window, stride, pads)
                if counted and any(
                    (size[i] - 1) * stride[i] + window[i] > x.shape[i + 2] + sum(pads[i]) for i in (0, 1)
                ):
                    raise Unsupported("it averages windows that reach beyond the padding")
            return pool2d(x, mode, window=window, stride=stride, pads=pads, size=size, count_padding=counted)

        return _on_planes(op, compute)

    return build


def _ceiling(size: Pair, window: Pair, stride: Pair, pads: Pads) -> Pair:
    """Return the output size of a pooling whose last window may extend beyond the border, as the format defines it."""
    counts = []
    for length, extent, step, (before, after) in zip(size, window, stride, pads, strict=True):
        count = -(-(length + before + after - extent) // step) + 1
        if before + after > 0 and (count - 1) * step >= length + before:
            count -= 1
        counts.append(count)
    return counts[0], counts[1]


def _crop(op: Op) -> Operation:
    op.read("x")
    rows, columns = op.integers("crop_height"), op.integers("crop_width")
    if len(rows) != 2 or len(columns) != 2 or min(*rows, *columns) < 0:
        raise ValueError(f"it cuts {rows} rows and {columns} columns")

    def run(x: Array) -> Array:
        if x.ndim < 4:
            raise ValueError(f"it reads a blob of rank {x.ndim - 1}, not at least 3")
        height, width = x.shape[-2:]
        if sum(rows) >= height or sum(columns) >= width:
            raise ValueError(f"it cuts more than there is from planes of {(height, width)}")
        return x[..., rows[0] : height - rows[1], columns[0] : width - columns[1]]

    return run


def _factor(op: Op, name: str) -> float:
    factor = float(op.number(name, 1))
    if not 0 < factor <= MAX_BLOB_ELEMENTS:
        raise ValueError(f"its {name} is {factor}")
    return factor


def _upsample_nearest(op: Op) -> Operation:
    op.read("x")
    factors = _factor(op, "scale_factor_height"), _factor(op, "scale_factor_width")
    if any(factor % 1 for factor in factors):
        raise Unsupported("it repeats pixels a fractional number of times")
    return _last_two(lambda x: upsample_nearest(x, (int(factors[0]), int(factors[1]))))


def _upsample_bilinear(op: Op) -> Operation:
    op.read("x")
    factors = _factor(op, "scale_factor_height"), _factor(op, "scale_factor_width")
    align = op.flag("align_corners", True)
    half = op.flag("half_pixel_centers", not align)
    if align and half:
        raise Unsupported("it aligns corners and pixel centres")
    grid = "ALIGN_CORNERS_TRUE" if align else "ALIGN_CORNERS_FALSE" if half else "DEFAULT"
    return _last_two(lambda x: resize_bilinear(x, (int(x.shape[-2] * factors[0]), int(x.shape[-1] * factors[1])), grid))


def _resize_bilinear(op: Op) -> Operation:
    op.read("x")
    size = op.integer("target_size_height", 1), op.integer("target_size_width", 1)
    grid = SAMPLING[op.text("sampling_mode", tuple(SAMPLING), "DEFAULT")]
    return _last_two(lambda x: resize_bilinear(x, size, grid))


def _resize_nearest(op: Op) -> Operation:
    op.read("x")
    size = op.integer("target_size_height"), op.integer("target_size_width")

    def run(x: Array) -> Array:
        if min(size) < 1 or size[0] % x.shape[-2] or size[1] % x.shape[-1]:
            raise Unsupported(f"it resizes planes of {x.shape[-2:]} to {size}; whole multiples are known")
        return upsample_nearest(x, (size[0] // x.shape[-2], size[1] // x.shape[-1]))

    return _last_two(run)


def _last_two(compute: Callable[[Array], Array]) -> Operation:
    def run(x: Array) -> Array:
        if x.ndim < 4:
            raise ValueError(f"it reads a blob of rank {x.ndim - 1}, not at least 3")
        return compute(x)

    return run


def _blocks(compute: Callable[[Array, int], Array], parameter: str) -> OpBuilder:
    """Build an operation that moves values between channels and planes, in blocks of a given size."""

    def build(op: Op) -> Operation:
        op.read("x")
        block = op.integer(parameter)
        if not 1 <= block < 2**16:
            raise ValueError(f"its {parameter} is {block}")
        return by_planes(lambda x: compute(x, block))

    return build


OPS: dict[str, OpBuilder] = {
    "avg_pool": _pool("AVERAGE"),
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "crop": _crop,
    "depth_to_space": _blocks(depth_to_space, "block_size"),
    "l2_pool": _pool("L2"),
    "max_pool": _pool("MAX"),
    "pixel_shuffle": _blocks(pixel_shuffle, "upscale_factor"),
    "pixel_unshuffle": _blocks(pixel_unshuffle, "downscale_factor"),
    "resize_bilinear": _resize_bilinear,
    "resize_nearest_neighbor": _resize_nearest,
    "space_to_depth": _blocks(space_to_depth, "block_size"),
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest,
}
