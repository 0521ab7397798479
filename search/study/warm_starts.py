"""Warm starts: the best configuration of each architecture in earlier studies, or in the portfolio.

In earlier studies, architectures whose best results differ by less than the noise of validation count as equally good,
and the fastest one comes first. The others follow in the order of their results. So the first trials of a new study
soon reach a result close to the best.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from architectures.errors import UsageError
from experiments.objective import score
from search.config import AUTO, PORTFOLIO, SweepConfig
from search.engines.messages import KnownArchitecture
from search.space import SearchSpace
from search.study.owner import attempt_of
from search.study.portfolio import CONFIGURATIONS
from search.study.results import DUPLICATE_OF, REPLICATE_OF
from search.study.spans import spans

PAST_STUDIES = 5  # the most recent ones on other data
AS_GOOD = 0.005  # of the objective: the standard error of accuracy on a few hundred validation images


@dataclass(frozen=True)
class WarmStart:
    """A configuration to start with."""

    values: dict[str, object]  # by name in the study
    source: str  # STUDY/TRIAL, or portfolio/PLACE


@dataclass(frozen=True)
class _Best:
    """The best trial of an architecture in a study."""

    study: str
    trial: FrozenTrial
    lack: float  # difference to the study's best, in the objective
    slowness: float  # duration relative to the study's median trial; 1 if unknown


def starts(
    storage: BaseStorage, config: SweepConfig, digest: str, architectures: Sequence[KnownArchitecture]
) -> list[WarmStart]:
    """Return the configurations that a new study tries first, the most promising first, at most one per architecture.

    Args:
        digest: of its data: `auto` uses studies on other data only.

    Raises:
        UsageError: if the study does not exist, or had another objective.
    """
    searched = {known.name: known for known in architectures}
    match config.warm_start:
        case "off":
            known: list[tuple[Mapping[str, Any], str]] = []
        case "portfolio":
            suitable = CONFIGURATIONS if config.suits_portfolio else ()
            known = [(values, f"{PORTFOLIO}/{place}") for place, values in enumerate(suitable, 1)]
        case _:
            best = _best(storage, config, digest)
            known = [(one.trial.params, f"{one.study}/{one.trial.number}") for one in best]
    return [
        WarmStart(fitting(config.space, searched[name], values), source)
        for values, source in known
        if (name := str(values["architecture"])) in searched
    ]


def _best(storage: BaseStorage, config: SweepConfig, digest: str) -> list[_Best]:
    """Return the best trial of each architecture in the latest study that has one, the most promising first."""
    found: dict[str, list[_Best]] = {}
    for name in _studies(storage, config, digest):
        for architecture, known in _best_of_each(optuna.load_study(study_name=name, storage=storage), config).items():
            found.setdefault(architecture, []).append(known)

    def promise(known: list[_Best]) -> tuple[int, float]:
        return int(fmean(one.lack for one in known) / AS_GOOD), fmean(one.slowness for one in known)

    return [known[0] for _, known in sorted(found.items(), key=lambda one: (promise(one[1]), one[0]))]


def fitting(space: SearchSpace, architecture: KnownArchitecture, values: Mapping[str, object]) -> dict[str, object]:
    """Return an architecture as published, with the values of an earlier configuration that the space allows."""
    choices, ranges = space.choices(architecture), space.continuous
    kept = {
        name: value
        for name, value in values.items()
        if any(value == choice and type(value) is type(choice) for choice in choices.get(name, ()))
        or (name in ranges and isinstance(value, float) and ranges[name][0] <= value <= ranges[name][1])
    }
    return space.published(architecture) | kept


def _studies(storage: BaseStorage, config: SweepConfig, digest: str) -> list[str]:
    """Return the names of earlier studies, latest first: the requested one, or the latest on each other data set."""
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
    """Return the best completed trial of each architecture."""
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
    """Return the duration of a trial; None if an attempt's is unknown because its process died."""
    if attempt_of(trial) < 2:
        return trial.duration.total_seconds() if trial.duration else None
    found = spans(trial)
    return sum(span.seconds for span in found) if len(found) == attempt_of(trial) else None
