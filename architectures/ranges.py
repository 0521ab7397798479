"""Ranges of numbers, with and without a step."""

from __future__ import annotations

import math

MAX_STEPS = 1_000  # from the lowest to the highest number of a range
Range = tuple[float, ...]  # the lowest and the highest number, and the step if there is one


def distance(low: float, high: float, step: float, *, logarithmic: bool) -> float:
    """Return the number of steps from the lowest to the highest number."""
    return math.log(high / low) / math.log(step) if logarithmic else (high - low) / step


def steps_between(low: float, high: float, step: float, *, logarithmic: bool) -> int:
    """Return the number of whole steps, regardless of rounding errors.

    >>> steps_between(0.1, 0.3, 0.2, logarithmic=False)
    1
    """
    return int(distance(low, high, step, logarithmic=logarithmic) + 1e-9)  # against rounding errors


def numbers(limits: Range, *, logarithmic: bool = False) -> tuple[float, ...] | None:
    """Return all numbers of a range; None if it has more than one number and no step.

    >>> numbers((0.0, 0.5, 0.2)), numbers((0.3, 0.3)), numbers((0.0, 0.5))
    ((0.0, 0.2, 0.4), (0.3,), None)
    >>> numbers((0.001, 0.1, 10.0), logarithmic=True)
    (0.001, 0.01, 0.1)
    """
    low, high, *given = limits
    if low == high:
        return (low,)
    if not given:
        return None
    (step,) = given
    count = steps_between(low, high, step, logarithmic=logarithmic)
    exact = (low * step**one if logarithmic else low + one * step for one in range(count + 1))
    return tuple(float(f"{one:.10g}") for one in exact)  # as a person would write them
