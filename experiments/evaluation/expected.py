"""Estimate the accuracy of the best epoch of the best trial, corrected for selection bias.

The best of many on the same validation images owes a part of its lead to chance: the winner's curse. The bias is
estimated by bootstrap: in resamples of the validation images, the best is selected again, and its accuracy there minus
its accuracy on all images is the bias (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 17; for
the choice among models Tsamardinos et al., Machine Learning 107, 2018). All trainings use the same resamples, so that
each can summarize its own epochs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.evaluation.intervals import ExpectedAccuracy, accuracy_interval

RESAMPLES = 100
MOST_IMAGES = 50_000  # that are resampled, evenly spaced: with more images, the bias is small


class ResampledEpochs:
    """The epochs of one training, resampled: each image is drawn exactly RESAMPLES times in all.

    Without selection, the estimated bias is zero: what an epoch gains in some resamples it loses in others (the
    balanced bootstrap of Davison, Hinkley and Schechtman, Biometrika 73, 1986).
    """

    def __init__(self, images: int, resampled: np.ndarray | None = None) -> None:
        """Prepare for a number of validation images, or continue from the `resampled` of earlier epochs."""
        count = min(images, MOST_IMAGES)
        self._taken = np.arange(count) * images // count
        drawn = np.repeat(np.arange(count, dtype=np.int32), RESAMPLES)
        np.random.RandomState(0).shuffle(drawn)  # its stream never changes
        self._draws = np.empty((RESAMPLES, count), np.float32)  # sums of whole numbers below 2**24 are exact
        for times, each in zip(self._draws, drawn.reshape(RESAMPLES, count), strict=True):
            times[:] = np.bincount(each, minlength=count)
        self.resampled = np.full((2, RESAMPLES), -1) if resampled is None else resampled
        """(2, resamples): images that the best epoch of each resample classifies correctly, in the resample and of all.
        """

    def add(self, right: np.ndarray) -> None:
        """Add an epoch, given which of the validation images (N,) it classifies correctly."""
        right = right[self._taken]
        inside = (self._draws @ right.astype(np.float32)).astype(int)
        better = inside > self.resampled[0]
        self.resampled = np.where(better, (inside, np.full(RESAMPLES, right.sum())), self.resampled)


def expected_accuracy(accuracy: float, images: int, trials: Sequence[Sequence[Sequence[int]]]) -> ExpectedAccuracy:
    """Return the expected accuracy of the best trial, given its accuracy on the validation images.

    The lower limit is that of the expected accuracy, the upper limit that of the given one, so the interval is slightly
    conservative. `benchmarks/selection.py` measures how often it covers the true accuracy.

    Args:
        accuracy: the best of all epochs of all trials.
        images: the number of validation images.
        trials: `ResampledEpochs.resampled` of each trial.

    >>> lucky = expected_accuracy(0.9, 100, [((92, 93), (90, 90)), ((95, 91), (89, 89))])
    >>> lucky.text
    '0.8550 (95 % interval 0.773 to 0.945)'
    """
    inside, whole = np.swapaxes(np.asarray(trials), 0, 1)  # (trials, resamples) each
    best = inside.argmax(axis=0)
    resamples = np.arange(inside.shape[1])
    luck = float((inside - whole)[best, resamples].mean()) / min(images, MOST_IMAGES)
    value = max(0.0, accuracy - max(0.0, luck))  # the estimated bias may exceed the accuracy for few images
    return ExpectedAccuracy(
        value, accuracy_interval(value * images, images)[0], accuracy_interval(accuracy * images, images)[1]
    )
