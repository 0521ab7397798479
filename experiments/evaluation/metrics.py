"""Evaluate a model's probabilities on a split: accuracy, confusion, precision and recall, calibration, mistakes.

For a kept model on the validation images, they are written to its run; for a promoted file on the test images, to its
evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.evaluation.intervals import accuracy_interval
from experiments.evaluation.labels import told_apart

EVALUATED = "expected_calibration_error"  # metric that every evaluated run has
CALIBRATION_BINS = 15  # of equal width, as in Guo et al. 2017
MISTAKES_SHOWN = 20  # the most confident ones


@dataclass(frozen=True)
class ClassReport:
    """The figures of one class; 0 if the denominator is 0."""

    name: str  # with its index if two classes share a name
    precision: float  # share of predictions of this class that are correct
    recall: float  # share of its images that are predicted correctly
    f1: float  # harmonic mean of the two
    images: int


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose confidence is in (low, high]."""

    low: float
    high: float
    images: int
    confidence: float  # their mean
    accuracy: float


@dataclass(frozen=True)
class Mistake:
    """An image with a wrong prediction."""

    index: int  # in the split
    true_label: int
    answer: int  # label index
    confidence: float
    file: str = ""  # relative to the data set's folder; empty if the images have no files

    @property
    def name(self) -> str:
        """A name that identifies the image."""
        return self.file or f"#{self.index}"


@dataclass(frozen=True)
class Evaluation:
    """Probabilities compared with labels. Confidence is the answer's probability, normalized to a sum of 1."""

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
    mistakes: tuple[Mistake, ...]  # the most confident first, at most MISTAKES_SHOWN

    def metrics(self) -> dict[str, float]:
        """Return the main figures on a run's validation images, by their names in MLflow."""
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
    """Evaluate probabilities (N, classes) of a softmax or sigmoid head with label indices (N,).

    Mistakes are named after the images' files, if they have any.

    Calibration as in C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017,
    section 2: bins of equal width, each closed above, of the confidence in the answer.

    >>> import numpy as np
    >>> found = evaluate(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), np.array([0, 1, 1]), ("cat", "dog"))
    >>> found.correct, found.confusion_matrix, round(found.expected_calibration_error, 4)
    (2, ((1, 0), (1, 1)), 0.3)
    >>> found.mistakes
    (Mistake(index=1, true_label=1, answer=0, confidence=0.6, file=''),)
    """
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    indices = list(range(len(class_names)))
    answers = probabilities.argmax(axis=1)
    right = answers == labels
    with np.errstate(all="ignore"):  # a faulty file may give any values
        confidence = probabilities.max(axis=1).astype(np.float64) / probabilities.sum(axis=1, dtype=np.float64)
    confidence = np.clip(np.nan_to_num(confidence, nan=0.0, posinf=0.0, neginf=0.0), 0, 1)

    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=CALIBRATION_BINS)
    accuracies, confidences = calibration_curve(right, confidence, n_bins=CALIBRATION_BINS)  # of bins with images
    filled = np.flatnonzero(counts)
    error = float(np.abs(accuracies - confidences) @ counts[filled]) / len(labels)

    precision, recall, f1, _ = precision_recall_fscore_support(labels, answers, labels=indices, zero_division=0)
    images = np.bincount(labels, minlength=len(indices))  # scikit-learn's are floats if no answer is right
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


def mistakes_title(evaluation: Evaluation, what: str) -> str:
    """Return the title of a picture of the mistakes, or that there are none."""
    wrong, shown = evaluation.images - evaluation.correct, len(evaluation.mistakes)
    if not wrong:
        return f"No mistake on {evaluation.images:,} {what} images"
    which = "all" if shown == wrong else f"the {shown} most confident"
    return f"{wrong:,} mistakes on {evaluation.images:,} {what} images, {which}: truth, answer, confidence"
