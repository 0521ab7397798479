"""Rows of the leaderboard: the best runs of an experiment or a study, or the versions of a registered model."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import le
from statistics import fmean

from architectures.display import say
from architectures.errors import ProjectError, UsageError
from architectures.knobs import Knob
from experiments.datasets import title
from experiments.evaluation.intervals import accuracy_interval, mean_interval
from experiments.objective import final, score
from experiments.recipe import Recipe, recipe_of
from experiments.tracking import RunRecord, Selection, Tracker, VersionFacts, merit
from experiments.tracking.records import HOST_LATENCY
from experiments.tracking.registry import is_ranked, ranked_by, version_merit


@dataclass(frozen=True)
class Row:
    """A finished run on the leaderboard."""

    rank: int
    run: str
    run_id: str
    study: str | None
    dataset: str  # as recorded by the run, for loading the data again
    architecture: str
    filters: int | None  # None: fixed widths
    dropout: float
    batch_size: int
    learning_rate: float
    schedule: str  # of the learning rate
    optimizer: str
    loss: str  # of training; `val_loss` is always the cross-entropy
    teacher: str  # run and SHA-256 of the model that it was distilled from; empty: none
    recipe: Recipe
    augment: str
    objective: str  # that selected its best epoch
    knobs: dict[str, Knob]  # the architecture's own
    val_accuracy: float | None  # None as `best_epoch`
    val_balanced_accuracy: float | None  # None also for older records
    val_loss: float | None
    val_accuracy_low: float | None  # 95 % Wilson interval; None if the run did not record the number of images
    val_accuracy_high: float | None
    seeds: int  # number of further seeds that this configuration was trained with
    mean_val_accuracy: float | None  # over those seeds, without the first, for which the configuration was chosen
    mean_low: float | None  # 95 % interval of the mean, if there are two seeds or more
    mean_high: float | None
    mean_objective: float | None  # of the run's objective over the same seeds, which ranks it within its study
    best_epoch: int | None  # None here and below: the run was lost and restored
    parameters: int | None
    coreml_bytes: int
    latency_ms: float | None  # of the Keras model, one image, on the host that trained it
    pareto: bool  # on the front: no other run is at least as good in all its figures, and better in one
    version: int | None  # in the registry
    aliases: tuple[str, ...]  # of that version
    test_accuracy: float | None  # of its Core ML file, once it was promoted
    promoted_bytes: int | None  # of that file
    compression: str | None  # of that file
    device_latency_ms: float | None = None  # of that file, one image, on all processors of a phone
    device: str | None = None  # the phone and its system
    macs: int | None = None  # multiply-accumulates for one image
    keras_bytes: int | None = None
    images_per_second: float | None = None  # in training
    front_of: tuple[str, ...] = ("val_accuracy", "coreml_bytes")  # the figures of the front


@dataclass(frozen=True)
class Board:
    """The contents of a leaderboard."""

    name: str  # of the registered model, the study or the experiment
    experiment: str | None  # None for versions of a registered model
    rows: tuple[Row, ...]
    more: bool  # whether there are more rows


def rows(tracker: Tracker, selection: Selection, *, limit: int | None = None) -> list[Row]:
    """Return finished runs, the best by the selection's objective first, then the smallest.

    Within a study, replicated runs come first, by their mean. Across studies, this would rank a weak configuration that
    was replicated above a strong one that was not, so runs are ranked by their own value.

    A replicate counts in the mean of the run that it repeats, and duplicates are left out. The Pareto marks apply to
    all runs of the selection, even if only the first `limit` are returned.

    Raises:
        UsageError: for an unknown experiment, or a study, architecture or data set that is not in it.
    """
    if limit is None:
        finished = tracker.selections.finished(selection)
        best = [run for run in finished if tracker.selections.is_shown(run, selection.objective)]
        best.sort(key=lambda run: merit(run, selection.objective))
    else:
        best = tracker.selections.best(selection, limit)
    # All runs before a run in this order are at least as good: the front among the first ones is that among all, except
    # for equally good runs that are not read.
    front = _front((record.run_id, selection.place(record)) for record in best)
    if limit is not None and selection.costs != Selection.costs:
        known_runs = {record.run_id: record for record in best}
        front = {one for one in front if not tracker.selections.is_dominated(known_runs[one], selection)}
    replicates: dict[tuple[str, str], list[RunRecord]] = {}  # by study and trial number
    for record in _replicates(tracker, selection, best):
        if {"best_val_accuracy", selection.figure} <= record.metrics.keys():
            of = record.tags.get("study", ""), record.tags["replicate_of"]
            replicates.setdefault(of, []).append(record)

    def by_mean(trial: tuple[str, str]) -> float:
        return -score(selection.objective, fmean(one.metrics[selection.figure] for one in replicates[trial]))

    first: list[RunRecord] = []  # replicated ones
    if selection.study:
        known = {_trial(record): record for record in best}
        for study, number in sorted(replicates, key=by_mean)[:limit]:
            record_ = known.get((study, number)) or tracker.selections.trial(selection, study, number)
            if record_ and (study, number) not in known and not tracker.selections.is_dominated(record_, selection):
                front.add(record_.run_id)
            first += [record_] if record_ else []
        first.sort(key=lambda record: (by_mean(_trial(record)), merit(record, selection.objective)))
    shown = [*first, *(record for record in best if record not in first)][:limit]
    versions = tracker.registry.versions_of([record.run_id for record in shown])
    return _rows(
        tracker,
        ((record, versions.get(record.run_id), replicates.get(_trial(record), ())) for record in shown),
        front,
        front_of=(selection.objective, *selection.costs),
    )


def _replicates(tracker: Tracker, selection: Selection, best: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the replicates of a study, which determine its order; across studies, only those of the best runs."""
    if selection.study:
        return tracker.selections.finished(selection, replicate_of="")
    return [
        replicate
        for record in best
        if "replicated" in record.tags
        for replicate in tracker.selections.finished(
            replace(selection, study=record.tags["study"]), replicate_of=record.tags["trial_number"]
        )
    ]


def version_rows(tracker: Tracker, name: str, selection: Selection, *, limit: int | None = None) -> list[Row]:
    """Return the versions of a registered model, the best first (`Registry.best`); Pareto marks as for `rows`.

    Raises:
        UsageError: for an unknown registered model, or a study, architecture or data set that no version has.
    """
    versions = tracker.registry.versions(name)
    chosen = [
        version
        for version in versions
        if selection.study in (None, version.tags.get("study"))
        and selection.dataset in (None, version.tags.get("dataset"))
        and (not selection.architectures or version.tags.get("architecture") in selection.architectures)
    ]
    if not chosen:
        _check_exists(versions, name, selection)
    chosen = [version for version in chosen if _ranks(version)]
    objective = ranked_by(versions)
    chosen.sort(key=lambda version: version_merit(version.tags, version.version, objective))
    # In this order, the place represents the objective.
    front = _front((one.run_id, (place, one.expected_coreml_bytes)) for place, one in enumerate(chosen))
    return _rows(
        tracker,
        ((tracker.runs.get(version.run_id), version, []) for version in chosen),
        front,
        limit=limit,
        front_of=(objective, "coreml_bytes"),
    )


def _ranks(version: VersionFacts) -> bool:
    """Return whether a version's tags have the figures that rank it; report one whose tags do not."""
    if is_ranked(version.tags):
        return True
    place = f"version {version.version} of {version.registered_name}"
    say(f"warning: left out: {place}: its tags name no accuracy and bytes", file=sys.stderr)
    return False


def _rows(
    tracker: Tracker,
    found: Iterable[tuple[RunRecord, VersionFacts | None, Sequence[RunRecord]]],
    front: Collection[str],
    *,
    front_of: tuple[str, ...],
    limit: int | None = None,
) -> list[Row]:
    """Return the first rows of runs with their versions and replicates; report runs with unreadable records."""
    board: list[Row] = []
    for record, version, replicates in found:
        if limit is not None and len(board) == limit:
            break
        try:
            row = _row(len(board) + 1, record, record.run_id in front, version, replicates)
            board.append(replace(row, front_of=front_of))
        except ProjectError as error:
            tracker.selections.leave_out(record, str(error))
        except (ArithmeticError, KeyError, ValueError) as error:
            tracker.selections.leave_out(
                record, f"Run {record.run_id} ({record.name}) holds what cannot be read: {error}."
            )
    return board


def _check_exists(versions: Sequence[VersionFacts], name: str, selection: Selection) -> None:
    """Raise UsageError for a study, architecture or data set that no version has."""
    asked = [("study", "study", selection.study), ("data set", "dataset", selection.dataset)]
    asked += [("architecture", "architecture", one) for one in selection.architectures]
    for what, key, value in asked:
        if value and all(version.tags.get(key) != value for version in versions):
            raise UsageError(f"Unknown {what} {value!r} in registered model {name!r}.")


def _front(best: Iterable[tuple[str, tuple[float, ...]]]) -> set[str]:
    """Return the ids on the front, given ids with figures, lower is better; of equal ones, the first.

    >>> sorted(_front([("a", (1, 9)), ("b", (2, 9)), ("c", (3, 4)), ("d", (1, 9))]))
    ['a', 'c']
    """
    front: dict[str, tuple[float, ...]] = {}
    for run_id, place in sorted(best, key=lambda one: one[1]):
        if not any(all(map(le, other, place)) for other in front.values()):
            front[run_id] = place
    return set(front)


def _trial(record: RunRecord) -> tuple[str, str]:
    return record.tags.get("study", ""), record.tags.get("trial_number", "")


def _row(
    rank: int, record: RunRecord, pareto: bool, version: VersionFacts | None, replicates: Sequence[RunRecord]
) -> Row:
    accuracy = record.metrics.get("best_val_accuracy")
    images = int(record.tags.get("val_images", 0))
    if images < 0:
        raise ValueError(f"val_images={images}")
    low = high = None
    if images and accuracy is not None:
        low, high = accuracy_interval(round(accuracy * images), images)
    promoted = version.tags if version and "coreml_sha256" in version.tags else {}
    accuracies = [replicate.metrics["best_val_accuracy"] for replicate in replicates]
    mean_low, mean_high = mean_interval(accuracies) or (None, None)
    config = record.config
    reached = [replicate.metrics.get(final(config.objective)) for replicate in replicates]
    values = [value for value in reached if value is not None]
    return Row(
        rank=rank,
        run=record.name,
        run_id=record.run_id,
        study=record.tags.get("study"),
        dataset=config.dataset,
        architecture=config.architecture,
        filters=config.filters,
        dropout=config.dropout,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        optimizer=config.optimizer,
        loss=config.loss,
        teacher=config.teacher,
        recipe=Recipe(**recipe_of(config)),  # type: ignore[arg-type]
        augment=config.augment,
        objective=config.objective,
        knobs=dict(config.knobs),
        val_accuracy=accuracy,
        val_balanced_accuracy=record.metrics.get("best_val_balanced_accuracy"),
        val_loss=record.metrics.get("best_val_loss"),
        val_accuracy_low=low,
        val_accuracy_high=high,
        seeds=len(replicates),
        mean_val_accuracy=fmean(accuracies) if accuracies else None,
        mean_low=mean_low,
        mean_high=mean_high,
        mean_objective=fmean(values) if values else None,
        best_epoch=_whole(record.metrics.get("best_epoch")),
        parameters=_whole(record.metrics.get("parameters")),
        coreml_bytes=int(record.metrics["coreml_bytes"]),
        latency_ms=record.metrics.get(HOST_LATENCY),
        pareto=pareto,
        version=version.version if version else None,
        aliases=version.aliases if version else (),
        test_accuracy=float(promoted["test_accuracy"]) if "test_accuracy" in promoted else None,
        promoted_bytes=int(promoted["coreml_bytes"]) if promoted else None,
        compression=promoted.get("compression"),
        device_latency_ms=record.metrics.get("device_all_latency_ms"),
        device=record.tags.get("device"),
        macs=_whole(record.metrics.get("macs")),
        keras_bytes=_whole(record.metrics.get("keras_bytes")),
        images_per_second=record.metrics.get("images_per_second"),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def board(
    tracking_uri: str,
    *,
    usual: str,
    experiment: str | None = None,
    study: str | None = None,
    architectures: tuple[str, ...] = (),
    dataset: str | None = None,
    model: str | None = None,
    limit: int | None = None,
) -> Board:
    """Return the best runs, or with `model` versions, in the store at a URI, which is not changed.

    Args:
        usual: the default experiment, if the other arguments do not determine one.
        experiment: MLflow experiment.
        study: only runs of this study.
        architectures: only these; none: all.
        dataset: only runs on this data set.
        model: a registered model.
        limit: maximum number of rows; None: all.

    Raises:
        UsageError: for a name that the store does not know.
    """
    tracker = Tracker(tracking_uri, create=False, write=False)
    experiment = experiment or (title(dataset) if dataset else tracker.runs.usual_experiment(usual, study))
    objective, costs = tracker.runs.objectives_of(experiment, study)
    selection = Selection(experiment, study, architectures, dataset, objective, costs)
    asked = limit + 1 if limit else None  # one more row shows whether there are more
    found = version_rows(tracker, model, selection, limit=asked) if model else rows(tracker, selection, limit=asked)
    shown = tuple(found[:limit])
    return Board(model or study or experiment, None if model else experiment, shown, len(found) > len(shown))
