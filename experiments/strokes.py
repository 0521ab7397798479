"""From strokes on a square pad to the image that a digit classifier reads. `ios/DigitKit` computes the same pixels.

MNIST's digits stand in a box of 20 pixels with their centre of mass at pixel index 14 of 0..27. A pad that is shrunk as
it is, or centred by its box, gives 7, 9 and 4 another place than the one they were learned in; so the strokes are kept
and drawn anew at MNIST's size and place.

The same pixels on every machine and in Swift: doubles; only + - * / and the square root, all of which IEEE 754 rounds
in one way; in the order written here. Any change of a pixel is a new `classifier.PREPROCESSING_VERSION`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

SIDE = 28  # pixels; pixel (row, column) has its centre at y = row, x = column
BOX = 20.0  # pixels: longer side of the ink, pen included
CENTER = 14.0  # pixel index of the centre of mass
PEN = 2.2  # pixels: width of a line; its edge fades over one more pixel
SPACING = 0.5  # pixels: points nearer than this to the last one kept say nothing a pixel can show
SMALLEST = 0.05  # of the pad: a smaller drawing is not blown up to the box, so a dot stays a dot

REACH = PEN / 2 + 0.5  # pixels: no ink from this distance on

_CHUNK = 32  # segments painted at a time, on the pixels near them: neighbours on a line are neighbours in the image

Point = Sequence[float]  # x to the right, y down
Segments = npt.NDArray[np.float64]  # (S, 4): x and y of both ends in pixels; a dot has both ends in one place


def render(strokes: Iterable[Sequence[Point]], *, pad: float) -> npt.NDArray[np.uint8]:
    """Draw strokes white on black, the longer side 20 pixels, the centre of mass at index 14.

    Points outside the pad are moved to its edge, where the page and the app draw them too; points that are not finite
    are left out. A mark of one point is a dot. Nothing drawn is a black image.

    Args:
        strokes: lines of points (x, y), from (0, 0) top left to (pad, pad).
        pad: side of the pad, in the unit of the points.

    Returns:
        A new array (28, 28); 255 is full ink.

    Raises:
        ValueError: if `pad` is not a finite number above 0.

    >>> seven = [[(60, 50), (200, 50), (110, 250)]]
    >>> image = render(seven, pad=300)
    >>> int(image.max()), image.shape
    (255, (28, 28))
    >>> bool((render([], pad=300) == 0).all())
    True
    """
    if not (math.isfinite(pad) and pad > 0):
        raise ValueError(f"The side of the pad must be a finite number above 0, not {pad!r}.")
    lines = _on_pad(strokes, pad)
    if not lines:
        return np.zeros((SIDE, SIDE), np.uint8)
    low, high = (
        np.min([line.min(axis=0) for line in lines], axis=0),
        np.max([line.max(axis=0) for line in lines], axis=0),
    )
    scale = (BOX - PEN) / max(float((high - low).max()), pad * SMALLEST)
    middle = (low + high) / 2
    segments = np.concatenate([_segments(_thinned((line - middle) * scale)) for line in lines])
    column, row = center_of_mass(paint(segments + CENTER))
    return paint(segments + (CENTER + (CENTER - np.array([column, row, column, row]))))


def paint(segments: Segments) -> npt.NDArray[np.uint8]:
    """Draw segments that are already in pixels: ink falls with the distance of a pixel's centre from the nearest.

    Full ink up to half a pen less half a pixel, none from half a pen and half a pixel on, rounded half up to 0..255.
    """
    index = np.arange(SIDE, dtype=np.float64)
    nearest = np.full((SIDE, SIDE), np.inf)  # squared distance
    for start in range(0, len(segments), _CHUNK):
        chunk = segments[start : start + _CHUNK]
        near_x, near_y = _near(chunk[:, 0::2]), _near(chunk[:, 1::2])
        from_x, from_y, to_x, to_y = chunk.T[:, :, None, None]
        along_x, along_y = to_x - from_x, to_y - from_y
        length = along_x * along_x + along_y * along_y  # squared
        away_x, away_y = index[near_x] - from_x, index[near_y, None] - from_y
        share = (away_x * along_x + away_y * along_y) / np.where(length > 0, length, 1.0)
        np.clip(share, 0.0, 1.0, out=share)  # where on the segment the nearest point lies
        off_x, off_y = away_x - share * along_x, away_y - share * along_y
        window = nearest[near_y, near_x]
        np.minimum(window, (off_x * off_x + off_y * off_y).min(axis=0), out=window)
    ink = np.clip(REACH - np.sqrt(nearest), 0.0, 1.0)
    return np.floor(ink * 255.0 + 0.5).astype(np.uint8)


def _near(ends: npt.NDArray[np.float64]) -> slice:
    """The rows or columns that segments with these ends can reach."""
    low, high = math.ceil(ends.min() - REACH), math.floor(ends.max() + REACH)
    return slice(min(max(low, 0), SIDE), max(min(high, SIDE - 1) + 1, 0))


def center_of_mass(image: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Mean column and row of an image's ink, which must hold some; exact sums, one division each."""
    ink = image.astype(np.int64)
    total = int(ink.sum())
    index = np.arange(SIDE)
    return int((ink.sum(axis=0) * index).sum()) / total, int((ink.sum(axis=1) * index).sum()) / total


def _on_pad(strokes: Iterable[Sequence[Point]], pad: float) -> list[npt.NDArray[np.float64]]:
    """Strokes as arrays (n, 2) without their points that are not finite; those outside moved to the edge."""
    lines = [np.asarray(stroke, dtype=np.float64).reshape(-1, 2) for stroke in strokes]
    lines = [np.clip(line[np.isfinite(line).all(axis=1)], 0.0, pad) for line in lines]
    return [line for line in lines if len(line)]


def _thinned(line: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Leave out points nearer than SPACING to the last one kept; the first and the last stay."""
    kept = [0]
    x, y = line[:, 0].tolist(), line[:, 1].tolist()
    for index in range(1, len(x)):
        away_x, away_y = x[index] - x[kept[-1]], y[index] - y[kept[-1]]
        if index == len(x) - 1 or away_x * away_x + away_y * away_y >= SPACING * SPACING:
            kept.append(index)
    return line[kept]


def _segments(line: npt.NDArray[np.float64]) -> Segments:
    """A line's points in pairs; a single point with itself."""
    return np.hstack([line[:-1], line[1:]]) if len(line) > 1 else np.hstack([line, line])
