"""Write a comparison of runs as a self-contained page."""

from __future__ import annotations

from pathlib import Path

from experiments.views.charts import Chart, Series, page_figure
from experiments.views.comparison import CURVES, RunComparison, cells, headings, text
from experiments.views.page import render, run_link, save


def write_page(comparison: RunComparison, path: Path) -> None:
    """Write the page, completely or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    save(_page(comparison), path)


def _page(comparison: RunComparison) -> str:
    runs = comparison.runs
    heads = headings(runs)
    reached = [run.metrics.get("best_val_accuracy") for run in runs]
    known = [value for value in reached if value is not None]
    most = [head for head, value in zip(heads, reached, strict=True) if known and value == max(known)]
    return render(
        "comparison",
        title=" and ".join(heads) if len(heads) < 4 else f"{len(heads)} runs",
        same_data=comparison.same_data,
        best=" and ".join(most),
        first=most[0] if most else "",
        best_id=runs[heads.index(most[0])].run_id if most else "",
        figures=[
            (
                text(value),
                f"{head}, {run.metrics['coreml_bytes']:,.0f} bytes" if "coreml_bytes" in run.metrics else head,
            )
            for head, run, value in zip(heads, runs, reached, strict=True)
        ],
        heads=heads,
        runs=[
            [head, run.run_id, run.study or "", f"{run.status} {run.outcome or ''}".strip(), str(len(run.epochs))]
            for head, run in zip(heads, runs, strict=True)
        ],
        links=[run_link(run.run_id, comparison.tracking_uri) for run in runs],
        results=cells(comparison.metrics),
        parameters=cells(comparison.parameters),
        origin=cells(comparison.origin),
        curves=[
            (f"{what.capitalize()} by epoch{_leader(comparison, key)}", page_figure(_curves(comparison, key)))
            for key, what in CURVES.items()
            if any(run.epochs for run in runs)
        ],
    )


def _leader(comparison: RunComparison, key: str) -> str:
    """Return for a title which run has the highest value, or the lowest loss."""
    choose = min if "loss" in key else max
    curves = zip(headings(comparison.runs), comparison.runs, strict=True)
    reached = [(choose(getattr(metrics, key) for metrics in run.epochs), head) for head, run in curves if run.epochs]
    value, head = choose(reached)
    return f": {head} reaches {text(value)}"


def _curves(comparison: RunComparison, key: str) -> Chart:
    series = []
    for head, run in zip(headings(comparison.runs), comparison.runs, strict=True):
        epochs, values = [one.epoch for one in run.epochs], [getattr(one, key) for one in run.epochs]
        hover = [f"{head}\nepoch {epoch}: {value:.4f}" for epoch, value in zip(epochs, values, strict=True)]
        if epochs:
            series.append(Series(head, epochs, values, "lines", hover))
    return Chart(tuple(series), "epoch", CURVES[key], x_whole=True)
