"""Elementwise functions, softmax, normalisation and resampling, shared by both formats. Everything is float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import erf

from conversion.runtime.interface import Array
from conversion.runtime.limits import bounded

SQRT_HALF = np.float32(np.sqrt(0.5))
SQRT_TWO_OVER_PI = np.float32(np.sqrt(2 / np.pi))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.float32(0.5) * np.tanh(np.float32(0.5) * x) + np.float32(0.5)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return np.logaddexp(x, np.float32(0))


def elu(x: Array, alpha: float | np.float32) -> Array:
    """x where positive, alpha * (exp(x) - 1) elsewhere."""
    return np.where(x >= 0, x, np.float32(alpha) * np.expm1(np.minimum(x, np.float32(0))))


def leaky_relu(x: Array, alpha: Array | np.float32) -> Array:
    """x where positive, alpha * x elsewhere."""
    return np.where(x >= 0, x, alpha * x)


def gelu(x: Array, mode: str) -> Array:
    """Gaussian error linear unit; mode "EXACT", "TANH_APPROXIMATION" or "SIGMOID_APPROXIMATION"."""
    half = np.float32(0.5)
    if mode == "EXACT":
        return half * x * (1 + erf(x * SQRT_HALF))
    if mode == "TANH_APPROXIMATION":
        return half * x * (1 + np.tanh(SQRT_TWO_OVER_PI * (x + np.float32(0.044715) * x * x * x)))
    return x * sigmoid(np.float32(1.702) * x)


def softmax(x: Array, axis: int) -> Array:
    """Softmax along one axis."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    powers /= powers.sum(axis=axis, keepdims=True)
    return powers


def normalize(x: Array, axes: tuple[int, ...], *, epsilon: float, scale_variance: bool = True) -> Array:
    """Subtract the mean over `axes` and, if asked, divide by the root of the variance plus epsilon."""
    centred = x - x.mean(axis=axes, keepdims=True)
    if not scale_variance:
        return centred
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    return centred / np.sqrt(variance + np.float32(epsilon))


def local_response(x: Array, axis: int, *, size: int, alpha: float, beta: float, k: float) -> Array:
    """x / (k + alpha / size * sum of squares of the `size` neighbours along the axis) ** beta."""
    channels = x.shape[axis]
    squares = np.cumsum(np.square(x, dtype=np.float64), axis=axis)
    squares = np.concatenate([np.zeros_like(np.take(squares, [0], axis=axis)), squares], axis=axis)
    index = np.arange(channels)
    first = np.clip(index - (size - 1) // 2, 0, channels)
    last = np.clip(index + size // 2 + 1, 0, channels)
    total = np.take(squares, last, axis=axis) - np.take(squares, first, axis=axis)
    return (x / (k + alpha / size * total) ** beta).astype(np.float32)


def upsample_nearest(x: Array, factors: tuple[int, int]) -> Array:
    """Repeat rows and columns of (..., height, width)."""
    height, width = x.shape[-2] * factors[0], x.shape[-1] * factors[1]
    bounded((*x.shape[:-2], height, width))
    return x.repeat(factors[0], axis=-2).repeat(factors[1], axis=-1)


def depth_to_space(x: Array, block: int) -> Array:
    """Channels (row in the block, column in the block, channel) of (n, c, h, w) into blocks of its planes."""
    count, _, height, width = x.shape
    cut = x.reshape(count, block, block, -1, height, width).transpose(0, 3, 4, 1, 5, 2)
    return cut.reshape(count, -1, height * block, width * block)


def space_to_depth(x: Array, block: int) -> Array:
    """The inverse of `depth_to_space`."""
    count, channels, height, width = x.shape
    cut = x.reshape(count, channels, height // block, block, width // block, block).transpose(0, 3, 5, 1, 2, 4)
    return cut.reshape(count, -1, height // block, width // block)


def pixel_shuffle(x: Array, block: int) -> Array:
    """Channels (channel, row in the block, column in the block) of (n, c, h, w) into blocks of its planes."""
    count, _, height, width = x.shape
    cut = x.reshape(count, -1, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    return cut.reshape(count, -1, height * block, width * block)


def pixel_unshuffle(x: Array, block: int) -> Array:
    """The inverse of `pixel_shuffle`."""
    count, channels, height, width = x.shape
    cut = x.reshape(count, channels, height // block, block, width // block, block).transpose(0, 1, 3, 5, 2, 4)
    return cut.reshape(count, -1, height // block, width // block)


Reduction = Callable[[Array, tuple[int, ...]], Array]  # keeps the reduced axes with size 1

REDUCTIONS: dict[str, Reduction] = {
    "SUM": lambda x, axes: x.sum(axis=axes, keepdims=True),
    "AVG": lambda x, axes: x.mean(axis=axes, keepdims=True),
    "PROD": lambda x, axes: x.prod(axis=axes, keepdims=True),
    "SUMSQUARE": lambda x, axes: np.square(x).sum(axis=axes, keepdims=True),
    "L1": lambda x, axes: np.abs(x).sum(axis=axes, keepdims=True),
    "L2": lambda x, axes: np.sqrt(np.square(x).sum(axis=axes, keepdims=True)),
    "MAX": lambda x, axes: x.max(axis=axes, keepdims=True),
    "MIN": lambda x, axes: x.min(axis=axes, keepdims=True),
}


# How N points are laid over an axis of X pixels, by the name that the format gives to it.
GRIDS: dict[str, Callable[[int, int], np.ndarray]] = {
    "STRICT_ALIGN_ENDPOINTS_MODE": lambda X, N: np.linspace(0, X - 1, N),
    "ALIGN_ENDPOINTS_MODE": lambda X, N: np.linspace(0, X - 1, N) if N > 1 else np.array([(X - 1) / 2]),
    "UPSAMPLE_MODE": lambda X, N: np.linspace(0, X - X / N, N),
    "ROI_ALIGN_MODE": lambda X, N: (np.arange(N) + 0.5) * (max(1, X - 1) / N),
    "DEFAULT": lambda X, N: np.linspace(0, X - X / N, N),
    "ALIGN_CORNERS_TRUE": lambda X, N: np.linspace(0, X - 1, N),
    "ALIGN_CORNERS_FALSE": lambda X, N: (np.arange(N) + 0.5) * (X / N) - 0.5,
}


def resize_bilinear(x: Array, size: tuple[int, int], grid: str) -> Array:
    """Resample (..., height, width) to (..., *size) at the points of a grid named in GRIDS."""
    bounded((*x.shape[:-2], size[0], max(x.shape[-1], size[1])))
    for axis, length in ((-2, size[0]), (-1, size[1])):
        points = np.clip(GRIDS[grid](x.shape[axis], length), 0, x.shape[axis] - 1)
        low = np.floor(points).astype(np.intp)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = (points - low).astype(np.float32)
        if axis == -2:
            share = share[:, None]
        below, above = np.take(x, low, axis=axis), np.take(x, high, axis=axis)
        x = below + (above - below) * share
    return x
