"""95 % intervals of an accuracy and of a mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ExpectedAccuracy:
    """The expected accuracy of a network on new images like the validation images, corrected for selection bias."""

    expected_accuracy: float
    expected_accuracy_low: float  # 95 % interval
    expected_accuracy_high: float

    @property
    def text(self) -> str:
        low, high = self.expected_accuracy_low, self.expected_accuracy_high
        return f"{self.expected_accuracy:.4f} (95 % interval {low:.3f} to {high:.3f})"


def accuracy_interval(correct: float, images: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of an accuracy.

    >>> low, high = accuracy_interval(485, 500)
    >>> round(low, 4), round(high, 4)
    (0.9511, 0.9817)
    """
    from statistics import NormalDist  # importing scipy.stats takes longer than ranking 10,000 runs

    z, share = NormalDist().inv_cdf(0.975), correct / images
    centre = share + z**2 / (2 * images)
    reach = z * (share * (1 - share) / images + z**2 / (4 * images**2)) ** 0.5
    low, high = ((centre + sign * reach) / (1 + z**2 / images) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean by Student's t; None for fewer than two values.

    >>> low, high = mean_interval([0.96, 0.97, 0.98])
    >>> round(low, 4), round(high, 4)
    (0.9452, 0.9948)
    """
    import numpy as np
    from scipy.stats import t

    if len(values) < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return mean - reach, mean + reach
