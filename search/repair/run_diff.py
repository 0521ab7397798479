"""Differences between the run of an ended trial and the study: parameters, epochs, final metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

from optuna.trial import FixedTrial, FrozenTrial

from experiments.config import EpochMetrics, RunConfig
from experiments.datasets import reading_of
from experiments.objective import OF_THE_NETWORK, final, score, tie_breaker
from experiments.tracking import RunRecord
from search.config import SweepConfig
from search.engines.messages import KnownArchitecture
from search.study.results import values_by_epoch
from search.trials.run import run_config

EPOCH_METRICS = tuple(field.name for field in fields(EpochMetrics) if field.name != "epoch")
FINAL_METRICS = (
    "best_epoch",
    "best_val_accuracy",
    "best_val_loss",
    "keras_bytes",
    "host_latency_ms",
    "images_per_second",
)
ONCE = (  # metrics that are recorded once, not each epoch
    *FINAL_METRICS,
    *OF_THE_NETWORK,
    "best_val_balanced_accuracy",  # missing in older records, as it is for each epoch
    "drawn_accuracy",
    "expected_calibration_error",
    "val_accuracy_low",
    "val_accuracy_high",
    "macro_precision",
    "macro_recall",
)


@dataclass(frozen=True)
class Parameters:
    """Differences in a run's parameters."""

    wrong: tuple[str, ...]  # as shown to the user
    missing: dict[str, str]  # values in the study


@dataclass(frozen=True)
class Metrics:
    """Differences in a run's metrics; strings are shown to the user, and empty if there is no difference."""

    doubled: str  # epochs and final metrics that were recorded twice
    strange: str  # epochs that the trial did not have
    contradicting: tuple[str, ...]
    missing_course: dict[int, float]  # the objective by epoch, from the study
    missing_figures: dict[str, float]  # final metrics, from the study
    lost: str  # what the study lacks too


def compare_parameters(sweep: SweepConfig, trial: FrozenTrial, record: RunRecord) -> Parameters:
    """Compare a run's parameters with its trial's."""
    known, held = parameters(sweep, trial), record.params
    reading = {key: value for key, value in reading_of(sweep.dataset).items() if key in held}  # not in old records
    told = known | reading
    wrong = [f"{key} {held[key]}, not {told.get(key, 'there')}" for key in held if held[key] != told.get(key)]
    return Parameters(tuple(wrong), {key: known[key] for key in known.keys() - held.keys()})


def compare_metrics(
    trial: FrozenTrial,
    source: FrozenTrial,
    record: RunRecord,
    points: Mapping[str, Sequence[tuple[int, float]]],
    *,
    objectives: Sequence[str],
) -> Metrics:
    """Compare a run's metrics with its trial's.

    Args:
        trial: the run's trial.
        source: the trial that was trained: this one, or the one whose results it got.
        points: the recorded (epoch, value) of each of EPOCH_METRICS, and of ONCE as far as recorded.
    """
    objective = objectives[0]
    course = dict(enumerate(values_by_epoch(source), 1))
    known = final_metrics(source, objectives, dict(points[tie_breaker(objective)]))
    steps = {key: Counter(step for step, _ in points[key]) for key in EPOCH_METRICS}
    again = [key for key in ONCE if len(points.get(key, ())) > 1]
    held = steps[objective]
    wrong = [step for step, value in course.items() if step in held and (step, value) not in points[objective]]
    lost = ""
    # A failed trial's last attempt may have ended earlier. The tag of a restored run says what it lacks.
    if trial.state.name != "FAIL" and "restored" not in record.tags:
        recorded = [key for key in EPOCH_METRICS if steps[key] or key != "val_balanced_accuracy"]
        epochs = {key: course.keys() - steps[key].keys() for key in recorded if key != objective}
        ends = [key for key in _expected(source) if key not in record.metrics and key not in known]
        lost = "; ".join(filter(None, [_epochs(epochs), ", ".join(ends)]))
    return Metrics(
        doubled="; ".join(
            filter(
                None,
                [
                    _epochs({key: [step for step in found if found[step] > 1] for key, found in steps.items()}),
                    ", ".join(again),
                ],
            )
        ),
        strange=_epochs({key: found.keys() - course.keys() for key, found in steps.items()}),
        contradicting=(
            *(f"{objective} of epoch {step}" for step in wrong),
            *(key for key, value in known.items() if record.metrics.get(key, value) != value),
        ),
        missing_course={step: value for step, value in course.items() if step not in held},
        missing_figures={key: value for key, value in known.items() if key not in record.metrics},
        lost=lost,
    )


def parameters(sweep: SweepConfig, trial: FrozenTrial) -> dict[str, str]:
    """Return the parameters that the run of a trial should have."""
    return {key: str(value) for key, value in _config(sweep, trial).parameters().items()}


def _config(sweep: SweepConfig, trial: FrozenTrial) -> RunConfig:
    """Return what a trial was trained with."""
    architecture = trial.params["architecture"]
    prefix = f"{architecture}."
    knobs = sorted((key.removeprefix(prefix), (v,)) for key, v in trial.params.items() if key.startswith(prefix))
    filters = trial.params.get("filters")
    known = KnownArchitecture(
        architecture, filters, 0.0, misfit=None, knobs=tuple(knobs)
    )  # an ended trial needs no defaults
    return run_config(sweep, trial, sweep.space.suggest(FixedTrial(trial.params), [known]))


def final_metrics(trial: FrozenTrial, objectives: Sequence[str], tie_breakers: Mapping[int, float]) -> dict[str, float]:
    """Return the known final metrics of a trial.

    The study does not record what decides between epochs with the same objective.

    Args:
        tie_breakers: the deciding metric by epoch, as far as it is known.
    """
    other = tie_breaker(objectives[0])
    found: dict[str, float] = {name: trial.user_attrs[name] for name in OF_THE_NETWORK if name in trial.user_attrs}
    if trial.state.name == "COMPLETE":  # for a pruned trial, Optuna's value is that of the last epoch
        found |= {final(name): value for name, value in zip(objectives, trial.values, strict=True)}
        best = trial.values[0]
        tied = [epoch for epoch, value in enumerate(values_by_epoch(trial), 1) if value == best]
        if len(tied) == 1 or tie_breakers.keys() >= set(tied):
            found["best_epoch"] = epoch = max(tied, key=lambda one: score(other, tie_breakers.get(one, 0.0)))
            if epoch in tie_breakers:
                found[final(other)] = tie_breakers[epoch]
    return found


def _expected(trial: FrozenTrial) -> tuple[str, ...]:
    """Return the names of the final metrics that the run of a trial should have."""
    built = OF_THE_NETWORK if "coreml_bytes" in trial.user_attrs else ()
    return built + (FINAL_METRICS if trial.state.name == "COMPLETE" else ())


def _epochs(found: Mapping[str, Collection[int]]) -> str:
    """Return metrics with their epochs as shown to the user; empty if no metric has one.

    >>> _epochs({"loss": [2], "accuracy": [], "val_loss": [2], "val_accuracy": [1, 3]})
    'loss, val_loss of epochs 2; val_accuracy of epochs 1, 3'
    """
    metrics: dict[str, list[str]] = {}
    for key, epochs in found.items():
        metrics.setdefault(", ".join(map(str, sorted(epochs))), []).append(key)
    return "; ".join(f"{', '.join(keys)} of epochs {epochs}" for epochs, keys in metrics.items() if epochs)
