"""Measure what successive halving saves and loses, replayed from the trials of an unpruned study.

Run: python -m search.sweep --study courses --pruner none --sampler random --trials 40
     python benchmarks/halving.py sqlite:///optuna.db courses

The trials are put into random orders; each order is a sweep with one worker and each pruner. One line per pruner: the
seconds of training compared with training all trials to their end, how much worse the best value is, how long it takes
until a trial as good as that has ended, and how many trials and architectures are trained to their end. Each epoch of a
trial takes its mean time, and each start `--start` seconds.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import optuna
from optuna.trial import TrialState

from search.config import SweepConfig
from search.study.halving import Reached, leading, worth_their_cost
from search.study.pruning import GATHERED, RANDOM_TRIALS, WARMUP_EPOCHS, rungs
from search.study.ranking import Scored


@dataclass(frozen=True)
class Recorded:
    """A trial that was trained to its end."""

    number: int
    architecture: str
    coreml_bytes: int
    values: tuple[float, ...]  # by epoch
    epoch_seconds: float
    cost: float  # of an epoch: multiply-accumulates for an image, or seconds where they were not recorded


@dataclass
class Replayed:
    """One simulated sweep."""

    seconds: float = 0.0
    trained: tuple[tuple[float, Recorded, int], ...] = ()  # when, and for how many epochs
    ended: tuple[tuple[float, Recorded], ...] = ()  # trained to their end, and when

    def train(self, trial: Recorded, epochs: int, start: float) -> None:
        self.seconds += start + epochs * trial.epoch_seconds
        self.trained += ((self.seconds, trial, epochs),)

    def end(self, trial: Recorded) -> None:
        self.ended += ((self.seconds, trial),)


def unpruned(trials: Sequence[Recorded], start: float) -> Replayed:
    replayed = Replayed()
    for trial in trials:
        replayed.train(trial, len(trial.values), start)
        replayed.end(trial)
    return replayed


def median(trials: Sequence[Recorded], start: float) -> Replayed:
    """Optuna's MedianPruner as a sweep sets it."""
    replayed = Replayed()
    reached: list[tuple[float, ...]] = []
    for trial in trials:
        epochs = len(trial.values)
        for epoch in range(WARMUP_EPOCHS + 1, epochs):
            others = [values[epoch - 1] for values in reached if len(values) >= epoch]
            judged = len(replayed.ended) >= RANDOM_TRIALS and others
            if judged and max(trial.values[:epoch]) < statistics.median(others):
                epochs = epoch
                break
        replayed.train(trial, epochs, start)
        reached.append(trial.values[:epochs])
        if epochs == len(trial.values):
            replayed.end(trial)
    return replayed


def halving(trials: Sequence[Recorded], start: float) -> Replayed:
    """`--pruner halving`: once eight have started, what leads at a rung goes on before a new one starts."""
    replayed = Replayed()
    steps = rungs(len(trials[0].values))
    reached: dict[int, int] = {}  # epochs by number
    known = {trial.number: trial for trial in trials}

    def leaders(rung: int) -> list[int]:
        there = [known[number] for number, epochs in reached.items() if epochs >= rung]
        scored = [Scored(one.number, max(one.values[:rung]), one.coreml_bytes) for one in there]
        came = {one.number: Reached(one.architecture, one.cost, one.values[: reached[one.number]]) for one in there}
        architectures = worth_their_cost(came, rung) if rung == steps[0] else {}
        return leading(scored, at_least=SweepConfig.keep, architectures=architectures)

    def gathers() -> bool:
        return len(reached) < min(GATHERED, len(trials))

    def waiting() -> list[int]:
        return [number for rung in steps for number in leaders(rung) if reached[number] == rung]

    def waits(number: int, epoch: int) -> bool:
        if (epoch == steps[0] and gathers()) or number not in leaders(epoch):
            return True
        return any(reached[one] < epoch for one in waiting())

    def run(trial: Recorded) -> None:
        begun = reached.get(trial.number, 0)
        for epoch in range(begun + 1, len(trial.values) + 1):
            reached[trial.number] = epoch
            if epoch in steps and waits(trial.number, epoch):
                break
        replayed.train(trial, reached[trial.number] - begun, start)
        if reached[trial.number] == len(trial.values):
            replayed.end(trial)

    new = list(trials)
    while True:
        resumed = waiting()
        if resumed and not gathers():
            run(known[resumed[0]])
        elif new:
            run(new.pop(0))
        else:
            return replayed


PRUNERS: dict[str, Callable[[Sequence[Recorded], float], Replayed]] = {
    "none": unpruned,
    "median": median,
    "halving": halving,
}


def recorded(storage: str, study: str) -> list[Recorded]:
    found = optuna.load_study(study_name=study, storage=storage).get_trials(states=(TrialState.COMPLETE,))
    return [
        Recorded(
            trial.number,
            trial.params["architecture"],
            trial.user_attrs["coreml_bytes"],
            tuple(value for _, value in sorted(trial.intermediate_values.items())),
            (seconds := trial.duration.total_seconds() / len(trial.intermediate_values)),
            trial.user_attrs.get("macs", seconds),
        )
        for trial in found
        if trial.duration and trial.intermediate_values
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("storage")
    parser.add_argument("study")
    parser.add_argument("--trials", type=int, default=12, help="of a simulated sweep")
    parser.add_argument("--orders", type=int, default=500)
    parser.add_argument("--start", type=float, default=2.5, help="seconds that each start of a trial takes")
    arguments = parser.parse_args()
    trials = recorded(arguments.storage, arguments.study)
    print(f"{len(trials)} trials of {len({trial.architecture for trial in trials})} architectures")
    chance = random.Random(0)
    orders = [chance.sample(trials, min(arguments.trials, len(trials))) for _ in range(arguments.orders)]
    for name, prune in PRUNERS.items():
        shares, losses, waits, ends, families = [], [], [], [], []
        for order in orders:
            whole, found = unpruned(order, arguments.start), prune(order, arguments.start)
            best = max(max(trial.values) for trial in order)
            own = max((max(trial.values) for _, trial in found.ended), default=0.0)
            wanted = min(best, own)
            until = next(when for when, trial in found.ended if max(trial.values) >= wanted)
            theirs = next(when for when, trial in whole.ended if max(trial.values) >= wanted)
            shares.append(found.seconds / whole.seconds)
            losses.append(best - own)
            waits.append(until / theirs)
            ends.append(len(found.ended))
            families.append(len({trial.architecture for _, trial in found.ended}))
        mean = statistics.mean
        print(
            f"{name:8} {mean(shares):.2f} of the time, best {mean(losses):.4f} worse (at most {max(losses):.4f}), "
            f"its best after {statistics.median(waits):.2f} of the time, {mean(ends):.1f} trials and "
            f"{mean(families):.1f} architectures to the end"
        )


if __name__ == "__main__":
    main()
