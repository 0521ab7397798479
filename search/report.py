"""A study's figures, as one HTML page and as PNG, and its leaderboard, written to the parent run."""

from __future__ import annotations

import csv
import json
import tempfile
import warnings
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import optuna

from experiments import leaderboard
from experiments.leaderboard import Row
from experiments.tracking import Tracker
from search.study import Study

NAMED = {"target_name": "val_accuracy"}
# Functions of optuna.visualization and of its matplotlib twin, with their arguments.
FIGURES: dict[str, dict[str, str]] = {
    "plot_optimization_history": NAMED,
    "plot_intermediate_values": {},
    "plot_parallel_coordinate": NAMED,
    "plot_param_importances": NAMED,
    "plot_slice": NAMED,
}


def write_report(study: Study, tracker: Tracker, parent_run_id: str, board: list[Row]) -> None:
    """Write `study.html`, a PNG per figure and the leaderboard into the parent run's artifacts."""
    with tempfile.TemporaryDirectory(prefix="pocketnets-") as name:
        folder = Path(name)
        _write_leaderboard(folder, board)
        _write_figures(folder, study.optuna_study)
        tracker.log_files(parent_run_id, folder, "study")


def _write_leaderboard(folder: Path, board: list[Row]) -> None:
    rows = leaderboard.as_json(board)
    (folder / "leaderboard.json").write_text(json.dumps(rows, indent=2))
    if rows:
        with (folder / "leaderboard.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _write_figures(folder: Path, study: optuna.Study) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from optuna import visualization
    from optuna.visualization import matplotlib as static

    parts: list[str] = []
    for name, arguments in FIGURES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna marks its matplotlib figures as experimental
            figure = _drawn(getattr(visualization, name), study, arguments)
            axes = _drawn(getattr(static, name), study, arguments)
        if figure is None or axes is None:
            continue
        # plotly.js is embedded once: the page works without a network.
        parts.append(figure.to_html(full_html=False, include_plotlyjs=not parts))
        pyplot.gcf().set_size_inches(10, 5)
        pyplot.savefig(folder / f"{name.removeprefix('plot_')}.png", dpi=100, bbox_inches="tight")
        pyplot.close("all")
    title = f"<title>Study {escape(study.study_name)}</title>"
    (folder / "study.html").write_text(f"<!doctype html><meta charset='utf-8'>{title}{''.join(parts)}")


def _drawn(plot: Callable[..., Any], study: optuna.Study, arguments: dict[str, str]) -> Any:
    """A figure, or None where the study has too few trials for it."""
    try:
        return plot(study, **arguments)
    except (ValueError, RuntimeError):  # Optuna raises these for importances of too few or equal trials
        return None
