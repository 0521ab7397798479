"""The best runs of an experiment or a study.  Run: python -m experiments.leaderboard --study NAME"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from architectures.command import Parser, print_json, run, whole
from architectures.knobs import Knob
from experiments.config import RunConfig

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.tracking import RunRecord, Tracker


@dataclass(frozen=True)
class Row:
    """A finished run on the leaderboard."""

    rank: int
    run: str
    run_id: str
    study: str | None
    architecture: str
    filters: int
    dropout: float
    batch_size: int
    learning_rate: float
    label_smoothing: float
    augment: bool
    knobs: dict[str, Knob]  # the architecture's own
    val_accuracy: float
    val_accuracy_low: float  # 95 % Wilson interval
    val_accuracy_high: float
    seeds: int  # further ones that this configuration was trained with
    mean_val_accuracy: float | None  # over those seeds, the first left out: the configuration was chosen for it
    mean_low: float | None  # 95 % interval of the mean, from two seeds on
    mean_high: float | None
    best_epoch: int
    parameters: int
    coreml_bytes: int
    latency_ms: float
    pareto: bool  # no other run is at least as accurate and as small, and better in one
    version: int | None  # in the registry


WIDE = 130  # columns of a terminal that holds the whole table


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Row], str]
    always: bool = True  # also in a narrow terminal
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
    _Column("95 % interval", lambda row: f"{row.val_accuracy_low:.3f} to {row.val_accuracy_high:.3f}", always=False),
    _Column("parameters", lambda row: f"{row.parameters:,}", always=False),
    _Column("Core ML bytes", lambda row: f"{row.coreml_bytes:,}{' *' if row.pareto else '  '}"),
    _Column("latency", lambda row: f"{row.latency_ms:.2f} ms", always=False),
    _Column("ver", lambda row: str(row.version or "")),
)


WORDS = {"run", "other", "comparison", "verdict"}  # columns that do not hold figures


def rows(tracker: Tracker, experiment: str, *, study: str | None = None) -> list[Row]:
    """Finished runs, the most accurate first, then the smallest; before them the replicated ones by their mean.

    A run that repeats another one of its study with a further seed counts in that one's mean; one that was answered
    from another is left out.

    Raises:
        UsageError: for an unknown experiment or study.
    """
    complete = [record for record in tracker.runs(experiment, study=study) if _complete(record)]
    replicates: dict[tuple[str, str], list[float]] = {}  # val_accuracies by study and trial number
    for record in complete:
        if "replicate_of" in record.tags:
            of = record.tags["study"], record.tags["replicate_of"]
            replicates.setdefault(of, []).append(record.metrics["best_val_accuracy"])
    finished = [record for record in complete if not {"replicate_of", "duplicate_of"} & record.tags.keys()]
    finished.sort(key=_merit)
    registered = tracker.versions_by_run()
    best_so_far = float("inf")
    front = set()
    for record in finished:  # most accurate first: a run is on the front if it is smaller than all before it
        if record.metrics["coreml_bytes"] < best_so_far:
            best_so_far = record.metrics["coreml_bytes"]
            front.add(record.run_id)
    values = {
        record.run_id: replicates.get((record.tags.get("study", ""), record.tags.get("trial_number", "")), [])
        for record in finished
    }
    finished.sort(key=lambda record: -fmean(values[record.run_id]) if values[record.run_id] else 0.0)
    return [
        _row(rank, record, record.run_id in front, registered, values[record.run_id])
        for rank, record in enumerate(finished, 1)
    ]


def _complete(record: RunRecord) -> bool:
    measured = {"best_val_accuracy", "coreml_bytes", "latency_ms"} <= record.metrics.keys()
    return record.status == "FINISHED" and measured and "val_images" in record.tags


def _merit(record: RunRecord) -> tuple[float, float, int]:
    """Sorts runs as a study ranks its trials: accuracy, then bytes, then the earlier."""
    metrics = record.metrics
    return -metrics["best_val_accuracy"], metrics["coreml_bytes"], int(record.tags.get("trial_number", 0))


def _row(rank: int, record: RunRecord, pareto: bool, registered: dict[str, int], replicates: list[float]) -> Row:
    from experiments.evaluation import accuracy_interval, mean_interval

    accuracy = record.metrics["best_val_accuracy"]
    images = int(record.tags["val_images"])
    low, high = accuracy_interval(round(accuracy * images), images)
    mean_low, mean_high = mean_interval(replicates) or (None, None)
    config = record.config
    return Row(
        rank=rank,
        run=record.name,
        run_id=record.run_id,
        study=record.tags.get("study"),
        architecture=config.architecture,
        filters=config.filters,
        dropout=config.dropout,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
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
        best_epoch=int(record.metrics["best_epoch"]),
        parameters=int(record.metrics["parameters"]),
        coreml_bytes=int(record.metrics["coreml_bytes"]),
        latency_ms=record.metrics["latency_ms"],
        pareto=pareto,
        version=registered.get(record.run_id),
    )


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
    if row.learning_rate != RunConfig.learning_rate:
        values["learning rate"] = f"{row.learning_rate:.2g}"
    if row.label_smoothing:
        values["smoothing"] = f"{row.label_smoothing:.2g}"
    return ", ".join([*(f"{key} {value}" for key, value in values.items()), *(["augmented"] if row.augment else [])])


def cells(board: Sequence[Row], *, wide: bool = True) -> tuple[list[str], list[list[str]]]:
    """Titles of the columns, and the rows as texts; without `wide` those that fit into a narrow terminal."""
    columns = [
        column
        for column in _COLUMNS
        if (column.always or wide) and not (column.only_if_used and not any(map(column.text, board)))
    ]
    return [column.title for column in columns], [[column.text(row) for column in columns] for row in board]


def print_table(board: Sequence[Row], title: str, *, limit: int = 10) -> None:
    """Print the first rows as a table on stdout."""
    more = f"; {len(board) - limit} more runs in MLflow" if len(board) > limit else ""
    titles, lines = cells(board[:limit], wide=_console().width >= WIDE)
    print_cells(titles, lines, title=title, caption=f"* on the Pareto front of accuracy and bytes{more}")


def print_cells(titles: Sequence[str], lines: Sequence[Sequence[str]], *, title: str, caption: str = "") -> None:
    """Print texts as a table on stdout."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), caption=caption, title_justify="left", caption_justify="left")
    for heading in titles:
        table.add_column(heading, justify="left" if heading in WORDS else "right", no_wrap=True)
    for line in lines:
        table.add_row(*map(escape, line))
    _console().print(table)


def _console() -> Console:
    """The terminal; a file or a pipe has no width to fit into."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)


def as_json(board: Sequence[Row]) -> list[dict[str, object]]:
    """The rows as JSON objects."""
    return [asdict(row) for row in board]


def parser() -> Parser:
    made = Parser("experiments.leaderboard", "Show the best runs of an experiment or a study.")
    made.add_argument("--tracking-uri", help="MLflow store (default MLFLOW_TRACKING_URI or sqlite:///mlflow.db)")
    made.add_argument("--experiment", default="mnist5k", help="MLflow experiment (default mnist5k)")
    made.add_argument("--study", help="only this study")
    made.add_argument("--limit", type=whole(1), default=10, metavar="N", help="rows shown (default 10)")
    return made


def _body(arguments: argparse.Namespace) -> int:
    from experiments.tracking import Tracker, default_uri

    tracker = Tracker(arguments.tracking_uri or default_uri(), create=False)
    board = rows(tracker, arguments.experiment, study=arguments.study)
    if arguments.json:
        print_json({"experiment": arguments.experiment, "study": arguments.study, "leaderboard": as_json(board)})
    else:
        print_table(board, arguments.study or arguments.experiment, limit=arguments.limit)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
