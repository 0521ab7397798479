"""The time that a sweep says is left, on a simulated clock: trials of several families, some ended early."""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass
from statistics import mean

import pytest

from benchmarks.halving import Recorded, halving
from experiments.config import EpochMetrics, RunConfig
from search.study.pruning import GATHERED, RANDOM_TRIALS, WARMUP_EPOCHS
from search.trials import progress
from search.trials.progress import TrialProgress
from search.trials.time_left import Pace, seconds_left, seconds_left_halving

# Seconds of an epoch at the published width (experiments/LOG.md), the same for half and double widths; and of a start.
FAMILIES = {"allconv": 1.6, "chollet": 1.9, "convmixer": 0.9, "malireddi": 0.5, "mobilenet": 0.8, "pocket": 0.35}
WIDTHS, START, EPOCHS = (0.4, 0.7, 1.0, 1.3), 2.0, 15


@dataclass(frozen=True)
class Trial:
    started: float
    per_epoch: float
    epochs: int

    @property
    def ended(self) -> float:
        return self.started + START + self.per_epoch * self.epochs

    def course(self, now: float) -> Pace:
        epochs = min(int(max(0.0, (now - self.started - START) / self.per_epoch) + 1e-9), self.epochs)
        trained = START + self.per_epoch * epochs if epochs else 0.0
        return Pace(min(now, self.ended) - self.started, epochs, EPOCHS, trained)


def sweep(seed: int, *, trials: int, workers: int, prunes: bool) -> list[Trial]:
    """Each family as published, then half of the trials of two that do well; every other one ended half-way."""
    draw, free, found = random.Random(seed), [0.0] * workers, []
    for number in range(trials):
        first = number < len(FAMILIES)
        family = list(FAMILIES)[number] if first else draw.choice([*FAMILIES, *["allconv", "pocket"] * 3])
        epochs = EPOCHS
        if prunes and number >= RANDOM_TRIALS and draw.random() < 0.5:
            epochs = draw.randint(WARMUP_EPOCHS + 1, EPOCHS // 2)
        trial = Trial(free[0], FAMILIES[family] * (1.0 if first else draw.choice(WIDTHS)), epochs)
        heapq.heapreplace(free, trial.ended)
        found.append(trial)
    return found


@pytest.mark.parametrize("prunes", [True, False])
@pytest.mark.parametrize(("workers", "trials", "share"), [(1, 12, 0.8), (1, 24, 0.95), (2, 24, 0.95)])
def test_it_is_right_within_a_factor_of_two_once_three_trials_have_ended(
    workers: int, trials: int, share: float, prunes: bool
) -> None:
    right, before = [], []
    for seed in range(20):
        course = sweep(seed, trials=trials, workers=workers, prunes=prunes)
        end = max(trial.ended for trial in course)
        for step in range(1, 85):  # of a hundred: which trial the last is, and whether it is ended early, nobody knows
            now = end * step / 100
            ended = [trial for trial in course if trial.ended <= now]
            if len(ended) < 3:
                continue
            running = [trial for trial in course if trial.started <= now < trial.ended]
            to_come = trials - len(ended) - len(running)
            found = seconds_left(
                [trial.course(now) for trial in ended],
                [trial.course(now) for trial in running],
                to_come=to_come,
                workers=workers,
                prunes=prunes,
            )
            assert found is not None
            right.append(0.5 <= found / (end - now) <= 2)
            simple = mean(trial.ended - trial.started for trial in ended) * (to_come + len(running)) / workers
            before.append(0.5 <= simple / (end - now) <= 2)
    assert mean(right) > share  # of few trials some families are seen once, and those to come nobody knows
    assert mean(right) > mean(before)  # than by the mean of trials that have ended


@pytest.mark.parametrize(("start", "slowness"), [(START, 1.0), (8.0, 0.2)], ids=["long epochs", "long starts"])
@pytest.mark.parametrize("trials", [12, 24])
def test_with_halving_it_is_right_within_a_factor_of_two_once_eight_trials_have_started(
    trials: int, start: float, slowness: float
) -> None:
    right = []
    for seed in range(30):
        draw = random.Random(seed)
        recorded = []
        for number in range(trials):
            family = draw.choice(list(FAMILIES))
            last, slow = draw.uniform(0.9, 0.99), draw.uniform(0.5, 3)
            values = tuple(last * (1 - math.exp(-epoch / slow)) for epoch in range(1, EPOCHS + 1))
            seconds = slowness * FAMILIES[family] * draw.choice(WIDTHS)
            recorded.append(Recorded(number, family, 10_000, values, seconds, cost=seconds))
        replayed = halving(recorded, start)
        for now, _, _ in replayed.trained:
            epochs: Counter[Recorded] = Counter()
            for when, trial, count in replayed.trained:
                epochs[trial] += count * (when <= now)
            if sum(map(bool, epochs.values())) < GATHERED or now > 0.84 * replayed.seconds:
                continue
            waiting = [
                Pace(spent, count, EPOCHS, spent, trial.epoch_seconds, start)
                for trial, count in epochs.items()
                if count and (spent := start + count * trial.epoch_seconds)
            ]
            found = seconds_left_halving(waiting, [], to_come=trials - len(waiting), workers=1)
            assert found is not None
            right.append(0.5 <= found / (replayed.seconds - now) <= 2)
    assert len(right) > 50
    assert mean(right) > 0.85


def test_with_halving_what_runs_is_trained_to_its_next_rung() -> None:
    ended, running = [Pace(10.0, 15, 15, 10.0)] * 4, [Pace(20.0, 10, 15, 20.0)]
    assert seconds_left_halving([], [], to_come=5, workers=1) is None
    assert seconds_left_halving(ended, [], to_come=0, workers=1) == 0
    assert seconds_left_halving(ended, running, to_come=0, workers=1) == pytest.approx(10)
    assert seconds_left_halving(ended, running, to_come=0, workers=4) == pytest.approx(10)  # one trial on one of them
    assert seconds_left_halving([], running, to_come=0, workers=1) == pytest.approx(10)
    some = seconds_left_halving(ended, running, to_come=6, workers=1)
    assert some
    assert some > 20
    for limit in (0.0, -5.0):  # no more is started, what runs ends
        assert seconds_left_halving(ended, running, to_come=6, workers=1, starts_for=limit) == pytest.approx(10)
    infeasible = [*ended, *[Pace(0.1, 0, 15, 0.0)] * 4]  # as half of those to come will be
    fewer = seconds_left_halving(infeasible, running, to_come=6, workers=1)
    assert fewer
    assert fewer < some


def test_with_halving_replicates_are_trained_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    config = RunConfig("pocket", "mnist5k", filters=8, dropout=0.1, epochs=1)
    shown = TrialProgress(1, 1, pruner="halving")
    shown.started(0, config)
    now[0] += 100
    shown.epoch(0, EpochMetrics(1, 1.0, 0.5, 1.0, 0.5, 100.0))
    shown.pruned(0, EpochMetrics(1, 1.0, 0.5, 1.0, 0.5, 100.0))
    shown.expect_more(3)
    assert shown._left() == "about 5 min left"


def test_a_start_is_told_from_epochs_and_counted_once_whenever_a_trial_resumes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    config = RunConfig("pocket", "mnist5k", filters=8, dropout=0.1, epochs=10)
    shown = TrialProgress(1, 1, pruner="halving")
    shown.started(0, config)
    for epoch, seconds in ((1, 40 + 5), (2, 5)):
        now[0] += seconds
        shown.epoch(0, EpochMetrics(epoch, 1.0, 0.5, 1.0, 0.5, seconds))
    shown.paused(0, EpochMetrics(2, 1.0, 0.5, 1.0, 0.5, 5.0))
    assert shown._left() == "about 80 s left"  # a start, and eight epochs
    shown.started(0, config)
    assert shown._left() == "about 80 s left"
    now[0] += 30
    assert shown._left() == "about 50 s left"
    shown.resumed(0, 2, 50.0)
    now[0] += 10 + 5
    shown.epoch(0, EpochMetrics(3, 1.0, 0.5, 1.0, 0.5, 45.0))
    assert shown._left() == "about 35 s left"
    shown.pruned(0, EpochMetrics(3, 1.0, 0.5, 1.0, 0.5, 45.0))
    assert shown._left() == ""


def test_nothing_is_said_before_a_trial_was_trained() -> None:
    answered = Pace(0.1, 0, 10, 0.0)
    assert seconds_left([], [], to_come=5, workers=1, prunes=True) is None
    assert seconds_left([answered], [], to_come=5, workers=1, prunes=True) is None
    trained = Pace(10.0, 10, 10, 10.0)
    assert seconds_left([answered, trained], [], to_come=4, workers=1, prunes=False) == pytest.approx(20)
    left = seconds_left([trained], [], to_come=5, workers=1, prunes=False, starts_for=15)
    assert left == pytest.approx(20)  # the third would start after 20 s
    assert seconds_left([trained], [], to_come=3, workers=2, prunes=False) == pytest.approx(20)  # one waits for a place


def test_a_sweep_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    config = RunConfig("pocket", "mnist5k", filters=8, dropout=0.1, epochs=4)
    shown = TrialProgress(3, 1)
    assert shown._left() == ""
    for number in range(2):
        shown.started(number, config)
        for epoch in range(1, 5):
            now[0] += 100
            shown.epoch(number, EpochMetrics(epoch, 1.0, 0.5, 1.0, 0.5, 100.0))
        shown.pruned(number, EpochMetrics(4, 1.0, 0.5, 1.0, 0.5, 100.0))
    assert shown._left() == "about 7 min left"
    shown.started(2, config)
    now[0] += 350
    shown.epoch(2, EpochMetrics(1, 1.0, 0.5, 1.0, 0.5, 350.0))
    assert shown._left() == "about 18 min left"  # three epochs as long as the first


def test_what_other_sweeps_have_begun_and_what_a_limit_leaves_out_is_not_to_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    config = RunConfig("pocket", "mnist5k", filters=8, dropout=0.1, epochs=1)
    shown = TrialProgress(10, 1)
    for number in (0, 7):  # another sweep of the study has those in between
        shown.started(number, config)
        now[0] += 30
        shown.epoch(number, EpochMetrics(1, 1.0, 0.5, 1.0, 0.5, 30.0))
        shown.pruned(number, EpochMetrics(1, 1.0, 0.5, 1.0, 0.5, 30.0))
    assert shown._left() == "about 60 s left"
    shown.no_start_after(20)
    assert shown._left() == "about 30 s left"


def test_a_trial_that_waited_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    config = RunConfig("pocket", "mnist5k", filters=8, dropout=0.1, epochs=10)
    shown = TrialProgress(1, 1)
    shown.started(0, config)
    for epoch in (1, 2):
        now[0] += 100
        shown.epoch(0, EpochMetrics(epoch, 1.0, 0.5, 1.0, 0.5, 100.0))
    shown.paused(0, EpochMetrics(2, 1.0, 0.5, 1.0, 0.5, 100.0))
    assert shown._done == 0
    assert shown._left() == "about 0 s left"
    now[0] += 5_000
    shown.started(0, config)
    shown.resumed(0, 2, 200.0)
    shown.epoch(0, EpochMetrics(2, 1.0, 0.5, 1.0, 0.5, 100.0))
    shown.pruned(0, EpochMetrics(2, 1.0, 0.5, 1.0, 0.5, 100.0))
    assert (shown._done, len(shown._courses)) == (1, 1)
    assert shown._courses[0].seconds == pytest.approx(200)
