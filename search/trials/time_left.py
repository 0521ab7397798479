"""How long the trials that are left will take, from those that have ended and those on their way.

A trial on its way takes as long for each further epoch as it did for those before. One to come takes, at full length,
the mean of those that have ended. How far trials are trained before they are ended is read from those that have ended
since pruning began; before any has, it is foreseen.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import mean

from search.study.pruning import RANDOM_TRIALS

FORESEEN = (0.3, 0.3, 1.0)  # shares of the epochs that a few trials would be trained for, beside those that were


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


def _left(course: Pace, whole: float, shares: Sequence[float]) -> float:
    """Seconds that a running trial still takes, as those did that came as far."""
    expected = mean([share for share in shares if share > course.share] or [1.0])
    if not course.epochs:
        return max(expected * whole - course.seconds, 0.0)
    since = course.seconds - course.trained_seconds  # the end of its last epoch
    return max((expected * course.asked - course.epochs) * course.per_epoch - since, 0.0)
