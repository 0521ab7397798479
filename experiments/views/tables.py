"""Tables as text: in the terminal, as CSV and Markdown; each writer escapes names for its format."""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TextIO

from architectures.command import console
from architectures.display import visible

# Columns without figures.
DEFAULT_TEXT_COLUMNS = frozenset(
    {"run", "other", "comparison", "verdict", "aliases", "id", "study", "status", "parameter", "result", "environment"}
    | {"figure", "not the same", "of the run", "here", "curve", "model", "reason", "run id"}
)
# Columns that identify a line: in a narrow terminal, they fold last.
NAMES = frozenset({"", "run", "experiment", "parameter", "result", "figure", "not the same"})
NARROWEST = 8  # characters: minimum width of a folded column
FOLDED = 12  # characters: width at which a folded column of words is still easy to read
FIGURE = re.compile(r"[-+]?[\d.,]{1,21}(e[-+]\d+)?")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # including full-width characters

Cells = Sequence[Sequence[str]]


def print_cells(
    titles: Sequence[str],
    lines: Cells,
    *,
    words: Collection[str] = DEFAULT_TEXT_COLUMNS,
    title: str = "",
    caption: Sequence[str] = (),
) -> None:
    """Print texts as a table on stdout, with words aligned left and figures right.

    If a table is too wide for the terminal, its outer frame is omitted and long texts fold; figures never do.

    Args:
        words: the titles of columns of words.
        title: above the table.
        caption: lines below the table.
    """
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    titles, lines = [*map(visible, titles)], [[*map(visible, line)] for line in lines]
    screen = console()
    framed = fits_terminal(titles, lines)
    widths = _widths(titles, lines)
    if not framed:
        _fold(widths, titles, lines, screen.width - 3 * (len(widths) - 1))
        screen.width = max(screen.width, sum(widths) + 3 * (len(widths) - 1))  # do not cut columns that cannot fold
    table = Table(
        title=escape(title),
        caption=Text("\n".join(map(visible, caption)), style="table.caption") if caption else None,
        title_justify="left",
        caption_justify="left",
        show_edge=framed,
        pad_edge=framed,
    )
    for heading, width in zip(titles, widths, strict=True):
        justify: Literal["left", "right"] = "left" if heading in words else "right"
        table.add_column(escape(heading), justify=justify, width=width, overflow="fold")
    for line in lines:
        table.add_row(*map(escape, line))
    screen.print(table, crop=False)


def fits_terminal(titles: Sequence[str], lines: Cells) -> bool:
    """Return whether the terminal is wide enough for a table."""
    widths = _widths([*map(visible, titles)], [[*map(visible, line)] for line in lines])
    return sum(widths) + 3 * len(widths) + 1 <= console().width


def fits_narrowed(titles: Sequence[str], lines: Cells, *, folding: Collection[str] = ()) -> bool:
    """Return whether it is wide enough for a table without a frame, with folded titles and folded columns `folding`."""
    widths = _widths([*map(_longest_word, titles)], [[*map(visible, line)] for line in lines])
    widths = [min(width, FOLDED) if title in folding else width for title, width in zip(titles, widths, strict=True)]
    return sum(widths) + 3 * (len(widths) - 1) <= console().width


def _longest_word(text: str) -> str:
    return max(visible(text).split(), key=len, default="")


def _widths(titles: Sequence[str], lines: Cells) -> list[int]:
    """Return the length of each column's longest text."""
    return [max(map(len, column)) for column in zip(titles, *lines, strict=True)]


def _fold(widths: list[int], titles: Sequence[str], lines: Cells, room: int) -> None:
    """Narrow columns until all fit into `room`, the widest first: by folding their titles, then their texts."""
    whole = _widths([*map(_longest_word, titles)], lines)
    least = [
        max([NARROWEST, *(len(word) for text in column for word in text.split() if FIGURE.fullmatch(word))])
        for column in zip(titles, *lines, strict=True)
    ]
    for kept, floor in ((NAMES, whole), (NAMES, least), ((), least)):
        while sum(widths) > room:
            folding = [
                number
                for number, heading in enumerate(titles)
                if heading not in kept and widths[number] > floor[number]
            ]
            if not folding:
                break
            widths[max(folding, key=widths.__getitem__)] -= 1


def markdown(
    titles: Sequence[str],
    lines: Cells,
    *,
    links: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return a table in Markdown.

    Args:
        lines: a text for each column.
        links: link targets of a column's texts, by its title.

    >>> print(markdown(["run", "bytes"], [["a|b", "12"]], links={"run": ["#/runs/1"]}))
    | run | bytes |
    |---|---:|
    | [a\\|b](#/runs/1) | 12 |
    """
    rule = "|".join("---" if title in DEFAULT_TEXT_COLUMNS else "---:" for title in titles)
    cells = [[*map(markdown_text, line)] for line in (titles, *lines)]
    for title, targets in (links or {}).items():
        column = titles.index(title)
        for line, target in zip(cells[1:], targets, strict=True):
            line[column] = f"[{line[column]}]({target})"
    rows = map(" | ".join, cells)
    first, *others = rows
    return "\n".join([f"| {first} |", f"|{rule}|", *(f"| {row} |" for row in others)])


def markdown_text(text: str) -> str:
    """Escape a text for a cell or a line of Markdown: no links, pictures, emphasis, HTML or end of a cell.

    >>> print(markdown_text("val_acc _a_ *b* |<i>|"))
    val_acc \\_a\\_ \\*b\\* \\|&lt;i&gt;\\|
    """
    escaped = re.sub(r"[\\`\[\]!|~]|(?<!\s)\*|\*(?!\s|$)|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", visible(text).strip())
    return html.escape(escaped, quote=False)


def write_csv(rows: Iterable[Iterable[object]], file: TextIO) -> None:
    """Write rows as CSV; texts that a spreadsheet would evaluate are prefixed with an apostrophe.

    >>> import sys
    >>> write_csv([["=1+1", "-0.5", -0.5, "a,b", None]], sys.stdout)
    '=1+1,-0.5,-0.5,"a,b",
    """
    csv.writer(file, lineterminator="\n").writerows([_csv_cell(value) for value in row] for row in rows)


def _csv_cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    begins_a_formula = value.lstrip(" ")[:1] in FORMULAS and not NUMBER.fullmatch(value)
    return f"'{visible(value)}" if value and begins_a_formula else visible(value)


def html_text(text: str) -> str:
    """Escape a text for a Plotly figure, which interprets some HTML; pages are escaped by their engine.

    >>> html_text("a\\x1b <b>")
    'a\\\\x1b &lt;b&gt;'
    """
    return html.escape(visible(text))
