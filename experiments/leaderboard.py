"""The best runs of an experiment or a study, or versions.  Run: python -m experiments.leaderboard --study NAME"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import fmean
from typing import TYPE_CHECKING, TextIO

from architectures.command import Parser, print_json, run, several
from architectures.display import say
from architectures.errors import ProjectError, UsageError
from architectures.fields import Whole
from architectures.knobs import Knob
from experiments import tables
from experiments.config import LEARNING_RATES, RunConfig
from experiments.datasets import title
from experiments.datasets.arguments import add_arguments, dataset_given
from experiments.tables import fits, markdown, print_cells

if TYPE_CHECKING:
    from experiments.tracking import RunRecord, Selection, Tracker, VersionFacts

DEFAULT_EXPERIMENT = "mnist5k"
ROWS = 10  # shown
FILE_ROWS = 50  # written as JSON or CSV


@dataclass(frozen=True)
class Row:
    """A finished run on the leaderboard."""

    rank: int
    run: str
    run_id: str
    study: str | None
    dataset: str  # as a run records it: what loads the data again
    architecture: str
    filters: int
    dropout: float
    batch_size: int
    learning_rate: float
    schedule: str  # of the learning rate
    label_smoothing: float
    augment: bool
    knobs: dict[str, Knob]  # the architecture's own
    val_accuracy: float
    val_accuracy_low: float | None  # 95 % Wilson interval; None where the run does not say of how many images
    val_accuracy_high: float | None
    seeds: int  # further ones that this configuration was trained with
    mean_val_accuracy: float | None  # over those seeds, the first left out: the configuration was chosen for it
    mean_low: float | None  # 95 % interval of the mean, from two seeds on
    mean_high: float | None
    best_epoch: int | None  # None here and below: of a run that was made anew after it was lost
    parameters: int | None
    coreml_bytes: int
    latency_ms: float | None  # of the Keras model, one image, on the host that trained it
    pareto: bool  # no other run is at least as accurate and as small, and better in one
    version: int | None  # in the registry
    aliases: tuple[str, ...]  # of that version
    test_accuracy: float | None  # of its Core ML file, once it was promoted
    promoted_bytes: int | None  # of that file
    compression: str | None  # of that file
    device_latency_ms: float | None = None  # of that file, one image, on all processors of a phone
    device: str | None = None  # that phone, with its system


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Row], str]
    only_if_used: bool = False  # left out where no row has a text


_COLUMNS = (
    _Column("#", lambda row: str(row.rank)),
    _Column("run", lambda row: row.run),
    _Column("filters", lambda row: str(row.filters)),
    _Column("dropout", lambda row: f"{row.dropout:.2f}"),
    _Column("batch", lambda row: str(row.batch_size)),
    _Column("other", lambda row: _other_values(row), only_if_used=True),
    _Column("val acc", lambda row: f"{row.val_accuracy:.4f}"),
    _Column("mean of seeds", lambda row: _mean(row), only_if_used=True),
    _Column("95 % interval", lambda row: _interval(row)),
    _Column("parameters", lambda row: "" if row.parameters is None else f"{row.parameters:,}"),
    _Column("Core ML bytes", lambda row: f"{row.coreml_bytes:,}{' *' if row.pareto else '  '}"),
    _Column("Keras, host", lambda row: "" if row.latency_ms is None else f"{row.latency_ms:.2f} ms"),
    _Column("on device", lambda row: _on_device(row), only_if_used=True),
    _Column("ver", lambda row: str(row.version or "")),
)
_VERSION_COLUMNS = (
    _Column("aliases", lambda row: ", ".join(row.aliases)),
    _Column("test acc", lambda row: "" if row.test_accuracy is None else f"{row.test_accuracy:.4f}"),
    _Column("file", lambda row: "" if row.promoted_bytes is None else f"{row.promoted_bytes:,} {row.compression}"),
)
_ORIGIN_COLUMNS = (
    _Column("study", lambda row: row.study or "", only_if_used=True),
    _Column("run id", lambda row: row.run_id),
)
# What a narrow terminal leaves out, in this order, until the rest fits; --json, --csv and --markdown have all.
_SPARE = ("run id", "study", "dropout", "batch", "filters", "Keras, host", "parameters", "on device")
_SPARE_OF_VERSIONS = (*_SPARE, "other", "run")
_FOLDING = frozenset({"other", "mean of seeds", "aliases", "on device"})


def rows(tracker: Tracker, selection: Selection, *, limit: int | None = None) -> list[Row]:
    """Finished runs, the most accurate first, then the smallest.

    Within a study replicated runs come first, by their mean. Across studies that would put a configuration that was
    weak in a good study before a strong one that nobody replicated: there the runs' own accuracy ranks.

    A run that repeats another one of its study with a further seed counts in that one's mean; one that was answered
    from another is left out. The Pareto marks hold among all runs of the selection, also where only the first `limit`
    are given.

    Raises:
        UsageError: for an unknown experiment, or a study, architecture or data set that it does not hold.
    """
    from experiments.tracking import merit

    if limit is None:
        best = sorted(filter(tracker.is_shown, tracker.finished_runs(selection)), key=merit)
    else:
        best = tracker.best_runs(selection, limit)
    # All before a run in this order are as accurate: what is on the front among the first is so among all.
    front = _front((record.run_id, record.metrics["coreml_bytes"]) for record in best)
    replicates: dict[tuple[str, str], list[float]] = {}  # val_accuracies by study and trial number
    for record in _replicates(tracker, selection, best):
        if "best_val_accuracy" in record.metrics:
            of = record.tags.get("study", ""), record.tags["replicate_of"]
            replicates.setdefault(of, []).append(record.metrics["best_val_accuracy"])
    first: list[RunRecord] = []  # replicated ones
    if selection.study:
        known = {_trial(record): record for record in best}
        for study, number in sorted(replicates, key=lambda trial: -fmean(replicates[trial]))[:limit]:
            record_ = known.get((study, number)) or tracker.trial_run(selection, study, number)
            if record_ and (study, number) not in known and not tracker.is_dominated(record_, selection):
                front.add(record_.run_id)
            first += [record_] if record_ else []
        first.sort(key=lambda record: (-fmean(replicates[_trial(record)]), merit(record)))
    shown = [*first, *(record for record in best if record not in first)][:limit]
    versions = tracker.versions_of([record.run_id for record in shown])
    return _rows(
        tracker,
        ((record, versions.get(record.run_id), replicates.get(_trial(record), [])) for record in shown),
        front,
    )


def _replicates(tracker: Tracker, selection: Selection, best: Sequence[RunRecord]) -> list[RunRecord]:
    """The replicates of a study, which decide its order; across studies those of the best runs only."""
    if selection.study:
        return tracker.finished_runs(selection, replicate_of="")
    return [
        replicate
        for record in best
        if "replicated" in record.tags
        for replicate in tracker.finished_runs(
            replace(selection, study=record.tags["study"]), replicate_of=record.tags["trial_number"]
        )
    ]


def version_rows(tracker: Tracker, name: str, selection: Selection, *, limit: int | None = None) -> list[Row]:
    """The versions of a registered model, those of the most accurate runs first; Pareto marks as for `rows`.

    Raises:
        UsageError: for an unknown registered model, or a study, architecture or data set that no version has.
    """
    versions = tracker.versions(name)
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
    chosen.sort(key=lambda v: (-float(v.tags["best_val_accuracy"]), v.expected_coreml_bytes, v.version))
    front = _front((version.run_id, version.expected_coreml_bytes) for version in chosen)
    return _rows(tracker, ((tracker.run(version.run_id), version, []) for version in chosen), front, limit=limit)


def _ranks(version: VersionFacts) -> bool:
    """Whether a version's tags say what it is ranked by; one whose tags do not is named."""
    try:
        if math.isfinite(float(version.tags["best_val_accuracy"])) and version.expected_coreml_bytes:
            return True
    except (KeyError, ValueError):
        pass
    place = f"version {version.version} of {version.registered_name}"
    say(f"warning: left out: {place}: its tags name no accuracy and bytes", file=sys.stderr)
    return False


def _rows(
    tracker: Tracker,
    found: Iterable[tuple[RunRecord, VersionFacts | None, Sequence[float]]],
    front: Collection[str],
    *,
    limit: int | None = None,
) -> list[Row]:
    """The first rows of runs with their versions and replicates; a run whose record cannot be read is named."""
    board: list[Row] = []
    for record, version, replicates in found:
        if limit is not None and len(board) == limit:
            break
        try:
            board.append(_row(len(board) + 1, record, record.run_id in front, version, replicates))
        except ProjectError as error:
            tracker.leave_out(record, str(error))
        except (ArithmeticError, KeyError, ValueError) as error:
            tracker.leave_out(record, f"Run {record.run_id} ({record.name}) holds what cannot be read: {error}.")
    return board


def _check_exists(versions: Sequence[VersionFacts], name: str, selection: Selection) -> None:
    """Raise UsageError for a study, architecture or data set that no version has."""
    asked = [("study", "study", selection.study), ("data set", "dataset", selection.dataset)]
    asked += [("architecture", "architecture", one) for one in selection.architectures]
    for what, key, value in asked:
        if value and all(version.tags.get(key) != value for version in versions):
            raise UsageError(f"Unknown {what} {value!r} in registered model {name!r}.")


def _front(best: Iterable[tuple[str, float]]) -> set[str]:
    """The ids on the front of accuracy and bytes, among ids with bytes, the most accurate first."""
    smallest = float("inf")
    front = set()
    for run_id, size in best:  # on the front if smaller than all before
        if size < smallest:
            smallest = size
            front.add(run_id)
    return front


def _trial(record: RunRecord) -> tuple[str, str]:
    return record.tags.get("study", ""), record.tags.get("trial_number", "")


def _row(rank: int, record: RunRecord, pareto: bool, version: VersionFacts | None, replicates: Sequence[float]) -> Row:
    from experiments.evaluation import accuracy_interval, mean_interval

    accuracy = record.metrics["best_val_accuracy"]
    images = int(record.tags.get("val_images", 0))
    if images < 0:
        raise ValueError(f"val_images={images}")
    low, high = accuracy_interval(round(accuracy * images), images) if images else (None, None)
    promoted = version.tags if version and "coreml_sha256" in version.tags else {}
    mean_low, mean_high = mean_interval(replicates) or (None, None)
    config = record.config
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
        label_smoothing=config.label_smoothing,
        augment=config.augment,
        knobs=dict(config.knobs),
        val_accuracy=accuracy,
        val_accuracy_low=low,
        val_accuracy_high=high,
        seeds=len(replicates),
        mean_val_accuracy=fmean(replicates) if replicates else None,
        mean_low=mean_low,
        mean_high=mean_high,
        best_epoch=_whole(record.metrics.get("best_epoch")),
        parameters=_whole(record.metrics.get("parameters")),
        coreml_bytes=int(record.metrics["coreml_bytes"]),
        latency_ms=record.metrics.get("latency_ms"),
        pareto=pareto,
        version=version.version if version else None,
        aliases=version.aliases if version else (),
        test_accuracy=float(promoted["test_accuracy"]) if "test_accuracy" in promoted else None,
        promoted_bytes=int(promoted["coreml_bytes"]) if promoted else None,
        compression=promoted.get("compression"),
        device_latency_ms=record.metrics.get("device_all_latency_ms"),
        device=record.tags.get("device"),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _interval(row: Row) -> str:
    if row.val_accuracy_low is None or row.val_accuracy_high is None:
        return ""
    return f"{row.val_accuracy_low:.3f} to {row.val_accuracy_high:.3f}"


def _on_device(row: Row) -> str:
    return "" if row.device_latency_ms is None else f"{row.device_latency_ms:.2f} ms, {row.device or 'unnamed'}"


def _mean(row: Row) -> str:
    """The mean over further seeds with its interval."""
    if row.mean_val_accuracy is None:
        return ""
    if row.mean_low is None or row.mean_high is None:
        return f"{row.mean_val_accuracy:.4f} (1)"
    return f"{row.mean_val_accuracy:.4f} ± {(row.mean_high - row.mean_low) / 2:.4f} ({row.seeds})"


def _other_values(row: Row) -> str:
    """What a run has beside filters, dropout and batch size, where it is not as usual."""
    values: dict[str, object] = dict(row.knobs)
    if row.learning_rate != LEARNING_RATES.get(row.schedule):
        values["learning rate"] = f"{row.learning_rate:.2g}"
    if row.schedule != RunConfig.schedule:
        values["rate"] = row.schedule
    if row.label_smoothing:
        values["smoothing"] = f"{row.label_smoothing:.2g}"
    return ", ".join([*(f"{key} {value}" for key, value in values.items()), *(["augmented"] if row.augment else [])])


def cells(
    board: Sequence[Row], *, without: Collection[str] = (), versions: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Titles of the columns, and the rows as texts.

    Args:
        board: the rows.
        without: titles of columns to leave out.
        versions: also what the registry says of a version.
    """
    columns = [
        column
        for column in _COLUMNS + (_VERSION_COLUMNS if versions else ()) + _ORIGIN_COLUMNS
        if column.title not in without and not (column.only_if_used and not any(map(column.text, board)))
    ]
    return [column.title for column in columns], [[column.text(row) for column in columns] for row in board]


def print_table(
    board: Sequence[Row], heading: str, *, one_study: bool = False, more: bool = False, versions: bool = False
) -> None:
    """Print rows as a table on stdout, and whether there are more; `one_study`: the heading names theirs."""
    spare = _SPARE_OF_VERSIONS if versions else _SPARE
    said = ["study"] if one_study else []
    for leaving in range(len(spare) + 1):
        titles, lines = cells(board, without=[*said, *spare[:leaving]], versions=versions)
        if fits(titles, lines, folding=_FOLDING):
            break
    print_cells(titles, lines, title=heading, caption=f"* {_note(titles, more)}")


def _note(titles: Sequence[str], more: bool) -> str:
    """What the mark says, and where the rest is."""
    rest = ["run ids: --json"] * ("run id" not in titles) + ["more runs: --limit"] * more
    return "; ".join(["on the Pareto front of accuracy and bytes", *rest])


def as_json(board: Sequence[Row]) -> list[dict[str, object]]:
    """The rows as JSON objects."""
    return [asdict(row) for row in board]


def write_csv(board: Sequence[Row], file: TextIO) -> None:
    """The rows with all their fields; knobs as JSON, aliases separated by spaces, what is not known empty."""
    written = (asdict(row) | {"knobs": json.dumps(row.knobs), "aliases": " ".join(row.aliases)} for row in board)
    tables.write_csv([[field.name for field in fields(Row)], *(row.values() for row in written)], file)


def parser() -> Parser:
    made = Parser("experiments.leaderboard", "Show the best runs of an experiment, or versions of a registered model.")
    add = made.add_argument
    add("--csv", action="store_true", help="print the rows as CSV, with the fields of --json")
    add("--markdown", action="store_true", help="print the table in Markdown")
    add("--tracking-uri", metavar="URI", help="default: MLFLOW_TRACKING_URI or sqlite:///mlflow.db")
    add(
        "--experiment",
        metavar="NAME",
        help="MLflow experiment (default: the data set's name, the study's own, mnist5k, else the last one)",
    )
    add("--study", metavar="NAME", help="only runs of this study")
    add(
        "--architecture",
        dest="architectures",
        action="extend",
        type=several,
        metavar="NAME,NAME",
        help="only these architectures; repeatable",
    )
    add_arguments(made, "only runs on this data set, named as for search.sweep")
    add("--model", metavar="NAME", help="versions of this registered model instead of runs")
    add(
        "--limit",
        type=Whole(0),
        metavar="N",
        help=f"rows, 0 for all (default {ROWS}; {FILE_ROWS} with --json and --csv)",
    )
    return made


def _body(arguments: argparse.Namespace) -> int:
    from experiments.tracking import Selection, Tracker, default_uri

    if sum((arguments.json, arguments.csv, arguments.markdown)) > 1:
        raise UsageError("Choose one of --json, --csv and --markdown.")
    limit = arguments.limit
    if limit is None:
        limit = FILE_ROWS if arguments.json or arguments.csv else ROWS
    dataset = dataset_given(arguments, DEFAULT_EXPERIMENT)
    tracker = Tracker(arguments.tracking_uri or default_uri(), create=False, write=False)
    experiment = arguments.experiment or (
        title(dataset) if dataset else tracker.usual_experiment(DEFAULT_EXPERIMENT, arguments.study)
    )
    selection = Selection(experiment, arguments.study, tuple(arguments.architectures or ()), dataset)
    asked = limit + 1 if limit else None  # one more tells whether there are more
    if arguments.model:
        board = version_rows(tracker, arguments.model, selection, limit=asked)
    else:
        board = rows(tracker, selection, limit=asked)
    more, board = len(board) > (limit or len(board)), board[: limit or None]
    if arguments.json:
        asked_for = {
            "experiment": None if arguments.model else experiment,
            "study": arguments.study,
            "model": arguments.model,
        }
        print_json(asked_for | {"leaderboard": as_json(board), "more": more})
    elif arguments.csv:
        write_csv(board, sys.stdout)
    elif arguments.markdown:
        titles, lines = cells(board, versions=bool(arguments.model))
        for line in (*markdown(titles, lines).splitlines(), "", f"\\* {_note(titles, more)}"):
            say(line)
    else:
        named = arguments.model or arguments.study or experiment
        one_study = named == arguments.study
        print_table(board, named, one_study=one_study, more=more, versions=bool(arguments.model))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
