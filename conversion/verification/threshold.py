"""The confidence threshold of "I do not know", and what it costs.

The rule is split conformal prediction (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005) on the
validation images that the file classifies correctly. Of their n confidences in ascending order, the threshold is the
k-th, with k = floor(REFUSED_SHARE * (n + 1)), rounded down to four digits. A new image of the same kind that the file
classifies correctly has a lower confidence with a probability of at most k / (n + 1) <= REFUSED_SHARE. If n is too
small for k >= 1, nothing is refused: the threshold is 0. The rule guarantees nothing about other images; how many of
them are refused has to be measured for each kind.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conversion.runtime.interface import Indices, Probabilities

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Confidences = npt.NDArray[np.float32]

REFUSED_SHARE = (
    0.05  # of the images read right; 2 % would let twice as many clothes pass for digits (experiments/LOG.md)
)
THRESHOLD_KEY = "threshold"  # in the file's user metadata
THRESHOLD_DIGITS = 4  # decimals; the text has a fixed length, known before training
PLAIN = re.compile(r"0(\.\d+)?|1(\.0+)?")


@dataclass(frozen=True)
class Measured:
    """Measurements of a file on the validation images."""

    val_accuracy: float
    threshold: float


@dataclass(frozen=True)
class Refusals:
    """For which images of a split a file says "I do not know"."""

    split: str
    images: int
    right: int  # classified correctly, refused or not
    right_refused: int
    wrong_refused: int

    @property
    def answered(self) -> int:
        return self.images - self.right_refused - self.wrong_refused

    @property
    def answered_right(self) -> int:
        return self.right - self.right_refused

    @property
    def text(self) -> str:
        wrong = self.images - self.right
        return (
            f"{self.split}: {self.right_refused:,} of {self.right:,} right and {self.wrong_refused:,} of {wrong:,} "
            "wrong guesses refused"
        )


def measure(probabilities: Probabilities, labels: Indices, *, share: float = REFUSED_SHARE) -> Measured:
    """Return accuracy and threshold of a file, given its probabilities (N, classes) and the labels (N,).

    >>> import numpy as np
    >>> confidences = np.linspace(0.6, 0.99, 19, dtype=np.float32)
    >>> measure(np.stack([confidences, 1 - confidences], axis=1), np.zeros(19, np.int64))
    Measured(val_accuracy=1.0, threshold=0.6)
    >>> measure(np.stack([confidences, 1 - confidences], axis=1)[1:], np.zeros(18, np.int64))
    Measured(val_accuracy=1.0, threshold=0.0)
    """
    right = probabilities.argmax(axis=1) == labels
    return Measured(float(right.mean()), threshold_of(probabilities.max(axis=1)[right], share=share))


def threshold_of(confidences: Confidences, *, share: float = REFUSED_SHARE) -> float:
    """Return the threshold, given the confidences (n,) of correctly classified images; NaN and infinity count as 0."""
    import numpy as np

    order = allowed_refusals(len(confidences), share=share)
    if not order:
        return 0.0
    finite = np.nan_to_num(confidences.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    value = float(np.partition(finite, order - 1)[order - 1])
    return math.floor(min(max(value, 0.0), 1.0) * 10**THRESHOLD_DIGITS) / 10**THRESHOLD_DIGITS


def allowed_refusals(right: int, *, share: float = REFUSED_SHARE) -> int:
    """Return how many of `right` correctly classified images may be refused, including the next one.

    >>> [allowed_refusals(right) for right in (0, 18, 19, 39, 495)]
    [0, 0, 1, 2, 24]
    """
    return math.floor(share * (right + 1) + 1e-9)  # 0.1 * 30 is 3 in floating point too


def refusals(split: str, probabilities: Probabilities, labels: Indices, threshold: float) -> Refusals:
    """Return what a threshold refuses of a split."""
    right = probabilities.argmax(axis=1) == labels
    refused = is_unknown(probabilities.max(axis=1), threshold)
    return Refusals(split, len(labels), int(right.sum()), int((right & refused).sum()), int((~right & refused).sum()))


def is_unknown(confidences: Confidences, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which of these largest confidences (N,) are refused; NaN and infinity always are."""
    return ~(confidences.astype("float64") >= threshold)


def threshold_in(user_defined: Mapping[str, str]) -> float | None:
    """Return the threshold in a file's metadata; None if there is none, or no plain number from 0 to 1."""
    text = user_defined.get(THRESHOLD_KEY, "")
    return float(text) if PLAIN.fullmatch(text) else None
