"""Write the predictions of a Core ML file as a self-contained page: pictures by confidence, filtered by label."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

import numpy as np

from conversion.predictions import PicturePrediction, Predictions
from experiments.evaluation.labels import told_apart
from experiments.views.page import render, run_link, save

MOST = 2_000  # pictures on a page: the least confident, mistakes before all others


def write_page(found: Predictions, path: Path) -> None:
    """Write the page, completely or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    save(_page(found), path)


def _page(found: Predictions) -> str:
    wrong = {id(answer) for answer in found.mistakes}
    chosen = sorted(found.answers, key=lambda answer: (id(answer) not in wrong, answer.top[0][1]))[:MOST]
    numbers = {label: number for number, label in enumerate(found.labels)}
    counts = {label: sum(answer.label == label for answer in chosen) for label in found.labels}

    def shown(answer: PicturePrediction) -> dict[str, object]:
        return {
            "number": numbers[answer.label],
            "confidence": answer.top[0][1],
            "image": np.atleast_3d(answer.picture.read()),
            "name": answer.picture.name,
            "wrong": id(answer) in wrong,
            "truth": found.truth_of(answer),
            "top": answer.top,
        }

    return render(
        "predictions",
        title=Path(found.file).name,
        found=found,
        file=quote(found.file),
        notes=(*found.notes, *found.unread),
        evaluation=found.evaluation,
        names=told_apart([each.name for each in found.evaluation.classes]) if found.evaluation else (),
        figures=_figures(found),
        run_link=run_link(found.run_id, os.environ.get("MLFLOW_TRACKING_URI")),
        options=[(numbers[label], label, count) for label, count in counts.items() if count],
        figures_of=list(map(shown, chosen)),
    )


def _figures(found: Predictions) -> list[tuple[str, str]]:
    worth = found.evaluation
    if worth is None:
        return [(f"{len(found.answers):,}", "pictures"), (f"{len(found.unread):,}", "pictures that could not be read")]
    interval = f"{worth.accuracy_low:.4f} to {worth.accuracy_high:.4f}"
    return [
        (f"{worth.accuracy:.4f}", f"accuracy, 95 % interval {interval}"),
        (f"{len(found.mistakes):,}", "mistakes"),
        (f"{len(found.answers):,}", "pictures"),
    ]
