"""Write an evaluation to files: numbers for programs, tables and plots for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from architectures.display import visible
from architectures.scratch import scratch_folder
from experiments.attempts import Attempts
from experiments.datasets import Dataset
from experiments.evaluation.metrics import CALIBRATION_BINS, Evaluation, evaluate, mistakes_title
from experiments.evaluation.pictures import draw_confusion_matrix, draw_images, draw_reliability, short_names
from experiments.tracking import Tracker
from experiments.views.tables import write_csv

EVALUATION_FOLDER = "evaluation"  # among a run's artifacts
CAPTION = 18  # characters of a file's name below its picture


def write_evaluation(
    tracker: Tracker,
    run_id: str,
    probabilities: npt.NDArray[np.float32],
    dataset: Dataset,
    *,
    figures: bool = True,
) -> str:
    """Log a kept model's evaluation on the validation images: files in `evaluation/`, main figures as metrics.

    Parts that cannot be computed or drawn are left out, and named in the run's tag `not_drawn`.

    Args:
        probabilities: of the validation images (N, num_classes).
        figures: whether to draw the plots.

    Returns:
        What is missing and why, in one line; empty if nothing is.

    Raises:
        TrackingError: if MLflow does not accept it.
    """
    metrics: dict[str, float] = {}
    attempts = Attempts()
    with attempts.part("files"), scratch_folder() as folder:
        with attempts.part("evaluation"):
            found = evaluate(probabilities, dataset.val.labels, dataset.class_names, dataset.val.files)
            metrics = found.metrics()
            write_report(found, dataset.val.images, folder, what="validation", attempts=attempts, figures=figures)
        attempts.write(folder)
        tracker.writer.log_files(run_id, folder, EVALUATION_FOLDER)
    tracker.writer.log_evaluation(run_id, metrics)
    tracker.writer.tag_not_drawn(run_id, str(attempts), EVALUATION_FOLDER)
    return str(attempts)


def write_report(
    evaluation: Evaluation,
    images: npt.NDArray[np.uint8],
    folder: Path,
    *,
    what: str,
    attempts: Attempts,
    figures: bool = True,
) -> None:
    """Write an evaluation to an existing folder, as numbers and as plots.

    `evaluation.json` has everything; `classification_report.txt`, `confusion_matrix.csv` and `.png`, `reliability.png`
    and `mistakes.png` are for people.

    Args:
        images: uint8 (N, height, width, channels).
        folder: for the files.
        what: name of the images, such as `validation`.
        figures: whether to draw the plots.
    """
    names = [each.name for each in evaluation.classes]
    short = short_names(names)

    def numbers(path: Path) -> None:
        path.write_text(json.dumps(asdict(evaluation), indent=2), encoding="utf-8")

    def table(path: Path) -> None:
        path.write_text(_table(evaluation) + _mistakes(evaluation, names, what), encoding="utf-8")

    def matrix(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = ([name, *row] for name, row in zip(names, evaluation.confusion_matrix, strict=True))
            write_csv([["true\\predicted", *names], *rows], file)

    def mistakes(path: Path) -> None:
        captions = [
            f"{_end(visible(mistake.file or f'{what} {mistake.index}'))}: {short[mistake.true_label]}\n"
            f"answer {short[mistake.answer]}, {mistake.confidence:.3f}"
            for mistake in evaluation.mistakes
        ]
        wrong = [images[mistake.index] for mistake in evaluation.mistakes]
        draw_images(wrong, captions, path, title=mistakes_title(evaluation, what))

    parts: dict[str, Callable[[Path], None]] = {
        "evaluation.json": numbers,
        "classification_report.txt": table,
        "confusion_matrix.csv": matrix,
    }
    drawn: dict[str, Callable[[Path], None]] = {
        "confusion_matrix.png": partial(draw_confusion_matrix, evaluation, what=what),
        "reliability.png": partial(draw_reliability, evaluation, what=what),
        "mistakes.png": mistakes,
    }
    for name, make in (parts | (drawn if figures else {})).items():
        with attempts.part(name, folder / name):
            make(folder / name)


def _end(name: str) -> str:
    """Return the end of a long name, by which files differ."""
    return name if len(name) <= CAPTION else f"...{name[-CAPTION:]}"


def _mistakes(evaluation: Evaluation, names: Sequence[str], what: str) -> str:
    """Return the most confident mistakes as lines of text, with complete file names."""
    lines = [
        f"{mistake.confidence:.4f}  {visible(mistake.file or f'{what} {mistake.index}')}: "
        f"{visible(names[mistake.true_label])}, answer {visible(names[mistake.answer])}"
        for mistake in evaluation.mistakes
    ]
    return "\n".join(["", mistakes_title(evaluation, what), *lines, ""])


def _table(evaluation: Evaluation) -> str:
    """Return precision and recall of each class as text."""
    names = [visible(each.name) for each in evaluation.classes]
    wide = max(12, *map(len, names))
    lines = [f"{'class':<{wide}}  precision  recall      f1  images"]
    lines += [
        f"{name:<{wide}}  {each.precision:9.4f}  {each.recall:6.4f}  {each.f1:6.4f}  {each.images:6d}"
        for name, each in zip(names, evaluation.classes, strict=True)
    ]
    lines.append(
        f"{'mean':<{wide}}  {evaluation.macro_precision:9.4f}  {evaluation.macro_recall:6.4f}          "
        f"{evaluation.images:6d}"
    )
    lines.append(
        f"accuracy {evaluation.accuracy:.4f}, 95 % Wilson interval {evaluation.accuracy_low:.4f} to "
        f"{evaluation.accuracy_high:.4f}; expected calibration error {evaluation.expected_calibration_error:.4f} in "
        f"{CALIBRATION_BINS} bins"
    )
    return "\n".join(lines) + "\n"
