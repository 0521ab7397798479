"""Pictures of an evaluation: confusion matrix, reliability curve, and images with a caption each.

They are drawn without pyplot, which would keep figures and pick a display. Class names may contain anything: `$` does
not start a formula, and characters that the font lacks are drawn with another one (fonts.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from experiments.datasets.viewed import viewed
from experiments.evaluation.fonts import families
from experiments.evaluation.labels import told_apart
from experiments.evaluation.metrics import Evaluation
from experiments.views.charts import GREY, PALETTE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERED = 25  # most classes for which a confusion matrix shows its numbers: each takes a millisecond
MOST_NAMED = 60  # most classes for which it shows their names
LARGEST_MATRIX = 14.0  # inches
COLUMNS = 5  # images in a row
CELL = 1.3  # inches: longer side of an image
CAPTION = 0.4  # inches of two lines of text
GAP = 0.25  # inches between images
TITLE = 0.45  # inches above all
DPI = 110
LONGEST_NAME = 16  # characters of a class in a caption


def draw_confusion_matrix(evaluation: Evaluation, path: Path, *, what: str) -> None:
    """Draw true against predicted classes as a PNG; `what` names the images, `validation` for instance."""
    from sklearn.metrics import ConfusionMatrixDisplay

    names = short_names([each.name for each in evaluation.classes])
    side = min(2.5 + 0.4 * len(names), LARGEST_MATRIX)
    with _picture(path, (side, side), texts=names, layout="constrained") as figure:
        axes = figure.add_subplot()
        display = ConfusionMatrixDisplay(np.array(evaluation.confusion_matrix), display_labels=names)
        display.plot(
            ax=axes,
            cmap="Blues",
            colorbar=False,
            include_values=len(names) <= MOST_NUMBERED,
            values_format="d",
            xticks_rotation="vertical" if max(map(len, names)) > 3 else 0,
        )
        for text in () if display.text_ is None else display.text_.ravel():
            text.set_in_layout(False)  # it is inside: measuring each text takes as long as drawing all
            text.set_visible(text.get_text() != "0")
        if len(names) > MOST_NAMED:
            axes.set(xticks=[], yticks=[])
        axes.set_title(f"{evaluation.correct:,} of {evaluation.images:,} {what} images right", fontsize=10)


def draw_reliability(evaluation: Evaluation, path: Path, *, what: str) -> None:
    """Draw accuracy against confidence, bin by bin, above the share of images in each bin, as a PNG."""
    bins = evaluation.calibration
    with _picture(path, (5, 5.5), layout="constrained") as figure:
        curve, shares = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        curve.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1, label="perfectly calibrated")
        middles = [(each.low + each.high) / 2 for each in bins]
        width = bins[0].high - bins[0].low
        curve.bar(middles, [each.accuracy for each in bins], width, color=PALETTE[0], alpha=0.25)
        curve.plot(
            [each.confidence for each in bins],
            [each.accuracy for each in bins],
            "o-",
            color=PALETTE[0],
            label="the model",
        )
        curve.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share of the bin's images that are right")
        curve.set_title(
            f"{evaluation.images:,} {what} images: expected calibration error "
            f"{evaluation.expected_calibration_error:.4f}",
            fontsize=10,
        )
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
        shares.bar(middles, [each.images / evaluation.images for each in bins], width, color=PALETTE[0], alpha=0.5)
        shares.set(ylim=(0, 1), xlabel="confidence: the answer's probability", ylabel="share of images")


def draw_images(images: Sequence[np.ndarray], captions: Sequence[str], path: Path, *, title: str) -> None:
    """Draw uint8 images (height, width, channels) of equal size, each below its caption of two lines, as a PNG.

    Without images, only the title is drawn, which says so.
    """
    height, width = images[0].shape[:2] if len(images) else (1, 1)
    wide, high = CELL * width / max(width, height), CELL * height / max(width, height)
    step_x, step_y = max(wide, CELL) + GAP, high + CAPTION + GAP / 2
    columns, rows = min(COLUMNS, max(3, len(images))), -(-len(images) // COLUMNS)
    across, down = columns * step_x + GAP, rows * step_y + TITLE
    with _picture(path, (across, down), texts=[title, *captions]) as figure:
        figure.text(0.5, 1 - TITLE / 2 / down, title, ha="center", va="center", fontsize=9)
        for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
            row, column = divmod(place, COLUMNS)
            left, top = GAP + column * step_x + (step_x - GAP - wide) / 2, TITLE + row * step_y + CAPTION
            # Pixels and plain text at fixed places, because twenty axes would take five times as long.
            scaled = _scaled(image, round(wide * DPI), round(high * DPI))
            figure.figimage(scaled, round(left * DPI), round((down - top - high) * DPI), origin="upper")
            middle, foot = (left + wide / 2) / across, 1 - (top - 0.03) / down
            figure.text(middle, foot, caption, ha="center", va="bottom", fontsize=8)


def _scaled(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize a uint8 image, in RGB; enlarged images show their pixels."""
    picture = viewed(image).convert("RGB")
    enlarged = width >= picture.width
    return np.asarray(
        picture.resize((max(1, width), max(1, height)), Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX)
    )


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of all classes in order, shortened to fit into a caption; all are different."""
    return told_apart([name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names])


@contextmanager
def _picture(
    path: Path, inches: tuple[float, float], *, texts: Sequence[str] = (), layout: str = "none"
) -> Iterator[Figure]:
    """Yield a figure and write it to a path, with equal bytes for equal content; `texts` may be in any script."""
    import matplotlib
    from matplotlib.figure import Figure

    chosen = families(texts)
    with warnings.catch_warnings(), matplotlib.rc_context({"text.parse_math": False, "font.family": chosen}):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=inches, dpi=DPI, layout=layout)  # type: ignore[arg-type]
        yield figure
        figure.savefig(path, metadata={"Software": None})
