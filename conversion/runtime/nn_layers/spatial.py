"""Layers that work on planes of (channels, height, width): convolution, pooling, padding, cropping, resampling."""

from __future__ import annotations

import numpy as np

from conversion.runtime.arrays import by_planes, padded
from conversion.runtime.convolution import Convolution, Epilogue
from conversion.runtime.functions import (
    depth_to_space,
    pixel_shuffle,
    resize_bilinear,
    space_to_depth,
    upsample_nearest,
)
from conversion.runtime.fusion import Finishing
from conversion.runtime.interface import Array
from conversion.runtime.kernels import Pads, Pair, deconv2d, pool2d
from conversion.runtime.limits import Unsupported, bounded
from conversion.runtime.network import Operation
from conversion.runtime.nn_layers.layer import Layer, border, window_pads


def _convolution(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params
    kernel, stride = layer.pair("kernelSize", (3, 3)), layer.pair("stride", (1, 1))
    dilation = layer.pair("dilationFactor", (1, 1))
    groups = p.nGroups or 1
    bias = layer.weight("bias", (p.outputChannels,)) if p.hasBias else None
    if p.isDeconvolution:
        return _deconvolution(layer, kernel, stride, dilation, groups, bias)
    if not p.HasField("valid") and not p.HasField("same"):
        raise ValueError("it states no padding")
    stored = layer.weight("weights", (p.outputChannels, p.kernelChannels, *kernel))
    taps = np.ascontiguousarray(stored.transpose(2, 3, 1, 0))
    extent = ((kernel[0] - 1) * dilation[0] + 1, (kernel[1] - 1) * dilation[1] + 1)

    convolution = Convolution(taps, bias, stride=stride, dilation=dilation, groups=groups)

    def compute(image: Array, finish: Epilogue | None) -> Array:
        return convolution(image, pads=window_pads(layer, image.shape[2:], extent, stride), finish=finish)

    return Finishing(by_planes(compute, least=4))


def _deconvolution(
    layer: Layer, kernel: Pair, stride: Pair, dilation: Pair, groups: int, bias: Array | None
) -> Operation:
    p = layer.params
    if dilation != (1, 1):
        raise Unsupported("it is a dilated deconvolution")
    if p.outputChannels % groups:
        raise ValueError(f"{p.outputChannels} output channels do not divide into {groups} groups")
    stored = layer.weight("weights", (p.kernelChannels, p.outputChannels // groups, *kernel), channel_axis=1)
    taps = np.ascontiguousarray(stored.transpose(2, 3, 1, 0))
    stated = layer.pair("outputShape", (1, 1)) if len(p.outputShape) else None

    def compute(image: Array) -> Array:
        full = [(image.shape[i + 2] - 1) * stride[i] + kernel[i] for i in (0, 1)]
        size = stated
        if size is None and p.HasField("same"):
            size = (image.shape[2] * stride[0], image.shape[3] * stride[1])
        if size is None:
            (top, bottom), (left, right) = border(p.valid.paddingAmounts)
            crop, size = (top, left), (full[0] - top - bottom, full[1] - left - right)
        else:
            heavy = p.HasField("same") and layer.choice("asymmetryMode", of=p.same) == "TOP_LEFT_HEAVY"
            surplus = [max(0, full[i] - size[i]) for i in (0, 1)]
            crop = ((surplus[0] + heavy) // 2, (surplus[1] + heavy) // 2)
        return deconv2d(image, taps, bias, stride=stride, crop=crop, size=size, groups=groups)

    return by_planes(compute, least=4)


def _pooling(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params
    mode = layer.choice("type")
    if p.globalPooling:  # then the stated kernel, stride and padding have no meaning
        return by_planes(lambda image: pool2d(image, mode, window=image.shape[2:], stride=(1, 1)), least=4)
    window, stride = layer.pair("kernelSize", (3, 3)), layer.pair("stride", (1, 1))
    if not p.WhichOneof("PoolingPaddingType"):
        raise ValueError("it states no padding")

    def compute(image: Array) -> Array:
        size, outputs = image.shape[2:], None
        if p.HasField("includeLastPixel"):
            pads, outputs = _include_last_pixel(layer, size, window, stride)
            reach = [(outputs[i] - 1) * stride[i] + window[i] - size[i] - sum(pads[i]) for i in (0, 1)]
            if mode == "AVERAGE" and not p.avgPoolExcludePadding and max(reach) > 0:
                raise Unsupported("it averages windows that reach beyond the padding")
        else:
            pads = window_pads(layer, size, window, stride)
        count = not p.avgPoolExcludePadding
        return pool2d(image, mode, window=window, stride=stride, pads=pads, size=outputs, count_padding=count)

    return by_planes(compute, least=4)


def _include_last_pixel(layer: Layer, size: Pair, window: Pair, stride: Pair) -> tuple[Pads, Pair]:
    """Return padding and output size by the formula in the format's description."""
    amounts = tuple(layer.params.includeLastPixel.paddingAmounts) or (0, 0)
    if len(amounts) != 2 or max(amounts) > 2**31:
        raise ValueError(f"its padding is {amounts}, not two numbers of reasonable size")
    outputs = []
    for length, pad, extent, step in zip(size, amounts, window, stride, strict=True):
        count = -(-(length + 2 * pad - extent) // step) + 1
        if max(amounts) > 0 and (count - 1) * step >= length + pad:
            count -= 1
        outputs.append(count)
    return ((amounts[0], amounts[0]), (amounts[1], amounts[1])), (outputs[0], outputs[1])


def _padding(layer: Layer) -> Operation:
    layer.expect()
    pads = border(layer.params.paddingAmounts)
    kind = layer.params.WhichOneof("PaddingType")
    value = np.float32(layer.params.constant.value)
    if kind is None:
        raise ValueError("it states no kind of padding")

    def run(x: Array) -> Array:
        if x.ndim < 4:
            raise ValueError(f"it reads a blob of rank {x.ndim - 1}, not at least 3")
        widths = [(0, 0)] * (x.ndim - 2) + [*pads]
        bounded(size + sum(width) for size, width in zip(x.shape, widths, strict=True))
        if kind == "constant":
            return padded(x, widths, constant_values=value)
        if kind == "reflection" and any(max(pads[i]) >= x.shape[i - 2] for i in (0, 1)):
            raise ValueError(f"a border of {pads} cannot be reflected from planes of {x.shape[-2:]}")
        return padded(x, widths, mode="reflect" if kind == "reflection" else "edge")

    return run


def _crop(layer: Layer) -> Operation:
    layer.expect(inputs=range(1, 3))
    (top, bottom), (left, right) = border(layer.params.cropAmounts)
    offset = tuple(layer.params.offset) or (0, 0)
    if len(offset) != 2:
        raise ValueError(f"its offset is {offset}, not two numbers")

    def run(x: Array, like: Array | None = None) -> Array:
        height, width = x.shape[-2:]
        if like is not None:
            bottom_edge, right_edge = offset[0] + like.shape[-2], offset[1] + like.shape[-1]
            out = x[..., offset[0] : bottom_edge, offset[1] : right_edge]
            fits = bottom_edge <= height and right_edge <= width
        else:
            out = x[..., top : max(top, height - bottom), left : max(left, width - right)]
            fits = out.size > 0
        if not fits:
            raise ValueError(f"it cuts more than there is from planes of {x.shape[-2:]}")
        return out

    return run


def _upsample(layer: Layer) -> Operation:
    layer.expect()
    p = layer.params
    fractions = tuple(p.fractionalScalingFactor)
    if len(fractions) not in (0, 2) or not all(0 < factor < 2**31 for factor in fractions):
        raise ValueError(f"its factors are {fractions}, not two positive numbers")
    if fractions and len(p.scalingFactor):
        raise ValueError("it states whole and fractional factors")
    factors = layer.pair("scalingFactor", (1, 1))
    grid = layer.choice("linearUpsampleMode")
    if layer.choice("mode") == "NN":
        if fractions:
            raise Unsupported("it repeats pixels a fractional number of times")
        return lambda x: upsample_nearest(x, factors)

    def run(x: Array) -> Array:
        scale = fractions or factors
        return resize_bilinear(x, (int(x.shape[-2] * scale[0]), int(x.shape[-1] * scale[1])), grid)

    return run


def _resize_bilinear(layer: Layer) -> Operation:
    layer.expect()
    size, grid = layer.pair("targetSize", (1, 1)), layer.choice("samplingMethod", of=layer.params.mode)
    return lambda x: resize_bilinear(x, size, grid)


def _reorganize(layer: Layer) -> Operation:
    layer.expect()
    mode, block = layer.choice("mode"), layer.params.blockSize
    if not 1 < block < 2**16:
        raise ValueError(f"its block size is {block}")

    compute = {
        "SPACE_TO_DEPTH": space_to_depth,
        "DEPTH_TO_SPACE": depth_to_space,
        "PIXEL_SHUFFLE": pixel_shuffle,
    }[mode]
    return by_planes(lambda x: compute(x, block))


LAYERS = {
    "convolution": _convolution,
    "crop": _crop,
    "padding": _padding,
    "pooling": _pooling,
    "reorganizeData": _reorganize,
    "resizeBilinear": _resize_bilinear,
    "upsample": _upsample,
}
