"""How much each compression may change a weight: the rule that a file's decoded tensors must obey.

A tolerance on a network's outputs cannot detect a flipped byte in a filter that no image activates. These rules can:
they compare every element of a tensor with the trained weight that it came from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from conversion.runtime.interface import Array
from conversion.runtime.precision import round_to_half

ROUNDING = 2.0**-22  # relative difference of two orders of summation in float32
HALFWAY = 1e-3  # of a step: how far past the middle between two codes a weight may be, due to rounding
CENTROID = 1e-3  # of the weights' standard deviation: how far an entry may be from the mean of its weights
SMALLEST_HALF = 2.0**-24  # coremltools rounds smaller values up to this instead of to zero

Rule = Callable[["Array", "Array", "Array"], "npt.NDArray[np.bool_]"]


def _half_spacing(values: Array) -> Array:
    """Return half the distance to the next float16: the largest rounding error."""
    with np.errstate(all="ignore"):
        return np.spacing(np.abs(values).astype(np.float16)).astype(np.float32) / np.float32(2)


def _unrounded(stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
    return np.abs(stored - expected) <= slack


def _rounded(stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
    near = np.abs(stored - expected) <= _half_spacing(expected) + slack
    tiny = (np.abs(expected) <= SMALLEST_HALF) & (np.abs(stored) <= SMALLEST_HALF)
    return (near | tiny) & (stored == round_to_half(stored))


def _linear(stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
    """Require the nearest of 255 multiples of a step around zero, or of 256 steps from smallest to largest weight.

    There is one step for all weights, or one for each channel along some axis.
    """
    is_half, expected = _base(stored, expected)
    best = np.zeros(stored.shape, bool)
    for axis in (None, *range(stored.ndim if stored.ndim > 1 else 0)):
        others = tuple(i for i in range(stored.ndim) if i != axis)
        low, high = expected.min(axis=others, keepdims=True), expected.max(axis=others, keepdims=True)
        largest = np.maximum(np.abs(low), np.abs(high))
        for origin, step, codes in ((0, largest / 127, (-127, 127)), (low, (high - low) / 255, (0, 255))):
            step = round_to_half(step) if is_half else step
            step = np.where(step > 0, step, np.float32(1))
            code = np.clip(np.round((stored - origin) / step), *codes)
            level = origin + code * step
            on_grid = np.abs(stored - level) <= _decoding(stored, is_half) + ROUNDING * largest
            # coremltools divides float16 by float16, so the quotient is rounded before the code is.
            quotient = np.abs(level) * np.float32(2.0**-11) if is_half else 0
            nearest = np.abs(level - expected) <= step * np.float32(0.5 + HALFWAY) + quotient + slack
            # Rounding the step may make the codes end before the largest weights, much earlier if these are subnormal.
            ends = ((code == codes[1]) & (expected >= level)) | ((code == codes[0]) & (expected <= level))
            fits = on_grid & (nearest | ends if is_half else nearest)
            best = fits if np.count_nonzero(fits) > np.count_nonzero(best) else best
    return best


def _palette(bits: int) -> Rule:
    def rule(stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
        """Require the nearest of 2^bits values, each the mean of the weights that it stands for."""
        values, cluster = np.unique(stored, return_inverse=True)
        cluster = cluster.ravel()
        too_few = stored.size > 2**bits and len(values) <= 2 ** (bits - 1)  # as with fewer bits
        if len(values) > 2**bits or too_few or not np.isfinite(values).all():
            return np.zeros(stored.shape, bool)
        blur = 2 * _half_spacing(expected) + slack  # weights, and in packages the table too, are rounded to float16
        place = np.searchsorted((values[1:] + values[:-1]) / 2, expected)
        chosen = values[place]
        entries = _half_spacing(stored) + _half_spacing(chosen)
        nearest = np.abs(stored - expected) <= np.abs(chosen - expected) + 2 * blur + entries
        means = np.bincount(cluster, expected.ravel().astype(np.float64)) / np.bincount(cluster)
        centred = np.abs(values - means) <= CENTROID * expected.std() + blur.max()
        return nearest & centred[cluster].reshape(stored.shape)

    return rule


def _pruned(percent: int) -> Rule:
    def rule(stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
        """Require zero for the given share of the smallest weights, and the weight itself for the others."""
        is_half, expected = _base(stored, expected)
        magnitude = np.abs(expected)
        ordered = np.sort(magnitude, axis=None)
        zeros = stored.size * percent // 100
        largest_zero = ordered[min(zeros, stored.size - 1)]  # rounding may change the number by one
        smallest_kept = ordered[max(zeros - 1, 0)]
        blur = _decoding(expected, is_half) + slack
        kept = (np.abs(stored - expected) <= blur) & (magnitude >= smallest_kept - blur)
        return np.where(stored == 0, magnitude <= largest_zero + blur, kept)

    return rule


def _base(stored: Array, expected: Array) -> tuple[bool, Array]:
    """Return whether a tensor decodes to float16, and the weights that were compressed (in that case rounded first)."""
    is_half = bool((stored == round_to_half(stored)).all())
    return is_half, round_to_half(expected) if is_half else expected


def _decoding(values: Array, is_half: bool) -> Array:
    """Return how much decoding may round a value."""
    return _half_spacing(values) if is_half else np.abs(values) * np.float32(ROUNDING)


RULES: dict[str, Rule] = {
    "none": _unrounded,
    "float16": _rounded,
    "int8": _linear,
    "palette6": _palette(6),
    "palette4": _palette(4),
    "palette2": _palette(2),
    "prune50": _pruned(50),
    "prune75": _pruned(75),
}


def violations(rule: str, stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
    """Return which elements of a stored tensor break a rule, as a mask.

    Args:
        stored: the decoded tensor, of any shape.
        expected: the trained weights, in the same shape.
        slack: allowed difference before compression, in the same shape, from folding in float32.
    """
    with np.errstate(all="ignore"):  # a damaged tensor may contain anything
        return ~RULES[rule](stored, expected, slack)


def obeyed(compression: str, stored: Array, expected: Array, slack: Array) -> str | None:
    """Return the strictest rule that a tensor obeys, among those of a compression; None if it obeys none."""
    allowed = ("none", *(("float16",) if compression != "none" else ()), compression)
    for rule in dict.fromkeys(allowed):
        if not violations(rule, stored, expected, slack).any():
            return rule
    return None
