"""Elementwise functions, softmax, normalisation and resampling, shared by both formats.

Blobs are float32. Where float32 would lose digits or overflow before the result, float64 is used and rounded once. So
results hardly depend on the processor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy  # its `special` is imported on first use, which most networks never need: half a second

from conversion.runtime.interface import Array
from conversion.runtime.limits import PASS_COST, bounded, bounded_window, bounded_work

ZERO, ONE, INFINITY = np.float32(0), np.float32(1), np.float32(np.inf)
LARGEST = float(np.finfo(np.float32).max)
LARGEST_EXPONENT = 700.0  # its exp is finite in float64, and 1 / exp is 0 in float32
LEAST_OF_SILU = np.float32(-120)  # below it, silu is 0 in float32
LOG2_E = float(np.log2(np.e))
SQRT_TWO_OVER_PI = float(np.sqrt(2 / np.pi))


def in_double(compute: Callable[..., Any]) -> Callable[..., Array]:
    """Return the same function, computed in float64 and rounded to the blob's type.

    >>> in_double(lambda x: (x + 1e8) - 1e8)(np.float32([0.5])).tolist()
    [0.5]
    """

    @functools.wraps(compute)
    def run(x: Array, *others: Any, **options: Any) -> Array:
        result = np.asarray(compute(np.asarray(x, np.float64), *others, **options))
        return result.astype(np.result_type(x, np.float32), copy=False)

    return run


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.maximum(x, -LARGEST_EXPONENT)))


def sigmoid(x: Array, out: Array | None = None) -> Array:
    """1 / (1 + exp(-x))."""
    divisor = clip(x, np.float32(-LARGEST_EXPONENT), INFINITY).astype(np.float64)
    divisor *= -LOG2_E
    np.exp2(divisor, out=divisor)  # a third faster than exp
    divisor += 1
    return np.divide(1, divisor, out=_like(x, out), casting="unsafe")


def silu(x: Array, out: Array | None = None) -> Array:
    """x * sigmoid(x), in float32 within 4 units in the last place.

    In float64, it would take a quarter of the time of an EfficientNet.
    """
    limited = clip(x, LEAST_OF_SILU, INFINITY)
    small = np.abs(limited)
    np.exp(np.negative(small, out=small), out=small)
    positive = np.clip(limited, ZERO, INFINITY)
    np.clip(limited, -INFINITY, ZERO, out=limited)
    limited *= small
    limited += positive
    small += ONE
    return np.divide(limited, small, out=_like(x, out))


def _like(x: Array, out: Array | None) -> Array:
    return np.empty_like(x) if out is None else out


@in_double
def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@in_double
def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    x = np.clip(x, -LARGEST, LARGEST)
    return x / (1 + np.abs(x))


@in_double
def elu(x: Array, alpha: float | np.float32) -> Array:
    """x where positive, alpha * (exp(x) - 1) elsewhere."""
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def relu(x: Array, out: Array | None = None) -> Array:
    """x where positive, 0 elsewhere; NaN stays."""
    return clip(x, ZERO, INFINITY, out=out)


def clip(x: Array, low: np.float32, high: np.float32, out: Array | None = None) -> Array:
    """Clip x to two bounds; return the upper one if they are in the wrong order."""
    return np.clip(x, low, high, out=out)  # three times as fast as np.maximum with a number


def leaky_relu(x: Array, alpha: Array | np.float32) -> Array:
    """x where positive, alpha * x elsewhere."""
    return np.where(x < 0, alpha * np.minimum(x, ZERO), x)


def clamped_relu(x: Array, alpha: np.float32, beta: np.float32) -> Array:
    """A leaky ReLU with an upper bound."""
    return np.minimum(leaky_relu(x, alpha), beta)


def thresholded_relu(x: Array, alpha: np.float32) -> Array:
    """x where it is at least alpha, 0 elsewhere."""
    return np.where(x < alpha, ZERO, x)  # NaN stays NaN


@in_double
def gelu(x: Array, mode: str) -> Array:
    """Gaussian error linear unit; mode "EXACT", "TANH_APPROXIMATION" or "SIGMOID_APPROXIMATION"."""
    x = np.maximum(x, -LARGEST)  # its limit there is 0
    if mode == "EXACT":
        return x * scipy.special.ndtr(x)  # (1 + erf(x / sqrt(2))) / 2 loses all digits below -5
    if mode == "TANH_APPROXIMATION":
        return x * _sigmoid(2 * SQRT_TWO_OVER_PI * (x + 0.044715 * x * x * x))  # (1 + tanh(y)) / 2 is sigmoid(2 y)
    return x * _sigmoid(1.702 * x)


def linear(x: Array, alpha: Array | np.float32, beta: Array | np.float32) -> Array:
    """alpha * x + beta."""
    return _linear(x, alpha, beta) if np.any(beta) else alpha * x


_linear = in_double(lambda x, alpha, beta: alpha * x + beta)


def hard_sigmoid(x: Array, alpha: np.float32, beta: np.float32) -> Array:
    """alpha * x + beta between 0 and 1."""
    return np.clip(linear(x, alpha, beta), ZERO, ONE)


@in_double
def scaled_tanh(x: Array, alpha: np.float32, beta: np.float32) -> Array:
    """alpha * tanh(beta * x)."""
    return alpha * np.tanh(beta * x)


@in_double
def parametric_softplus(x: Array, alpha: Array, beta: Array) -> Array:
    """alpha * log(1 + exp(beta * x))."""
    return alpha * softplus(beta * x)


@in_double
def logarithm(x: Array, epsilon: np.float32) -> Array:
    """log(x + epsilon)."""
    if epsilon == 1:  # how coremltools writes log(1 + x)
        return np.log1p(x)
    return np.log(x + epsilon)


@in_double
def inverse(x: Array, epsilon: np.float32) -> Array:
    """1 / (x + epsilon)."""
    return ONE / (x + epsilon)


@in_double
def inverse_root(x: Array, epsilon: np.float32) -> Array:
    """1 / sqrt(x + epsilon)."""
    return ONE / np.sqrt(x + epsilon)


# Functions of one number with the same name in both formats.
PLAIN: dict[str, Callable[[Array], Array]] = {
    **{name: getattr(np, name) for name in ("ceil", "floor", "sign")},
    **{name: in_double(getattr(np, name)) for name in ("cos", "cosh", "exp2", "sin", "sinh", "tan", "tanh")},
    **{f"a{name}": in_double(getattr(np, f"arc{name}")) for name in ("cos", "cosh", "sin", "sinh", "tan", "tanh")},
    "erf": in_double(lambda x: scipy.special.erf(x)),
}
exp, tanh, floor_divide = in_double(np.exp), PLAIN["tanh"], in_double(np.floor_divide)


@in_double
def softmax(x: Array, axis: int) -> Array:
    """Softmax along one axis."""
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    powers /= powers.sum(axis=axis, keepdims=True)
    return powers


@in_double
def normalize(x: Array, axes: tuple[int, ...], *, epsilon: float, scale_variance: bool = True) -> Array:
    """Subtract the mean over `axes`; with `scale_variance`, divide by the root of the variance plus epsilon."""
    centred = x - x.mean(axis=axes, keepdims=True)
    if scale_variance:
        centred /= np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + epsilon)
    return centred


@in_double
def l2_normalize(x: Array, axes: tuple[int, ...], epsilon: np.float32) -> Array:
    """x / sqrt(sum of squares over `axes` + epsilon)."""
    return x / np.sqrt(np.square(x).sum(axis=axes, keepdims=True) + epsilon)


def batch_normalization(
    mean: Array, variance: Array, gamma: Array, beta: Array, *, epsilon: float
) -> Callable[..., Array]:
    """Normalise by stored statistics, whose shapes broadcast with the blob."""
    factor = (gamma / np.sqrt(variance.astype(np.float64) + epsilon)).astype(np.float32)

    def run(x: Array, out: Array | None = None) -> Array:
        # The mean first: x * factor and mean * factor may be large even if their difference is not.
        out = np.subtract(x, mean, out=out)
        out *= factor
        out += beta
        return out

    return run


@in_double
def local_response(x: Array, axis: int, *, size: int, alpha: float, beta: float, k: float) -> Array:
    """x / (k + alpha / size * sum of squares of the `size` neighbours along the axis) ** beta."""
    channels = x.shape[axis]
    before, after = min((size - 1) // 2, channels - 1), min(size // 2, channels - 1)
    bounded_window(before + 1 + after)
    bounded_work(PASS_COST * (x.size // x.shape[0]) * (before + 1 + after))
    border = [(0, 0)] * x.ndim
    border[axis] = (before, after)
    squares = np.pad(np.square(x), border)
    # One sum for each window, because differences of running sums lose small values after large ones.
    total = sum(np.take(squares, range(first, first + channels), axis=axis) for first in range(before + 1 + after))
    return x / (k + alpha / size * total) ** beta


def upsample_nearest(x: Array, factors: tuple[int, int]) -> Array:
    """Repeat rows and columns of (..., height, width)."""
    height, width = x.shape[-2] * factors[0], x.shape[-1] * factors[1]
    bounded((*x.shape[:-2], height, width))
    return x.repeat(factors[0], axis=-2).repeat(factors[1], axis=-1)


def depth_to_space(x: Array, block: int) -> Array:
    """Move channels (row in the block, column in the block, channel) of (n, c, h, w) into blocks of its planes."""
    count, _, height, width = x.shape
    cut = x.reshape(count, block, block, -1, height, width).transpose(0, 3, 4, 1, 5, 2)
    return cut.reshape(count, -1, height * block, width * block)


def space_to_depth(x: Array, block: int) -> Array:
    """The inverse of `depth_to_space`."""
    count, channels, height, width = x.shape
    cut = x.reshape(count, channels, height // block, block, width // block, block).transpose(0, 3, 5, 1, 2, 4)
    return cut.reshape(count, -1, height // block, width // block)


def pixel_shuffle(x: Array, block: int) -> Array:
    """Move channels (channel, row in the block, column in the block) of (n, c, h, w) into blocks of its planes."""
    count, _, height, width = x.shape
    cut = x.reshape(count, -1, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    return cut.reshape(count, -1, height * block, width * block)


def pixel_unshuffle(x: Array, block: int) -> Array:
    """The inverse of `pixel_shuffle`."""
    count, channels, height, width = x.shape
    cut = x.reshape(count, channels, height // block, block, width // block, block).transpose(0, 1, 3, 5, 2, 4)
    return cut.reshape(count, -1, height // block, width // block)


Reduction = Callable[[Array, tuple[int, ...]], Array]  # keeps the reduced axes with size 1


def _reduction(compute: Callable[..., Any]) -> Reduction:
    return in_double(lambda x, axes: compute(x, axis=axes, keepdims=True))


REDUCTIONS: dict[str, Reduction] = {
    "SUM": _reduction(np.sum),
    "AVG": _reduction(np.mean),
    "PROD": _reduction(np.prod),
    "SUMSQUARE": _reduction(lambda x, **options: np.square(x).sum(**options)),
    "L1": _reduction(lambda x, **options: np.abs(x).sum(**options)),
    "L2": _reduction(lambda x, **options: np.sqrt(np.square(x).sum(**options))),
    "MAX": lambda x, axes: x.max(axis=axes, keepdims=True),
    "MIN": lambda x, axes: x.min(axis=axes, keepdims=True),
    "LOGSUM": _reduction(lambda x, **options: np.log(x.sum(**options))),
    "LOGSUMEXP": _reduction(lambda *x, **how: scipy.special.logsumexp(*x, **how)),
}


# How N points are placed on an axis of X pixels, by the name in the format.
GRIDS: dict[str, Callable[[int, int], np.ndarray]] = {
    "STRICT_ALIGN_ENDPOINTS_MODE": lambda X, N: np.linspace(0, X - 1, N),
    "ALIGN_ENDPOINTS_MODE": lambda X, N: np.linspace(0, X - 1, N) if N > 1 else np.array([(X - 1) / 2]),
    "UPSAMPLE_MODE": lambda X, N: np.linspace(0, X - X / N, N),
    "ROI_ALIGN_MODE": lambda X, N: (np.arange(N) + 0.5) * (max(1, X - 1) / N),
    "DEFAULT": lambda X, N: np.linspace(0, X - X / N, N),
    "ALIGN_CORNERS_TRUE": lambda X, N: np.linspace(0, X - 1, N),
    "ALIGN_CORNERS_FALSE": lambda X, N: (np.arange(N) + 0.5) * (X / N) - 0.5,
}


@in_double
def resize_bilinear(x: Array, size: tuple[int, int], grid: str) -> Array:
    """Resample (..., height, width) to (..., *size), at the points of a grid from GRIDS."""
    bounded((*x.shape[:-2], size[0], max(x.shape[-1], size[1])))
    for axis, length in ((-2, size[0]), (-1, size[1])):
        points = np.clip(GRIDS[grid](x.shape[axis], length), 0, x.shape[axis] - 1)
        low = np.floor(points).astype(np.intp)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = points - low
        if axis == -2:
            share = share[:, None]
        below, above = np.take(x, low, axis=axis), np.take(x, high, axis=axis)
        x = np.where(share > 0, below + (above - below) * share, below)  # an infinite neighbour may have a share of 0
    return x
