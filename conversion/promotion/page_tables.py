"""Tables of a promotion's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from experiments.views.tables import html_text


def strong(text: str) -> str:
    """What a row is about."""
    return f"<b>{html_text(text)}</b>"


def table(head: Sequence[str], body: Iterable[Sequence[str]], *, figures: Iterable[int] = ()) -> str:
    """An HTML table of cells that are escaped already; the columns in `figures` are set to the right."""
    kinds = set(figures)

    def row(tag: str, cells: Sequence[str]) -> str:
        drawn = (f"<{tag}{' class=figure' if i in kinds else ''}>{cell}</{tag}>" for i, cell in enumerate(cells))
        return "<tr>" + "".join(drawn) + "</tr>"

    rows = [row("th", head)] if head else []
    rows += [row("td", cells) for cells in body]
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'
