"""A study's report on its parent run: one page that joins the leaderboard and the figures, and each of them alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

from experiments import leaderboard
from experiments.leaderboard import Row
from experiments.tables import STYLE, html_table
from experiments.tracking import Tracker
from search import comparison
from search.comparison import Comparison
from search.figures import Figure, draw
from search.study import Study

ROWS = 25  # of the leaderboard on the page
PLOTLY = {"responsive": True}  # a figure is as wide as its window


def write_report(
    study: Study, tracker: Tracker, parent_run_id: str, board: list[Row], compared: Sequence[Comparison]
) -> None:
    """Write `report.html`, each figure as a page and as a PNG, and the leaderboard into the parent run's artifacts."""
    with tempfile.TemporaryDirectory(prefix="pocketnets-") as name:
        folder = Path(name)
        _write_leaderboard(folder, board)
        figures = draw(study.optuna_study)
        for figure in figures:
            if figure.page is not None:
                # One plotly.min.js beside the pages, which is written with the first of them: it has 4 MB.
                figure.page.write_html(folder / f"{figure.name}.html", PLOTLY, include_plotlyjs="directory")
                (folder / f"{figure.name}.png").write_bytes(figure.png)
        (folder / "report.html").write_text(_page(study, board, compared, figures))
        tracker.log_files(parent_run_id, folder, "study")


def _write_leaderboard(folder: Path, board: list[Row]) -> None:
    rows = leaderboard.as_json(board)
    (folder / "leaderboard.json").write_text(json.dumps(rows, indent=2))
    with (folder / "leaderboard.csv").open("w", newline="") as file:
        leaderboard.write_csv(board, file)


def _page(study: Study, board: list[Row], compared: Sequence[Comparison], figures: Sequence[Figure]) -> str:
    """The whole report; plotly.js is embedded once, so that it works without a network."""
    title = escape(f"Study {study.name}")
    counts = ", ".join(f"{count} {state}" for state, count in study.standing.counts().items())
    config = study.config
    what = f"{config.dataset}, {config.epochs} epochs at most, objective {' and '.join(config.objectives)}"
    if config.max_coreml_bytes:
        what += f", files of at most {config.max_coreml_bytes:,} bytes"
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>",
        f"<style>{STYLE}</style></head><body><h1>{title}</h1><p>{escape(what)}.<br>Trials: {counts}.</p>",
    ]
    if board:
        titles, rows = leaderboard.cells(board[:ROWS], without=("study", "run id"))
        parts += ["<h2>Leaderboard</h2>", html_table(titles, rows)]
        more = f"; {len(board) - ROWS} more in leaderboard.csv" if len(board) > ROWS else ""
        parts.append(f"<p class='note'>* on the front of accuracy and bytes{more}</p>")
    if compared:
        parts += ["<h2>Architectures compared</h2>", html_table(comparison.TITLES, comparison.cells(compared))]
        parts.append(
            "<p class='note'>The best configuration of each, trained with further seeds; paired t-test over the seeds, "
            "p by Holm's method.</p>"
        )
    scripted = False
    for figure in figures:
        parts.append(f"<h2>{escape(figure.title)}</h2>")
        if figure.page is None:
            parts.append(f"<p class='note'>Could not be drawn: {escape(figure.reason)}</p>")
            continue
        parts.append(figure.page.to_html(full_html=False, include_plotlyjs=not scripted, config=PLOTLY))
        scripted = True
    return "".join([*parts, "</body></html>\n"])
