"""Where earlier studies say that a new one may start: the best configuration that they have of each architecture.

Architectures whose best came as close to the study's as the noise of validation allows are equally good; of these the
quickest stands first, the others follow by what they lack. So the first trials are those that soonest promise a result
near the best.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from architectures.errors import UsageError
from experiments.objective import score
from search.config import AUTO, OFF, SweepConfig
from search.engines.messages import KnownArchitecture
from search.space import SearchSpace
from search.study.owner import attempt_of
from search.study.results import DUPLICATE_OF, REPLICATE_OF
from search.study.spans import spans

PAST_STUDIES = 5  # of other data that are looked at, the latest
AS_GOOD = 0.005  # of the objective: a standard error of accuracy on some hundred validation images


@dataclass(frozen=True)
class WarmStart:
    """A configuration to begin with."""

    values: dict[str, object]  # by a study's names
    source: str  # STUDY/TRIAL


@dataclass(frozen=True)
class _Best:
    """The best trial that a study has of an architecture."""

    study: str
    trial: FrozenTrial
    lack: float  # of the objective, to the study's best
    slowness: float  # its seconds by those of the study's median trial; 1 where they are not known


def starts(
    storage: BaseStorage, config: SweepConfig, digest: str, architectures: Sequence[KnownArchitecture]
) -> list[WarmStart]:
    """The configurations that a new study tries first, the most promising first, one an architecture at most.

    Args:
        digest: of its data: `auto` learns from other data alone.

    Raises:
        UsageError: for a study that there is not, or that was judged by another objective.
    """
    if config.warm_start == OFF:
        return []
    found: dict[str, list[_Best]] = {}
    for name in _studies(storage, config, digest):
        for architecture, known in _best_of_each(optuna.load_study(study_name=name, storage=storage), config).items():
            found.setdefault(architecture, []).append(known)

    def promise(known: list[_Best]) -> tuple[int, float]:
        return int(fmean(one.lack for one in known) / AS_GOOD), fmean(one.slowness for one in known)

    searched = {known.name: known for known in architectures}
    return [
        WarmStart(fitting(config.space, searched[name], known[0].trial), f"{known[0].study}/{known[0].trial.number}")
        for name, known in sorted(found.items(), key=lambda one: (promise(one[1]), one[0]))
        if name in searched
    ]


def fitting(space: SearchSpace, architecture: KnownArchitecture, trial: FrozenTrial) -> dict[str, object]:
    """An architecture as published, but for the values of an earlier trial that a space allows."""
    choices, ranges = space.choices(architecture), space.continuous
    kept = {
        name: value
        for name, value in trial.params.items()
        if any(value == choice and type(value) is type(choice) for choice in choices.get(name, ()))
        or (name in ranges and isinstance(value, float) and ranges[name][0] <= value <= ranges[name][1])
    }
    return space.published(architecture) | kept


def _studies(storage: BaseStorage, config: SweepConfig, digest: str) -> list[str]:
    """Names of the earlier studies, the latest first: the one that was asked for, or the latest of each other data."""
    objectives = {}
    digests = {}
    for study in reversed(storage.get_all_studies()):
        if study.study_name != config.study and (recorded := study.user_attrs.get("config")):
            objectives[study.study_name] = json.loads(recorded).get("objectives", ["val_accuracy"])[0]
            digests[study.study_name] = study.user_attrs.get("dataset_digest")
    if config.warm_start == AUTO:
        of_others = [
            name for name, own in objectives.items() if own == config.objective and digests[name] not in (digest, None)
        ]
        latest = {digests[name]: name for name in reversed(of_others)}
        return [name for name in of_others if latest[digests[name]] == name][:PAST_STUDIES]
    name = config.warm_start
    if name not in objectives:
        raise UsageError(
            f"--warm-start {name} is no earlier study in {config.storage}. It holds: {', '.join(objectives) or 'none'}."
        )
    if objectives[name] != config.objective:
        raise UsageError(
            f"--warm-start {name} was judged by {objectives[name]}, and this study is by {config.objective}: choose "
            f"another study, or the same --objective."
        )
    return [name]


def _best_of_each(study: optuna.Study, config: SweepConfig) -> dict[str, _Best]:
    """The best trial of each architecture that was trained to its end."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    trained = [one for one in complete if not {REPLICATE_OF, DUPLICATE_OF} & one.user_attrs.keys()]

    def merit(trial: FrozenTrial) -> float:
        return score(config.objective, trial.values[0])

    best: dict[str, FrozenTrial] = {}
    for trial in sorted(trained, key=merit, reverse=True):
        best.setdefault(trial.params["architecture"], trial)
    if not best:
        return {}
    most = max(map(merit, trained))
    known = [seconds for trial in trained if (seconds := _seconds(trial)) is not None]
    usual = (median(known) if known else 0.0) or 1.0
    return {
        name: _Best(study.study_name, trial, most - merit(trial), (_seconds(trial) or usual) / usual)
        for name, trial in best.items()
    }


def _seconds(trial: FrozenTrial) -> float | None:
    """How long a trial took; None where that of an attempt is not known, as its process died."""
    if attempt_of(trial) < 2:
        return trial.duration.total_seconds() if trial.duration else None
    found = spans(trial)
    return sum(span.seconds for span in found) if len(found) == attempt_of(trial) else None
