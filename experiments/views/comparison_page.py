"""The comparison of runs as one page that needs no network."""

from __future__ import annotations

from pathlib import Path

from experiments.views.comparison import CURVES, RunComparison, cells, headings
from experiments.views.page import html_page, save
from experiments.views.tables import html_table, html_text

HEIGHT = 380  # pixels of a figure
COLOURS = ("#2b6cb0", "#dd9a33", "#2f855a", "#c53030", "#6b46c1", "#319795", "#b83280", "#4a5568")


def write_page(comparison: RunComparison, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    save(_page(comparison), path)


def _page(comparison: RunComparison) -> str:
    runs = comparison.runs
    heads = headings(runs)
    parts = []
    if not comparison.same_data:
        parts.append("<p><b>Trained on different data: their accuracies cannot be compared.</b></p>")
    facts = [
        [head, run.run_id, run.study or "", f"{run.status} {run.outcome or ''}".strip(), str(len(run.epochs))]
        for head, run in zip(heads, runs, strict=True)
    ]
    parts.append(html_table(["run", "id", "study", "status", "epochs"], facts))
    parts.append("<h2>Results</h2>" + html_table(["", "result", *heads], cells(comparison.metrics)))
    parts.append("<h2>Parameters</h2>")
    parts.append(html_table(["", "parameter", *heads], cells(comparison.parameters)))
    if comparison.origin:
        parts.append("<h2>Where they were trained, as far as it differs</h2>")
        parts.append(html_table(["", "environment", *heads], cells(comparison.origin)))
    parts.append("<p class='note'>Lines marked ≠ differ between the runs; they come first.</p>")
    for key, what in CURVES.items():
        figure = _curves(comparison, key)
        if figure is not None:
            parts += [f"<h2>{html_text(what.capitalize())} by epoch</h2>", figure]
    return html_page(" and ".join(heads) if len(heads) < 4 else f"{len(heads)} runs", parts)


def _curves(comparison: RunComparison, key: str):  # type: ignore[no-untyped-def]  # plotly.graph_objects.Figure | None
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (head, run) in enumerate(zip(headings(comparison.runs), comparison.runs, strict=True)):
        if not run.epochs:
            continue
        figure.add_scatter(
            x=[metrics.epoch for metrics in run.epochs],
            y=[getattr(metrics, key) for metrics in run.epochs],
            name=html_text(head),  # Plotly reads some HTML
            mode="lines+markers",
            line={"color": COLOURS[number % len(COLOURS)]},
            hovertemplate=f"{html_text(head)}<br>epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        )
    if not figure.data:
        return None
    figure.update_layout(
        template="plotly_white",
        height=HEIGHT,
        margin={"l": 70, "r": 30, "t": 20, "b": 60},
        autosize=True,
        showlegend=True,
        xaxis={"title": "epoch", "dtick": max(1, max(len(run.epochs) for run in comparison.runs) // 10)},
        yaxis={"title": CURVES[key]},
    )
    return figure
