"""What a kept model's predictions on the validation images say: confusion matrix and per-class report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from experiments.config import RunResult
    from experiments.datasets import Dataset
    from experiments.tracking import Tracker


def accuracy_interval(correct: int, images: int) -> tuple[float, float]:
    """95 % Wilson score interval of an accuracy.

    >>> low, high = accuracy_interval(485, 500)
    >>> round(low, 4), round(high, 4)
    (0.9511, 0.9817)
    """
    from statistics import NormalDist  # importing scipy.stats takes longer than finding the best of 10,000 runs

    z, share = NormalDist().inv_cdf(0.975), correct / images
    centre = share + z**2 / (2 * images)
    reach = z * (share * (1 - share) / images + z**2 / (4 * images**2)) ** 0.5
    low, high = ((centre + sign * reach) / (1 + z**2 / images) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of a mean by Student's t; None for fewer than two values.

    >>> low, high = mean_interval([0.96, 0.97, 0.98])
    >>> round(low, 4), round(high, 4)
    (0.9452, 0.9948)
    """
    import numpy as np
    from scipy.stats import t

    if len(values) < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return mean - reach, mean + reach


def write_evaluation(tracker: Tracker, run_id: str, result: RunResult, dataset: Dataset) -> None:
    """Log the confusion matrix and per-class report of a run's kept model on the validation images."""
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="pocketnets-") as folder:
        write_report(Path(folder), dataset.val.labels, np.array(result.val_predictions), dataset.class_names)
        tracker.log_files(run_id, Path(folder), "evaluation")


def write_report(
    folder: Path, labels: npt.NDArray[np.int64], predictions: npt.NDArray[np.int64], class_names: tuple[str, ...]
) -> None:
    """Write `confusion_matrix.png`, `confusion_matrix.csv` and `classification_report.json` and `.txt`.

    Args:
        folder: an existing folder.
        labels: true label indices (N,).
        predictions: predicted label indices (N,).
        class_names: names by index.
    """
    from sklearn.metrics import classification_report, confusion_matrix

    indices = list(range(len(class_names)))
    matrix = confusion_matrix(labels, predictions, labels=indices)
    rows = [",".join(["true\\predicted", *class_names])]
    rows += [",".join([name, *map(str, row)]) for name, row in zip(class_names, matrix, strict=True)]
    (folder / "confusion_matrix.csv").write_text("\n".join(rows) + "\n")
    draw_confusion_matrix(matrix, class_names, folder / "confusion_matrix.png")

    arguments = {"labels": indices, "target_names": list(class_names), "zero_division": 0}
    report = classification_report(labels, predictions, output_dict=True, **arguments)
    (folder / "classification_report.json").write_text(json.dumps(report, indent=2))
    (folder / "classification_report.txt").write_text(classification_report(labels, predictions, digits=4, **arguments))


def draw_confusion_matrix(
    matrix: npt.NDArray[np.int64], class_names: tuple[str, ...], path: Path, *, what: str = "validation"
) -> None:
    """Draw a confusion matrix (true by predicted) as a PNG."""
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and picks a display
    from sklearn.metrics import ConfusionMatrixDisplay

    side = 2.5 + 0.4 * len(class_names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    ConfusionMatrixDisplay(matrix, display_labels=class_names).plot(
        ax=axes, cmap="Blues", colorbar=False, xticks_rotation="vertical" if max(map(len, class_names)) > 3 else 0
    )
    correct = int(matrix.trace())
    axes.set_title(f"{correct} of {matrix.sum()} {what} images right", fontsize=10)
    figure.savefig(path, dpi=120)
