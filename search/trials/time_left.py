"""How long the trials that are left will take, from those that have ended and those on their way.

A trial on its way takes as long for each further epoch as it did for those before. One to come takes, at full length,
the mean of those that have ended. How far trials are trained before they are ended is read from those that have ended
since pruning began; before any has, it is foreseen. Successive halving trains a share of all epochs that depends on how
many trials there are, whatever it has done so far.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import mean

from search.study.pruning import RANDOM_TRIALS

FORESEEN = (0.3, 0.3, 1.0)  # shares of the epochs that a few trials would be trained for, beside those that were
# Epochs that successive halving trains, in whole trials: this share of all, and more (fitted to benchmarks/halving.py's
# rule with 12, 24 and 48 trials). The rest of the best of each architecture weighs less the more trials there are.
HALVED, HALVED_MORE = 0.33, 2.0


@dataclass(frozen=True)
class Pace:
    """A trial so far."""

    seconds: float  # since it started, or until it ended
    epochs: int  # that it has trained
    asked: int  # epochs
    trained_seconds: float  # from its start to the end of its last epoch

    @property
    def share(self) -> float:
        """Of its epochs."""
        return self.epochs / self.asked

    @property
    def per_epoch(self) -> float:
        """Seconds of an epoch, with a part of what comes before the first."""
        return self.trained_seconds / self.epochs

    @property
    def whole(self) -> float:
        """Seconds that it takes at full length."""
        return self.seconds + (self.asked - self.epochs) * self.per_epoch


def seconds_left(
    ended: Sequence[Pace],
    running: Sequence[Pace],
    *,
    to_come: int,
    workers: int,
    prunes: bool,
    before: int = 0,
    starts_for: float = inf,
) -> float | None:
    """Seconds until all trials have ended; None while none has that was trained.

    Args:
        ended: trials that have ended in their order, also those that were not trained.
        workers: trials at a time.
        prunes: whether hopeless trials are ended early, once a few have ended.
        before: trials of the study that ended before these.
        starts_for: seconds after which no further trial is started.
    """
    trained = [course for course in ended if course.epochs]
    if not trained:
        return None
    whole = mean(course.whole for course in trained)
    unpruned = max(RANDOM_TRIALS - before, 0) if prunes else 0
    shares = [course.share for course in trained[unpruned:]] + list(FORESEEN if prunes else ())
    begun, answered = len(ended) + len(running), 1 - len(trained) / len(ended)
    busy = [_left(course, whole, shares) for course in running][:workers]
    busy += [0.0] * (workers - len(busy))
    heapq.heapify(busy)
    for number in range(begun, begun + to_come):  # each on the worker that is free first
        if busy[0] >= starts_for:
            break
        share = 1.0 if number < unpruned else mean(shares)
        heapq.heapreplace(busy, busy[0] + whole * share * (1 - answered))
    return max(busy)


def seconds_left_halving(begun: Sequence[Pace], *, to_come: int, workers: int, starts_for: float = inf) -> float | None:
    """Seconds until a sweep by successive halving has ended; None while no trial was trained.

    Args:
        begun: all trials so far, also those that wait at a rung and those that were not trained.
        workers: trials at a time.
        starts_for: seconds after which no further trial is started.
    """
    trained = [course for course in begun if course.epochs]
    if not trained:
        return None
    searched = len(trained) + to_come * len(trained) / len(begun)
    left = max(HALVED * searched + HALVED_MORE - sum(course.share for course in trained), 0.0)
    return min(left * mean(course.whole for course in trained) / workers, starts_for)


def _left(course: Pace, whole: float, shares: Sequence[float]) -> float:
    """Seconds that a running trial still takes, as those did that came as far."""
    expected = mean([share for share in shares if share > course.share] or [1.0])
    if not course.epochs:
        return max(expected * whole - course.seconds, 0.0)
    since = course.seconds - course.trained_seconds  # the end of its last epoch
    return max((expected * course.asked - course.epochs) * course.per_epoch - since, 0.0)
