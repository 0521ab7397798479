"""Metrics and description of a sweep's run in MLflow; the description includes the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from experiments.evaluation.intervals import ExpectedAccuracy
from experiments.objective import SHORT, SPELLED_OUT
from experiments.tracking import LONGEST_TAG, link_within_mlflow
from experiments.tracking.parents import EXPECTED
from experiments.views import leaderboard_table
from experiments.views.leaderboard import Row
from experiments.views.tables import markdown, markdown_text
from search.report.page import REPORT
from search.study.results import counted
from search.study.study import Study

ROWS = 10  # of the leaderboard in the description, if a tag is long enough for them


def sweep_metrics(study: Study, board: Sequence[Row], expected: ExpectedAccuracy | None) -> dict[str, float]:
    """Return the metrics of the sweep's run; the best network is the first row of the board."""
    counts = study.results.counts()
    found: dict[str, float] = {
        "trials": sum(counts.values()),
        "pruned": counts["pruned"],
        "failed": counts["fail"],
        "seconds": study.results.seconds(),
    }
    if board:
        found["best_coreml_bytes"] = board[0].coreml_bytes
        if board[0].val_accuracy is not None:
            found["best_val_accuracy"] = board[0].val_accuracy
    if expected:
        found |= dict(zip(EXPECTED, astuple(expected), strict=True))
    return found


def description(study: Study, board: Sequence[Row], experiment_id: str) -> str:
    """Return the description as Markdown: the best network, then the leaderboard with links to runs."""
    for rows in range(min(ROWS, len(board)), -1, -1):
        text = _description(study, board, experiment_id, rows)
        if len(text) <= LONGEST_TAG:
            break
    return text[:LONGEST_TAG]


def _description(study: Study, board: Sequence[Row], experiment_id: str, rows: int) -> str:
    config, shown = study.config, board[:rows]
    counts = counted(study.results.counts())
    parts = []
    if board:
        best = board[0]
        value = {"val_accuracy": best.val_accuracy, "val_balanced_accuracy": best.val_balanced_accuracy}
        reached = value.get(config.objective, best.val_loss)
        parts.append(
            f"Best by {SPELLED_OUT[config.objective]} on the validation images: "
            f"[{markdown_text(best.run)}]({link_within_mlflow(experiment_id, best.run_id)})"
            + ("" if reached is None else f", {SHORT[config.objective]} {reached:.4f}")
            + f", {best.coreml_bytes:,} bytes as a Core ML file."
        )
    parts.append(f"Trials: {counts}. Data: {markdown_text(config.dataset)}. Report: {REPORT} among the artifacts.")
    if shown:
        titles, lines = leaderboard_table.cells(shown, without=("study", "run id"))
        parts.append(
            markdown(titles, lines, links={"run": [link_within_mlflow(experiment_id, row.run_id) for row in shown]})
        )
        more = f"; {len(board) - rows} more in the report" if len(board) > rows else ""
        parts.append(f"\\* on the Pareto front of {leaderboard_table.front_of(board)}{more}")
    return "\n\n".join(parts)
