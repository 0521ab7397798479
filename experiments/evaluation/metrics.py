"""What a model's probabilities on a split say: accuracy, confusion, precision and recall, calibration, mistakes.

Of a kept model on the validation images, written to its run; of a promoted file on the test images, in its evidence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.display import visible
from architectures.scratch import scratch_folder
from experiments.evaluation.labels import told_apart
from experiments.views.tables import write_csv

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from experiments.attempts import Attempts
    from experiments.datasets import Dataset
    from experiments.tracking import Tracker

FOLDER = "evaluation"  # among a run's artifacts
EVALUATED = "expected_calibration_error"  # metric that every evaluated run has
CALIBRATION_BINS = 15  # of equal width, as in Guo et al. 2017
MISTAKES_SHOWN = 20  # the most confident ones
CAPTION = 18  # characters of a file's name below its picture


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


@dataclass(frozen=True)
class ClassReport:
    """One class; a figure that has nothing to be a share of is 0."""

    name: str  # with its index where two classes share one
    precision: float  # share of the images answered so that are so
    recall: float  # share of its images that are answered so
    f1: float  # harmonic mean of the two
    images: int


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose confidence lies in (low, high]."""

    low: float
    high: float
    images: int
    confidence: float  # their mean
    accuracy: float


@dataclass(frozen=True)
class Mistake:
    """An image with a wrong answer."""

    index: int  # in the split
    true_label: int
    answer: int  # label index
    confidence: float
    file: str = ""  # below the data set's folder; empty where the images have no files

    @property
    def name(self) -> str:
        """What a person finds the image by."""
        return self.file or f"#{self.index}"


@dataclass(frozen=True)
class Evaluation:
    """Probabilities against labels. Confidence is the answer's probability, where all of an image sum to 1."""

    images: int
    correct: int
    accuracy: float
    accuracy_low: float  # 95 % Wilson interval
    accuracy_high: float
    macro_precision: float  # mean over the classes
    macro_recall: float
    expected_calibration_error: float  # mean distance of a bin's confidence from its accuracy, by its share of images
    confusion_matrix: tuple[tuple[int, ...], ...]  # images, a row per true class, a column per answer
    classes: tuple[ClassReport, ...]
    calibration: tuple[CalibrationBin, ...]  # those that hold images
    mistakes: tuple[Mistake, ...]  # the most confident first, MISTAKES_SHOWN at most

    def metrics(self) -> dict[str, float]:
        """The headline figures that a run's validation images give, by their names in MLflow."""
        return {
            EVALUATED: self.expected_calibration_error,
            "val_accuracy_low": self.accuracy_low,
            "val_accuracy_high": self.accuracy_high,
            "macro_precision": self.macro_precision,
            "macro_recall": self.macro_recall,
        }


def evaluate(
    probabilities: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    files: Sequence[str] | None = None,
) -> Evaluation:
    """Hold probabilities (N, classes), of a softmax or sigmoid head, against label indices (N,).

    The names of the images' files, where they have some, name the mistakes.

    Calibration as in C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
    section 2: bins of equal width, each closed above, of the confidence in the answer.

    >>> import numpy as np
    >>> found = evaluate(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), np.array([0, 1, 1]), ("cat", "dog"))
    >>> found.correct, found.confusion_matrix, round(found.expected_calibration_error, 4)
    (2, ((1, 0), (1, 1)), 0.3)
    >>> found.mistakes
    (Mistake(index=1, true_label=1, answer=0, confidence=0.6, file=''),)
    """
    import numpy as np
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    indices = list(range(len(class_names)))
    answers = probabilities.argmax(axis=1)
    right = answers == labels
    with np.errstate(all="ignore"):  # a file that is being refused may answer anything
        confidence = probabilities.max(axis=1).astype(np.float64) / probabilities.sum(axis=1, dtype=np.float64)
    confidence = np.clip(np.nan_to_num(confidence, nan=0.0, posinf=0.0, neginf=0.0), 0, 1)

    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=CALIBRATION_BINS)
    accuracies, confidences = calibration_curve(right, confidence, n_bins=CALIBRATION_BINS)  # of bins with images
    filled = np.flatnonzero(counts)
    error = float(np.abs(accuracies - confidences) @ counts[filled]) / len(labels)

    precision, recall, f1, _ = precision_recall_fscore_support(labels, answers, labels=indices, zero_division=0)
    images = np.bincount(labels, minlength=len(indices))  # scikit-learn's are floats where no answer is right
    wrong = np.flatnonzero(~right)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES_SHOWN]
    low, high = accuracy_interval(int(right.sum()), len(labels))
    return Evaluation(
        images=len(labels),
        correct=int(right.sum()),
        accuracy=float(right.mean()),
        accuracy_low=low,
        accuracy_high=high,
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        expected_calibration_error=error,
        confusion_matrix=tuple(tuple(row) for row in confusion_matrix(labels, answers, labels=indices).tolist()),
        classes=tuple(
            ClassReport(name, *figures)
            for name, *figures in zip(
                told_apart(class_names), precision.tolist(), recall.tolist(), f1.tolist(), images.tolist(), strict=True
            )
        ),
        calibration=tuple(
            CalibrationBin(float(edges[b]), float(edges[b + 1]), int(counts[b]), float(mean), float(accuracy))
            for b, mean, accuracy in zip(filled, confidences, accuracies, strict=True)
        ),
        mistakes=tuple(
            Mistake(int(i), int(labels[i]), int(answers[i]), float(confidence[i]), files[i] if files else "")
            for i in worst.tolist()
        ),
    )


def write_evaluation(
    tracker: Tracker,
    run_id: str,
    probabilities: npt.NDArray[np.float32],
    dataset: Dataset,
    *,
    best_epoch: int,
    figures: bool = True,
) -> str:
    """Log a run's kept model on the validation images: files under `evaluation/`, headline numbers as metrics.

    What cannot be computed or drawn is left out: the run says so in its tag `not_drawn`.

    Args:
        tracker: the store.
        run_id: the run.
        probabilities: of the validation images (N, num_classes).
        dataset: the run's.
        best_epoch: whose weights were kept, which is the step of the metrics.
        figures: whether to draw the plots.

    Returns:
        What is missing and why, in one line; empty where nothing is.

    Raises:
        TrackingError: if MLflow does not take it.
    """
    from experiments.attempts import Attempts

    metrics: dict[str, float] = {}
    attempts = Attempts()
    with attempts.part("files"), scratch_folder() as folder:
        with attempts.part("evaluation"):
            found = evaluate(probabilities, dataset.val.labels, dataset.class_names, dataset.val.files)
            metrics = found.metrics()
            write_report(found, dataset.val.images, folder, what="validation", attempts=attempts, figures=figures)
        attempts.write(folder)
        tracker.log_files(run_id, folder, FOLDER)
    tracker.log_evaluation(run_id, metrics, step=best_epoch)
    tracker.tag_not_drawn(run_id, str(attempts), FOLDER)
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
    """Write an evaluation into an existing folder, as numbers and as plots.

    `evaluation.json` holds all of it; `classification_report.txt`, `confusion_matrix.csv` and `.png`, `reliability.png`
    and `mistakes.png` are for people.

    Args:
        evaluation: of the images.
        images: uint8 (N, height, width, 1 or 3).
        folder: where the files go.
        what: names the images: `validation`.
        attempts: told what could not be written.
        figures: whether to draw the plots.
    """
    from experiments.evaluation.pictures import draw_confusion_matrix, draw_images, draw_reliability, short_names

    names = [each.name for each in evaluation.classes]
    short = short_names(names)

    def numbers(path: Path) -> None:
        path.write_text(json.dumps(asdict(evaluation), indent=2), encoding="utf-8")

    def table(path: Path) -> None:
        path.write_text(_table(evaluation), encoding="utf-8")

    def matrix(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = ([name, *row] for name, row in zip(names, evaluation.confusion_matrix, strict=True))
            write_csv([["true\\predicted", *names], *rows], file)

    def mistakes(path: Path) -> None:
        captions = [
            f"{_end(visible(mistake.name))}: {short[mistake.true_label]}\n"
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
    """The end of a long name, which tells files apart."""
    return name if len(name) <= CAPTION else f"...{name[-CAPTION:]}"


def mistakes_title(evaluation: Evaluation, what: str) -> str:
    """What a picture of the mistakes shows, or that there are none."""
    wrong, shown = evaluation.images - evaluation.correct, len(evaluation.mistakes)
    if not wrong:
        return f"No mistake on {evaluation.images:,} {what} images"
    which = "all" if shown == wrong else f"the {shown} most confident"
    return f"{wrong:,} mistakes on {evaluation.images:,} {what} images, {which}: truth, answer, confidence"


def _table(evaluation: Evaluation) -> str:
    """Precision and recall of each class as text."""
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
