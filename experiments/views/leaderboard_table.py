"""The leaderboard as tables: in the terminal, as CSV and Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TextIO

from architectures.weights import shown
from experiments.config import LEARNING_RATES, RunConfig
from experiments.objective import SHORT, WORDS
from experiments.recipe import ASKED, RECIPE, asked_of
from experiments.views import tables
from experiments.views.leaderboard import Row
from experiments.views.tables import fits, print_cells


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Row], str]
    only_if_used: bool = False  # left out where no row has a text


_COLUMNS = (
    _Column("#", lambda row: str(row.rank)),
    _Column("run", lambda row: row.run),
    _Column("filters", lambda row: str(row.filters or "")),
    _Column("dropout", lambda row: f"{row.dropout:.2f}"),
    _Column("batch", lambda row: str(row.batch_size)),
    _Column("other", lambda row: _other_values(row), only_if_used=True),
    _Column("val acc", lambda row: _figure(row.val_accuracy)),
    _Column("bal acc", lambda row: _figure(row.val_balanced_accuracy) if _is_balanced(row) else "", only_if_used=True),
    _Column("val loss", lambda row: _figure(row.val_loss) if _counts(row, "val_loss") else "", only_if_used=True),
    _Column("mean of seeds", lambda row: _mean(row), only_if_used=True),
    _Column("95 % interval", lambda row: _interval(row)),
    _Column("parameters", lambda row: "" if row.parameters is None else f"{row.parameters:,}"),
    _Column("Core ML bytes", lambda row: f"{row.coreml_bytes:,}{' *' if row.pareto else '  '}"),
    _Column("Keras, host", lambda row: "" if row.latency_ms is None else f"{row.latency_ms:.2f} ms"),
    _Column("MACs", lambda row: _if_asked(row, "macs", ",.0f"), only_if_used=True),
    _Column("Keras bytes", lambda row: _if_asked(row, "keras_bytes", ",.0f"), only_if_used=True),
    _Column("images/s", lambda row: _if_asked(row, "images_per_second", ",.0f"), only_if_used=True),
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
_NAMES = [name for field in fields(Row) for name in (RECIPE if field.name == "recipe" else (field.name,))]
AUGMENTED = {"digits": "augmented", "photo": "augmented as photos"}
_FOLDING = frozenset({"other", "mean of seeds", "aliases", "on device"})


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _counts(row: Row, name: str) -> bool:
    """Whether a figure is an objective of a run or of its study."""
    return name in (row.objective, *row.front_of)


def _if_asked(row: Row, name: str, form: str) -> str:
    value = getattr(row, name)
    return "" if value is None or not _counts(row, name) else format(value, form)


def _is_balanced(row: Row) -> bool:
    """Whether a run was to treat small classes as large ones."""
    return _counts(row, "val_balanced_accuracy") or row.recipe.class_weight == "balanced"


def _interval(row: Row) -> str:
    if row.val_accuracy_low is None or row.val_accuracy_high is None:
        return ""
    return f"{row.val_accuracy_low:.3f} to {row.val_accuracy_high:.3f}"


def _on_device(row: Row) -> str:
    return "" if row.device_latency_ms is None else f"{row.device_latency_ms:.2f} ms, {row.device or 'unnamed'}"


def _mean(row: Row) -> str:
    """The mean over further seeds with its interval."""
    if row.objective != "val_accuracy" and row.mean_objective is not None:
        return f"{SHORT[row.objective]} {row.mean_objective:.4f} ({row.seeds})"
    if row.mean_val_accuracy is None:
        return ""
    if row.mean_low is None or row.mean_high is None:
        return f"{row.mean_val_accuracy:.4f} (1)"
    return f"{row.mean_val_accuracy:.4f} ± {(row.mean_high - row.mean_low) / 2:.4f} ({row.seeds})"


def _other_values(row: Row) -> str:
    """What a run has beside filters, dropout and batch size, where it is not as usual."""
    values: dict[str, object] = {name: shown(value) for name, value in row.knobs.items()}
    if row.learning_rate != LEARNING_RATES.get(row.schedule):
        values["learning rate"] = f"{row.learning_rate:.2g}"
    if row.schedule != RunConfig.schedule:
        values["rate"] = row.schedule
    for name in ("optimizer", "loss"):
        if (value := getattr(row, name)) != getattr(RunConfig, name):
            values[name] = value
    values |= {
        ASKED[name].short: value if isinstance(value, str) else f"{value:.2g}"
        for name, value in asked_of(row.recipe).items()
    }
    words = [f"{key} {value}" for key, value in values.items()]
    return ", ".join(words if row.augment == "off" else [*words, AUGMENTED.get(row.augment, row.augment)])


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
    print_cells(titles, lines, title=heading, caption=f"* {note(board, titles, more)}")


def note(board: Sequence[Row], titles: Sequence[str], more: bool) -> str:
    """What the mark says, and where the rest is."""
    rest = ["run ids: --json"] * ("run id" not in titles) + ["more runs: --limit"] * more
    return "; ".join([f"on the Pareto front of {front_of(board)}", *rest])


def front_of(board: Sequence[Row]) -> str:
    """The figures of the front in words.

    >>> front_of([])
    'accuracy and bytes'
    """
    *others, last = board[0].front_of if board else Row.front_of
    return f"{', '.join(WORDS[name] for name in others)} and {WORDS[last]}"


def as_json(board: Sequence[Row]) -> list[dict[str, object]]:
    """The rows as JSON objects."""
    return [_flat(row) for row in board]


def _flat(row: Row) -> dict[str, object]:
    """A row's fields, those of its recipe in their place."""
    found: dict[str, object] = {}
    for name, value in vars(row).items():
        found.update(asdict(value) if name == "recipe" else {name: value})
    return found


def write_csv(board: Sequence[Row], file: TextIO) -> None:
    """The rows with all their fields; knobs as JSON, aliases separated by spaces, what is not known empty."""
    written = (
        _flat(row)
        | {"knobs": json.dumps(row.knobs), "aliases": " ".join(row.aliases), "front_of": " ".join(row.front_of)}
        for row in board
    )
    tables.write_csv([_NAMES, *(row.values() for row in written)], file)
