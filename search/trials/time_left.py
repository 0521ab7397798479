"""Estimate how long the remaining trials will take.

A running trial is assumed to keep its pace. A trial that has not started takes the mean time of the completed ones at
full length, times the share of epochs that trials run before they are pruned. That share is taken from the trials that
ended since pruning began, together with a few assumed ones. Successive halving promotes a known share of the trials
from each rung: the epochs that these still need are left, and a trial is built and compiled anew each time that it
starts or resumes, which takes longer than the epochs of a small data set.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from statistics import mean

from search.study.pruning import RANDOM_TRIALS, rungs

FORESEEN = (0.3, 0.3, 1.0)  # assumed shares of epochs, counted like those of ended trials
SHARE_ON, MORE_ON, LEAST_ON = 0.4, 1.5, 3  # of n trials at a rung of successive halving, 0.4 n + 1.5 are promoted, or 3


@dataclass(frozen=True)
class Pace:
    """The pace of a trial."""

    seconds: float  # since it started, or until it ended
    epochs: int  # completed
    asked: int  # requested
    trained_seconds: float  # from its start to the end of its last epoch
    epoch_seconds: float | None = None  # of an epoch after the first since it started or resumed; None: not known
    start_seconds: float = 0.0  # before its first epoch, each time that it starts or resumes; 0: not known

    @property
    def share(self) -> float:
        """The share of its epochs that are completed."""
        return self.epochs / self.asked

    @property
    def per_epoch(self) -> float:
        """Seconds per epoch; while only the first is known, with the time before it."""
        return self.trained_seconds / self.epochs if self.epoch_seconds is None else self.epoch_seconds

    @property
    def whole(self) -> float:
        """Estimated seconds for all its epochs."""
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
    """Return the estimated seconds until all trials have ended; None until a trained one has ended.

    Args:
        ended: trials in the order in which they ended, including those that were not trained.
        workers: trials that run at the same time.
        prunes: whether trials may be pruned, once a few have ended.
        before: trials of the study that ended before these.
        starts_for: seconds after which no more trials start.
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


def seconds_left_halving(
    ended: Sequence[Pace], running: Sequence[Pace], *, to_come: int, workers: int, starts_for: float = inf
) -> float | None:
    """Return the estimated seconds until a sweep by successive halving ends; None while no trial was trained.

    Args:
        ended: trials that are not running, including those that wait at a rung.
        running: trials that are.
        to_come: trials that have not started.
        workers: trials that run at the same time.
        starts_for: seconds after which no trial is started or resumed.
    """
    trained = [course for course in (*ended, *running) if course.epochs]
    if not trained:
        return None
    timed = [course for course in trained if course.epoch_seconds is not None] or trained
    start, whole = mean(course.start_seconds for course in timed), mean(one.asked * one.per_epoch for one in timed)
    asked = trained[0].asked
    steps = [*(rung / asked for rung in rungs(asked)), 1.0]
    searched = len(running) + sum(bool(course.epochs) for course in ended) * (1 + to_come / max(len(ended), 1))
    expected, left = searched, 0.0  # trials promoted from the rung before; seconds of those to be trained
    for begin, end in pairwise([0.0, *steps]):
        gone_on = sum(course.share > begin for course in ended) + sum(course.share >= begin for course in running)
        left += max(expected - gone_on, 0.0) * (start + (end - begin) * whole)
        expected = min(expected, max(SHARE_ON * expected + MORE_ON, LEAST_ON))
    now = [_to_next(course, start, whole, steps) for course in running]
    return max(min(left / workers, max(starts_for, 0.0)) + sum(now) / workers, max(now, default=0.0))


def _to_next(course: Pace, start: float, whole: float, steps: Sequence[float]) -> float:
    """Return the seconds that a running trial takes to its next rung, or to its end."""
    next_step = next((step for step in steps if step > course.share), 1.0)
    if not course.epochs:
        return max(start + next_step * whole - course.seconds, 0.0)
    since = course.seconds - course.trained_seconds
    return max((next_step * course.asked - course.epochs) * course.per_epoch - since, 0.0)


def _left(course: Pace, whole: float, shares: Sequence[float]) -> float:
    """Return the seconds that a running trial still takes, judging by trials that got at least as far."""
    expected = mean([share for share in shares if share > course.share] or [1.0])
    if not course.epochs:
        return max(expected * whole - course.seconds, 0.0)
    since = course.seconds - course.trained_seconds  # since the end of its last epoch
    return max((expected * course.asked - course.epochs) * course.per_epoch - since, 0.0)
