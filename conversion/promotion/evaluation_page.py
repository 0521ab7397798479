"""The parts of a promotion's page that show how the executed file did on the test images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from conversion.promotion.page_tables import strong, table
from conversion.verification.threshold import REFUSED_SHARE, THRESHOLD_DIGITS, Refusals
from experiments.datasets.viewed import viewed
from experiments.evaluation.labels import told_apart
from experiments.evaluation.metrics import CalibrationBin, Evaluation, mistakes_title
from experiments.tracking import Look
from experiments.views.tables import html_text

NOT_EXECUTED = "<p>Not executed on these images.</p>"
SIDE = 300  # of the reliability curve, in the units of its SVG
PICTURE = 96  # pixels of a mistake's longer side on the page


def looked(look: Look | None) -> str:
    """How often the test images had been looked at."""
    if look is None:
        return '<p class="soft">The test images were not looked at.</p>'
    rows = [(str(one.number), html_text(one.command), one.at, html_text(one.run_id)) for one in reversed(look.earlier)]
    history = table(("look", "command", "at (UTC)", "run"), rows) if rows else ""
    return (
        f"<p>This was {html_text(look.text)}. The more often a choice was made on these images, the less "
        f"they say of unseen ones.</p>"
        + (f"<details><summary>Looks before</summary>{history}</details>" if history else "")
    )


def unknown(threshold: float | None, refusals: Sequence[Refusals]) -> str:
    """The threshold below which the file does not answer, and what it refuses."""
    if threshold is None or not refusals:
        return "<p>Every guess is an answer: too few validation images were read right to tell.</p>"
    rows = [
        (
            html_text(each.split),
            f"{each.images:,}",
            f"{each.right_refused:,} of {each.right:,}",
            f"{each.wrong_refused:,} of {each.images - each.right:,}",
            f"{each.answered_right / each.answered:.4f}" if each.answered else "",
        )
        for each in refusals
    ]
    head = ("split", "images", "right ones refused", "wrong ones refused", "accuracy of the answers")
    return (
        f"<p>Below a confidence of <b>{threshold:.{THRESHOLD_DIGITS}f}</b> the answer is "
        "&ldquo;I do not know&rdquo;.</p>"
        + table(head, rows, figures=range(1, 5))
        + f'<p class="soft">Measured on the validation images: of images like them that are read right it refuses at '
        f"most {REFUSED_SHARE:.0%}, by split conformal prediction. Of other images it promises nothing.</p>"
    )


def classes(evaluation: Evaluation | None) -> str:
    """Precision and recall of each class."""
    if evaluation is None:
        return NOT_EXECUTED
    rows = [
        (strong(each.name), f"{each.precision:.4f}", f"{each.recall:.4f}", f"{each.f1:.4f}", f"{each.images:,}")
        for each in evaluation.classes
    ]
    mean = ("mean", f"{evaluation.macro_precision:.4f}", f"{evaluation.macro_recall:.4f}", "", f"{evaluation.images:,}")
    return table(("class", "precision", "recall", "F1", "images"), [*rows, mean], figures=range(1, 5))


def calibration(evaluation: Evaluation | None) -> str:
    """The expected calibration error, its bins, and the reliability curve."""
    if evaluation is None:
        return NOT_EXECUTED
    rows = [
        (
            f"{each.low:.2f} to {each.high:.2f}",
            f"{each.images:,}",
            f"{each.confidence:.4f}",
            f"{each.accuracy:.4f}",
        )
        for each in evaluation.calibration
    ]
    bins = table(("confidence", "images", "its mean", "accuracy"), rows, figures=range(1, 4))
    return (
        f"<p>Expected calibration error {evaluation.expected_calibration_error:.4f}: the mean distance between a bin's "
        f'confidence and its accuracy, by its share of images. <span class="soft">15 bins of equal width, each closed '
        f"above; Guo et al., On Calibration of Modern Neural Networks, ICML 2017.</span></p>"
        f'<div class="sides">{_curve(evaluation.calibration)}{bins}</div>'
    )


def mistakes(evaluation: Evaluation | None, images: npt.NDArray[np.uint8], class_names: Sequence[str]) -> str:
    """The most confident mistakes, each image with the truth, the answer and its confidence."""
    if evaluation is None:
        return NOT_EXECUTED
    names = told_apart(class_names)
    figures = [
        f'<figure><img alt="{html_text(each.name)}" {_png(images[each.index])}><figcaption>{html_text(each.name)}: '
        f"{html_text(names[each.true_label])}<br>answer {html_text(names[each.answer])}, "
        f"{each.confidence:.3f}</figcaption></figure>"
        for each in evaluation.mistakes
    ]
    return f'<p>{mistakes_title(evaluation, "test")}.</p><div class="mistakes">{"".join(figures)}</div>'


def _curve(bins: Sequence[CalibrationBin]) -> str:
    """Accuracy against confidence as an SVG: bars for the bins, a line through their means, the diagonal dashed."""

    def x(value: float) -> float:
        return round(value * SIDE, 1)

    def y(value: float) -> float:
        return round((1 - value) * SIDE, 1)

    bars = "".join(
        f'<rect x="{x(each.low)}" y="{y(each.accuracy)}" width="{x(each.high - each.low)}" '
        f'height="{x(each.accuracy)}"/>'
        for each in bins
    )
    dots = "".join(f'<circle cx="{x(each.confidence)}" cy="{y(each.accuracy)}" r="4"/>' for each in bins)
    line = " ".join(f"{x(each.confidence)},{y(each.accuracy)}" for each in bins)
    marks = "".join(
        f'<text x="{x(value)}" y="{SIDE + 16}" text-anchor="middle">{value:g}</text>'
        f'<text x="-6" y="{y(value) + 4}" text-anchor="end">{value:g}</text>'
        for value in (0, 0.5, 1)
    )
    return (
        f'<svg class="curve" viewBox="-52 -10 {SIDE + 66} {SIDE + 52}" role="img" aria-label="Reliability curve">'
        f'<g class="bars">{bars}</g><rect class="frame" width="{SIDE}" height="{SIDE}"/>'
        f'<path class="ideal" d="M0 {SIDE}L{SIDE} 0"/><polyline points="{line}"/>{dots}{marks}'
        f'<text x="{SIDE / 2}" y="{SIDE + 34}" text-anchor="middle">confidence</text>'
        f'<text transform="translate(-38 {SIDE / 2}) rotate(-90)" text-anchor="middle">share that is right</text></svg>'
    )


def _png(image: npt.NDArray[np.uint8]) -> str:
    """An image's `src` and size on the page."""
    stream = io.BytesIO()
    viewed(image).save(stream, format="png")
    height, width = image.shape[:2]
    wide, high = (max(1, round(PICTURE * side / max(width, height))) for side in (width, height))
    data = base64.b64encode(stream.getvalue()).decode()
    return f'width="{wide}" height="{high}" src="data:image/png;base64,{data}"'
