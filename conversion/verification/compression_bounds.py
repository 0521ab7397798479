"""How far each compression may change a weight: the rule that a file's decoded tensor must obey.

A tolerance on a network's answers cannot tell a flipped byte in a filter that no image excites from a right one. These
rules can: they hold every element of a tensor against the trained weight that it came from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

ROUNDING = 2.0**-22  # relative: what two orders of computing one value in float32 may differ by
HALFWAY = 1e-3  # of a step: how far beyond the middle between two codes a weight may lie for want of digits
CENTROID = 1e-3  # of the weights' standard deviation: how far an entry may be from the mean of its weights
SMALLEST_HALF = 2.0**-24  # coremltools keeps at this what would round to zero in float16

Rule = Callable[["Array", "Array", "Array"], "npt.NDArray[np.bool_]"]


def half(values: Array) -> Array:
    """Round to float16, and give float32."""
    return values.astype(np.float16).astype(np.float32)


def _half_spacing(values: Array) -> Array:
    """Half the distance to the next float16: the most that rounding may change."""
    with np.errstate(all="ignore"):
        return np.spacing(np.abs(values).astype(np.float16)).astype(np.float32) / np.float32(2)


def _unrounded(stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
    return np.abs(stored - expected) <= slack


def _rounded(stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
    near = np.abs(stored - expected) <= _half_spacing(expected) + slack
    tiny = (np.abs(expected) <= SMALLEST_HALF) & (np.abs(stored) <= SMALLEST_HALF)
    return (near | tiny) & (stored == half(stored))


def _linear(stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
    """The nearest of 255 multiples of a step about zero, or of 256 steps from the smallest weight to the largest.

    There is one step for all weights, or one for each channel along some axis.
    """
    is_half, expected = _base(stored, expected)
    best = np.zeros(stored.shape, bool)
    for axis in (None, *range(stored.ndim if stored.ndim > 1 else 0)):
        others = tuple(i for i in range(stored.ndim) if i != axis)
        low, high = expected.min(axis=others, keepdims=True), expected.max(axis=others, keepdims=True)
        largest = np.maximum(np.abs(low), np.abs(high))
        for origin, step, codes in ((0, largest / 127, (-127, 127)), (low, (high - low) / 255, (0, 255))):
            step = half(step) if is_half else step
            step = np.where(step > 0, step, np.float32(1))
            level = origin + np.clip(np.round((stored - origin) / step), *codes) * step
            on_grid = np.abs(stored - level) <= _decoding(stored, is_half) + ROUNDING * largest
            # coremltools divides float16 by float16: the quotient is rounded before it is rounded to a code.
            quotient = np.abs(level) * np.float32(2.0**-11) if is_half else 0
            nearest = np.abs(level - expected) <= step * np.float32(0.5 + HALFWAY) + quotient + slack
            # The largest weight's code may not go beyond the last one, though a rounded step ends before it.
            ends = (np.abs(expected) >= largest * np.float32(1 - 2.0**-10)) & (np.abs(level - expected) <= step)
            fits = on_grid & (nearest | ends if is_half else nearest)
            best = fits if np.count_nonzero(fits) > np.count_nonzero(best) else best
    return best


def _palette(bits: int) -> Rule:
    def rule(stored: Array, expected: Array, slack: Array) -> npt.NDArray[np.bool_]:
        """The nearest of 2^bits values, each the mean of the weights that it stands for."""
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
        """Zero for the share of the smallest weights, the weight for the others."""
        is_half, expected = _base(stored, expected)
        magnitude = np.abs(expected)
        ordered = np.sort(magnitude, axis=None)
        zeros = stored.size * percent // 100
        largest_zero = ordered[min(zeros, stored.size - 1)]  # one more or less is a question of rounding
        smallest_kept = ordered[max(zeros - 1, 0)]
        blur = _decoding(expected, is_half) + slack
        kept = (np.abs(stored - expected) <= blur) & (magnitude >= smallest_kept - blur)
        return np.where(stored == 0, magnitude <= largest_zero + blur, kept)

    return rule


def _base(stored: Array, expected: Array) -> tuple[bool, Array]:
    """Whether a tensor is decoded to float16, and the weights that were compressed: rounded first if so."""
    is_half = bool((stored == half(stored)).all())
    return is_half, half(expected) if is_half else expected


def _decoding(values: Array, is_half: bool) -> Array:
    """By how much decoding may round a value."""
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
    """Which elements of a stored tensor break a rule.

    Args:
        stored: what the file decodes to, of any shape.
        expected: the trained weights, in that shape.
        slack: what may be between them before any compression, in that shape: folding in float32.

    Returns:
        A mask of that shape.
    """
    with np.errstate(all="ignore"):  # a damaged tensor may hold anything
        return ~RULES[rule](stored, expected, slack)


def obeyed(compression: str, stored: Array, expected: Array, slack: Array) -> str | None:
    """The strictest rule that a tensor obeys, of those that a compression allows; None if it obeys none."""
    allowed = ("none", *(("float16",) if compression != "none" else ()), compression)
    for rule in dict.fromkeys(allowed):
        if not violations(rule, stored, expected, slack).any():
            return rule
    return None
