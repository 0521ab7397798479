"""Compare runs side by side: parameters, results and curves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from architectures.display import say
from architectures.errors import UsageError
from experiments.config import EpochMetrics
from experiments.tracking import RunRecord, Tracker
from experiments.views.tables import fits_terminal, print_cells

CURVES = {
    "val_accuracy": "validation accuracy",
    "accuracy": "training accuracy",
    "val_loss": "validation loss",
    "loss": "training loss",
}
PER_EPOCH = {"loss", "accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy", "epoch_seconds"}  # curves
# Tags that determine, with the parameters, what a run computes; shown if the runs differ.
ORIGIN = ("dataset_digest", "threads", "processor", "mlflow.source.git.commit", "source_sha256", "plugins")
EVALUATION = "evaluation/evaluation.json"  # of a run whose model was kept
BARS = "▁▂▃▄▅▆▇█"
CURVE_WIDTHS = range(40, 7, -1)  # columns: the largest width for which the table fits into the terminal
TEXT_LENGTH = 40  # longest value that is shown completely, in characters
DIFFERS = "≠"


@dataclass(frozen=True)
class Compared:
    """The values of a run that are compared."""

    run_id: str
    run: str
    study: str | None
    status: str
    outcome: str | None  # pruned, paused, infeasible, interrupted
    parameters: Mapping[str, str]
    origin: Mapping[str, str]  # data, code, versions, machine
    metrics: Mapping[str, float]  # final ones
    epochs: tuple[EpochMetrics, ...]
    mistakes: tuple[Mapping[str, object], ...] | None = None  # the most confident first; None: it was not evaluated


@dataclass(frozen=True)
class Line:
    """A value of each run."""

    name: str
    values: tuple[str | float | None, ...]  # None if a run has none

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class RunComparison:
    """Two or more runs; the lines that differ come first."""

    runs: tuple[Compared, ...]
    parameters: tuple[Line, ...]
    origin: tuple[Line, ...]  # only those that differ
    metrics: tuple[Line, ...]
    tracking_uri: str = ""  # of their store

    @property
    def same_data(self) -> bool:
        """Whether the data are the same, so that accuracies can be compared."""
        return len({run.origin.get("dataset_digest") for run in self.runs}) == 1

    def as_json(self) -> dict[str, object]:
        return {
            "runs": [asdict(run) for run in self.runs],
            "differing": [line.name for line in (*self.parameters, *self.origin) if line.differs],
            "same_data": self.same_data,
        }


def compare(tracker: Tracker, run_ids: Sequence[str]) -> RunComparison:
    """Read runs and line up their values.

    Raises:
        UsageError: for an unknown run, or fewer than two different ones.
    """
    wanted = {run.run_id: run for run in map(tracker.runs.get, run_ids)}
    if len(wanted) < 2:
        raise UsageError("Give at least two different runs; the leaderboard lists them.")
    runs = tuple(
        _compared(run, tracker.runs.epochs(run_id), tracker.runs.text(run_id, EVALUATION))
        for run_id, run in wanted.items()
    )
    return RunComparison(
        runs=runs,
        parameters=_lines(runs, lambda run: run.parameters),
        origin=tuple(line for line in _lines(runs, lambda run: run.origin) if line.differs),
        metrics=_lines(runs, lambda run: run.metrics, sort=False),
        tracking_uri=tracker.uri,
    )


def _compared(record: RunRecord, epochs: tuple[EpochMetrics, ...], evaluation: str | None) -> Compared:
    origin = {key: record.tags[key] for key in ORIGIN if key in record.tags}
    origin |= {
        key: value for key, value in sorted(record.tags.items()) if key.startswith(("version.", "setting.", "plugin."))
    }
    return Compared(
        run_id=record.run_id,
        run=record.name,
        study=record.tags.get("study"),
        status=record.status,
        outcome=record.tags.get("outcome"),
        parameters=record.params,
        origin=origin,
        metrics={key: value for key, value in record.metrics.items() if key not in PER_EPOCH},
        epochs=epochs,
        mistakes=None if evaluation is None else tuple(_mistakes(json.loads(evaluation))),
    )


def _mistakes(evaluation: Mapping[str, Any]) -> Iterator[Mapping[str, object]]:
    """Yield the most confident mistakes of an evaluation, with the names of classes and files."""
    names = [each["name"] for each in evaluation["classes"]]
    for one in evaluation["mistakes"]:
        place = {"split": "val", "row": one["index"], "class": names[one["true_label"]], "file": one.get("file", "")}
        yield place | {"answer": names[one["answer"]], "confidence": one["confidence"]}


def _lines(
    runs: Sequence[Compared], values_of: Callable[[Compared], Mapping[str, str | float]], *, sort: bool = True
) -> tuple[Line, ...]:
    """Return a line for each name that any run has, by name; with `sort`, those that differ first."""
    names = sorted({name for run in runs for name in values_of(run)})
    lines = [Line(name, tuple(values_of(run).get(name) for run in runs)) for name in names]
    return tuple(sorted(lines, key=lambda line: not line.differs) if sort else lines)


def headings(runs: Sequence[Compared]) -> list[str]:
    """Return a unique name for each run."""
    names = [run.run for run in runs]
    return [run.run if names.count(run.run) == 1 else f"{run.run} {run.run_id[:8]}" for run in runs]


def cells(lines: Sequence[Line]) -> list[list[str]]:
    """Return lines as texts; the first column marks those that differ."""
    return [[DIFFERS if line.differs else "", line.name, *map(text, line.values)] for line in lines]


def text(value: str | float | None) -> str:
    """Return a value as text for people.

    >>> text(0.98), text(4954.0), text("adam"), text(None), text("0f" * 32)
    ('0.9800', '4,954', 'adam', '-', '0f0f0f0f0f0f...')
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value if len(value) <= TEXT_LENGTH else f"{value[:12]}..."
    if float(value).is_integer() and abs(value) >= 1:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def sparklines(curves: Sequence[Sequence[float]], low: float, high: float, *, width: int) -> list[str]:
    """Return curves as lines of text with common scales, values from `low` to `high`, and at most `width` characters.

    If there are more epochs, the last one of each group is shown.

    >>> sparklines([[0.0, 0.5, 1.0, 1.0], [0.0, 1.0], [0.5]], 0.0, 1.0, width=4)
    ['▁▅██', '▁█', '▅']
    >>> sparklines([[0.0, 0.5, 1.0, 1.0], [0.0, 1.0], [0.5]], 0.0, 1.0, width=2)
    ['▅█', '█', '▅']
    """
    longest = max(map(len, curves))
    columns = min(width, longest)
    starts = [column * longest // columns for column in range(columns + 1)]
    reach = high - low or 1.0

    def bar(value: float) -> str:
        share = (value - low) / reach
        return BARS[round(share * (len(BARS) - 1))] if 0 <= share <= 1 else " "  # NaN is blank

    return [
        "".join(bar(curve[min(end, len(curve)) - 1]) for start, end in pairwise(starts) if start < len(curve))
        for curve in curves
    ]


def show(comparison: RunComparison) -> None:
    """Print parameters, figures and curves."""
    runs = comparison.runs
    heads = headings(runs)
    ended = [Line("status", tuple(f"{run.status} {run.outcome or ''}".strip() for run in runs))]
    ended += [Line("study", tuple(run.study for run in runs))]
    print_cells(["", "parameter", *heads], cells([*comparison.parameters, *comparison.origin]))
    print_cells(["", "result", *heads], cells([*ended, *comparison.metrics]))
    for key, title in CURVES.items():
        curves = [[getattr(metrics, key) for metrics in run.epochs] for run in runs]
        points = [value for curve in curves for value in curve if math.isfinite(value)]
        if not points:
            continue
        low, high = min(points), max(points)
        titles = ["run", "curve", "first", "lowest", "highest", "last"]
        for width in CURVE_WIDTHS:
            lines = [
                [head, line, *(f"{value:.4f}" for value in (curve[0], min(curve), max(curve), curve[-1]))]
                for head, line, curve in zip(heads, sparklines(curves, low, high, width=width), curves, strict=True)
                if curve
            ]
            if fits_terminal(titles, lines):
                break
        print_cells(titles, lines, title=f"{title}, scale {low:.4f} to {high:.4f}")
    if not comparison.same_data:
        say("These runs were trained on different data: their accuracies cannot be compared.")


def compare_runs(tracking_uri: str, run_ids: Sequence[str]) -> RunComparison:
    """As `compare`, for the store at a URI, which is not changed."""
    return compare(Tracker(tracking_uri, create=False, write=False), run_ids)
