"""The leaderboard as tables: in the terminal, as CSV and Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TextIO

from architectures.display import visible
from architectures.weights import knob_text
from experiments.config import LEARNING_RATES, RunConfig
from experiments.objective import SHORT, SPELLED_OUT
from experiments.recipe import RECIPE, RECIPE_OPTIONS, asked_of
from experiments.views import tables
from experiments.views.leaderboard import Row
from experiments.views.tables import fits_narrowed, fits_terminal, print_cells


@dataclass(frozen=True)
class _Column:
    title: str
    text: Callable[[Row], str]
    only_if_used: bool = False  # left out if no row has a text


_COLUMNS = (
    _Column("#", lambda row: str(row.rank)),
    _Column("run", lambda row: row.run),
    _Column("filters", lambda row: str(row.filters or "")),
    _Column("dropout", lambda row: f"{row.dropout:.2f}"),
    _Column("batch", lambda row: str(row.batch_size)),
    _Column("other", lambda row: ", ".join(_others(row).values()), only_if_used=True),
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
# Columns that a narrow terminal leaves out, besides settings that are equal in all rows, in this order until the rest
# fits; --json, --csv and --markdown have all columns.
_SPARE = ("run id", "study", "Keras, host", "parameters", "on device")
_SPARE_OF_RUNS = (*_SPARE, "95 % interval", "ver", "batch", "filters", "dropout")
_SPARE_OF_VERSIONS = (*_SPARE, "dropout", "batch", "filters", "other", "run")
_SETTINGS = ("filters", "dropout", "batch")  # columns that are moved below the table if they are equal in all rows
_NAMES = [name for field in fields(Row) for name in (RECIPE if field.name == "recipe" else (field.name,))]
SHOWN_OF_ID = 8  # characters of a run's id
AUGMENTED = {"digits": "augmented", "photo": "augmented as photos"}
_FOLDING = frozenset({"other", "mean of seeds", "aliases", "on device"})


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _counts(row: Row, name: str) -> bool:
    """Return whether a figure is an objective of a run or of its study."""
    return name in (row.objective, *row.front_of)


def _if_asked(row: Row, name: str, form: str) -> str:
    value = getattr(row, name)
    return "" if value is None or not _counts(row, name) else format(value, form)


def _is_balanced(row: Row) -> bool:
    """Return whether a run weights classes equally or is ranked by balanced accuracy."""
    return _counts(row, "val_balanced_accuracy") or row.recipe.class_weight == "balanced"


def _interval(row: Row) -> str:
    if row.val_accuracy_low is None or row.val_accuracy_high is None:
        return ""
    return f"{row.val_accuracy_low:.3f} to {row.val_accuracy_high:.3f}"


def _on_device(row: Row) -> str:
    return "" if row.device_latency_ms is None else f"{row.device_latency_ms:.2f} ms, {row.device or 'unnamed'}"


def _mean(row: Row) -> str:
    """Return the mean over further seeds with its interval."""
    if row.objective != "val_accuracy" and row.mean_objective is not None:
        return f"{SHORT[row.objective]} {row.mean_objective:.4f} ({row.seeds})"
    if row.mean_val_accuracy is None:
        return ""
    if row.mean_low is None or row.mean_high is None:
        return f"{row.mean_val_accuracy:.4f} (1)"
    return f"{row.mean_val_accuracy:.4f} ± {(row.mean_high - row.mean_low) / 2:.4f} ({row.seeds})"


def _others(row: Row) -> dict[str, str]:
    """Return a run's settings that are not the default, except filters, dropout and batch size: in words, by name."""
    values: dict[str, object] = {name: knob_text(value) for name, value in row.knobs.items()}
    if row.learning_rate != LEARNING_RATES.get(row.schedule):
        values["learning rate"] = f"{row.learning_rate:.2g}"
    if row.schedule != RunConfig.schedule:
        values["rate"] = row.schedule
    for name in ("optimizer", "loss"):
        if (value := getattr(row, name)) != getattr(RunConfig, name):
            values[name] = value
    if row.teacher:
        values["teacher"] = row.teacher[:SHOWN_OF_ID]
    values |= {
        RECIPE_OPTIONS[name].short: value if isinstance(value, str) else f"{value:.2g}"
        for name, value in asked_of(row.recipe).items()
    }
    words = {key: f"{key} {value}" for key, value in values.items()}
    return words if row.augment == "off" else {**words, "augment": AUGMENTED.get(row.augment, row.augment)}


def _settings(row: Row) -> dict[str, str]:
    """Return a run's settings in words, by the column or the name in the column `other`."""
    columns = {column.title: column.text(row) for column in _COLUMNS if column.title in _SETTINGS}
    return {title: f"{title} {text}" for title, text in columns.items() if text} | _others(row)


def _shared(board: Sequence[Row]) -> dict[str, str]:
    """Return the settings that are equal in all rows."""
    first, *others = map(_settings, board)
    return {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}


def cells(
    board: Sequence[Row], *, without: Collection[str] = (), versions: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Return the titles of the columns, and the rows as texts.

    Args:
        without: titles of columns to leave out, and names of values in the column `other`.
        versions: whether to add the registry's columns for versions.
    """

    def others(row: Row) -> str:
        return ", ".join(text for name, text in _others(row).items() if name not in without)

    all_columns = _COLUMNS + (_VERSION_COLUMNS if versions else ()) + _ORIGIN_COLUMNS
    columns = [
        column
        for column in (replace(each, text=others) if each.title == "other" else each for each in all_columns)
        if column.title not in without and not (column.only_if_used and not any(map(column.text, board)))
    ]
    return [column.title for column in columns], [[column.text(row) for column in columns] for row in board]


def print_table(
    board: Sequence[Row], heading: str, *, one_study: bool = False, more: bool = False, versions: bool = False
) -> None:
    """Print rows as a table on stdout, and whether there are more; `one_study`: the heading names their study.

    In a narrow terminal, settings that are equal in all rows are printed below the table.
    """
    spare = _SPARE_OF_VERSIONS if versions else _SPARE_OF_RUNS
    said = ["study"] if one_study else []
    shared: dict[str, str] = {}
    titles, lines = cells(board, without=said, versions=versions)
    if not fits_terminal(titles, lines) and board:
        shared = _shared(board)
        for leaving in range(len(spare) + 1):
            titles, lines = cells(board, without=[*said, *shared, *spare[:leaving]], versions=versions)
            if fits_narrowed(titles, lines, folding=_FOLDING):
                break
    caption = [f"* {note(board, titles, more)}"]
    if shared:
        caption.append(
            f"{'the same in all rows' if len(board) > 1 else 'with'}: {', '.join(map(visible, shared.values()))}"
        )
    if "95 % interval" not in titles and (widest := _widest_interval(board)):
        caption.append(f"95 % intervals of val acc: {widest:.3f} or less either way")
    print_cells(titles, lines, title=heading, caption=caption)


def _widest_interval(board: Sequence[Row]) -> float | None:
    """Return the largest distance of an interval's end from its accuracy."""
    ends = [
        abs(row.val_accuracy - end)
        for row in board
        for end in (row.val_accuracy_low, row.val_accuracy_high)
        if row.val_accuracy is not None and end is not None
    ]
    return max(ends, default=None)


def note(board: Sequence[Row], titles: Sequence[str], more: bool) -> str:
    """Return an explanation of the mark, and how to show the rest."""
    rest = ["run ids: --json"] * ("run id" not in titles) + ["more runs: --limit"] * more
    return "; ".join([f"on the Pareto front of {front_of(board)}", *rest])


def front_of(board: Sequence[Row]) -> str:
    """Return the figures of the front in words.

    >>> front_of([])
    'accuracy and bytes'
    """
    *others, last = board[0].front_of if board else Row.front_of
    return f"{', '.join(SPELLED_OUT[name] for name in others)} and {SPELLED_OUT[last]}"


def as_json(board: Sequence[Row]) -> list[dict[str, object]]:
    """Return the rows as JSON objects."""
    return [_flat(row) for row in board]


def _flat(row: Row) -> dict[str, object]:
    """Return a row's fields, with the recipe's fields in place of the recipe."""
    found: dict[str, object] = {}
    for name, value in vars(row).items():
        found.update(asdict(value) if name == "recipe" else {name: value})
    return found


def write_csv(board: Sequence[Row], file: TextIO) -> None:
    """Write the rows with all their fields; knobs as JSON, aliases separated by spaces, unknown values empty."""
    written = (
        _flat(row)
        | {"knobs": json.dumps(row.knobs), "aliases": " ".join(row.aliases), "front_of": " ".join(row.front_of)}
        for row in board
    )
    tables.write_csv([_NAMES, *(row.values() for row in written)], file)
