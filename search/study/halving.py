"""Successive halving with pauses: which trials wait at a rung, and which are promoted from it.

At each rung a trial is compared with all that have reached it. The best third of them is promoted, and at least as many
as are to be kept; at the first rung also the best of each architecture, so that architectures that learn slowly at
first are not compared with faster ones, unless another trial of that architecture was better at no more computation;
with several objectives also all trials on the front. The others wait, with the state of their training on disk. As more
trials reach a rung, more of them are promoted, so a waiting trial may resume later, with the same bits as if it had
never stopped. Trials that still wait when a study has nothing else to train are pruned.

No trial leaves the first rung until eight have started, nor the second while a leader waits at the first: so the first
trials have others to be compared with. With a time limit neither rule holds, so that some trials finish before it.
The first warm start never waits: it did well elsewhere, and so a sweep soon has one good network.

The rule is ASHA's (Li et al. 2020, https://arxiv.org/abs/1810.05934, algorithm 2) except for kept models,
architectures, fronts, the order, and rounding: ASHA rounds a third down, this rounds it up. What it saves and loses
against the median pruner is in experiments/LOG.md (2026-11-30).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.study.pruning import GATHERED, REDUCTION_FACTOR, rungs
from search.study.ranking import Scored, front_of_objectives, ranked
from search.study.results import WARM_START, Results, is_paused, values_by_epoch


def leading(
    scored: Iterable[Scored],
    *,
    at_least: int = 1,
    architectures: Mapping[int, str] | None = None,
    front_first: bool = False,
) -> list[int]:
    """Return the numbers of the trials that are promoted from a rung, the best first.

    Args:
        scored: all trials that have reached the rung, with their values there.
        at_least: how many are promoted, if that many have reached it.
        architectures: by number, of trials that are promoted as the best of their architecture.
        front_first: whether the front of several objectives is promoted, and comes before the rest.

    >>> at_rung = [Scored(0, 0.9, 500), Scored(1, 0.8, 500), Scored(2, 0.5, 500), Scored(3, 0.4, 500)]
    >>> leading(at_rung), leading(at_rung, architectures={0: "pocket", 1: "pocket", 2: "pocket", 3: "resnet"})
    ([0, 1], [0, 1, 3])
    """
    scored = list(scored)
    order = [one.number for one in ranked(scored, front_first=front_first)]
    going = set(order[: max(math.ceil(len(order) / REDUCTION_FACTOR), at_least)])
    if front_first:
        going |= {one.number for one in front_of_objectives(scored)}
    if architectures:
        named = [number for number in reversed(order) if number in architectures]
        going.update({architectures[number]: number for number in named}.values())
    return [number for number in order if number in going]


@dataclass(frozen=True)
class Reached:
    """How far a trial has come."""

    architecture: str
    cost: float  # of an epoch, such as multiply-accumulates for an image; 0: unknown
    values: tuple[float, ...]  # of the objective, by epoch


def worth_their_cost(there: Mapping[int, Reached], rung: int, *, minimized: bool = False) -> dict[int, str]:
    """Return the architectures, by number, of trials at a rung that no trial of the same one beats at equal cost.

    >>> small, large = Reached("resnet", 1, (0.4, 0.6, 0.8, 0.9)), Reached("resnet", 2, (0.5, 0.7))
    >>> worth_their_cost({0: small, 1: large}, 2)
    {0: 'resnet'}
    """

    def best(values: tuple[float, ...]) -> float:
        return -min(values) if minimized else max(values)

    def outdone(one: Reached, other: Reached) -> bool:
        epochs = int(rung * one.cost / other.cost) if other.cost else 0
        return epochs > 0 and best(other.values[:epochs]) > best(one.values[:rung])

    rivals: dict[str, list[Reached]] = {}  # by architecture, the best first, so that most comparisons end early
    for one in sorted(there.values(), key=lambda one: best(one.values), reverse=True):
        rivals.setdefault(one.architecture, []).append(one)
    return {
        number: one.architecture
        for number, one in there.items()
        if not any(outdone(one, other) for other in rivals[one.architecture])
    }


class Halving:
    """Decides which trials wait and which one resumes, from the values of all trials of a study.

    An instance reads the trials once, and serves one decision.
    """

    def __init__(self, results: Results) -> None:
        self._results, self._rungs = results, rungs(results.config.epochs)
        self._trials = results.searched()

    def pauses(self, trial: FrozenTrial, values: tuple[float, ...]) -> bool:
        """Return whether a trial must wait after the epochs with these values."""
        rung = len(values)
        if rung not in self._rungs or (trial.number == 0 and WARM_START in trial.user_attrs):
            return False
        if (rung == self._rungs[0] and self.gathers()) or trial.number not in self._leading(rung, (trial, values)):
            return True
        first = None if self._results.config.timeout else self.to_resume()
        return first is not None and self._rung_of(first) < rung

    def gathers(self) -> bool:
        """Return whether more trials must start before any leaves the first rung."""
        config = self._results.config
        queued = [one for one in self._trials if one.state == TrialState.WAITING and not is_paused(one)]
        begun = len(self._trials) - len(queued)
        return config.timeout is None and begun < min(GATHERED, config.trials)

    def to_resume(self) -> FrozenTrial | None:
        """Return the waiting trial to resume next: the least trained, then the best; None if no leader waits."""
        waiting = {trial.number: trial for trial in self._trials if is_paused(trial)}
        for rung in self._rungs:
            for number in self._leading(rung) if waiting else ():
                if number in waiting and self._rung_of(waiting[number]) == rung:
                    return waiting[number]
        return None

    def _rung_of(self, trial: FrozenTrial) -> int:
        """Return the rung at which a trial waits, also if an earlier version had other rungs."""
        return max((rung for rung in self._rungs if rung <= len(values_by_epoch(trial))), default=self._rungs[0])

    def _leading(self, rung: int, *more: tuple[FrozenTrial, tuple[float, ...]]) -> list[int]:
        """Return the trials promoted from a rung; `more` are trials with values that the study does not hold yet."""
        found = {trial.number: (trial, values_by_epoch(trial)) for trial in self._trials}
        found |= {trial.number: (trial, values) for trial, values in more}
        come = [one for one in found.values() if len(one[1]) >= rung and not _is_out(one[0])]
        # Trials with the same configuration are represented by the first of them.
        there = {tuple(sorted(trial.params.items())): (trial, values) for trial, values in reversed(come)}.values()
        several_objectives = len(self._results.config.objectives) > 1
        reached = {
            trial.number: Reached(trial.params["architecture"], trial.user_attrs.get("macs", 0), values)
            for trial, values in there
        }
        by_architecture = rung == self._rungs[0] and not several_objectives
        minimized = self._results.config.minimized
        return leading(
            (self._scored(trial, values[:rung]) for trial, values in there),
            at_least=self._results.config.keep,
            architectures=worth_their_cost(reached, rung, minimized=minimized) if by_architecture else {},
            front_first=several_objectives,
        )

    def _scored(self, trial: FrozenTrial, values: tuple[float, ...]) -> Scored:
        course = self._results.course(trial, values)
        best = min(values) if course.minimized else max(values)
        return Scored(trial.number, best, trial.user_attrs["coreml_bytes"], course.minimized, course.costs)


def _is_out(trial: FrozenTrial) -> bool:
    """Return whether a trial has failed or was interrupted: with a lower --trials it may never be resumed."""
    return trial.state == TrialState.FAIL or (trial.state == TrialState.WAITING and not is_paused(trial))


@dataclass(frozen=True)
class PausedAsPruned:
    """A study's storage that shows paused trials as pruned: samplers learn from them and do not ask for them again."""

    storage: BaseStorage

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        trials = self.storage.get_all_trials(study_id, deepcopy=deepcopy)
        shown = [_pruned(trial) if is_paused(trial) else trial for trial in trials]
        return [trial for trial in shown if states is None or trial.state in states]


def _pruned(trial: FrozenTrial) -> FrozenTrial:
    trial = copy.copy(trial)
    trial.state = TrialState.PRUNED
    return trial
