"""Render strokes on a square pad as the image for a digit classifier. `ios/DigitKit` computes the same pixels.

MNIST's digits fit into a box of 20 pixels, with their centre of mass at pixel index 14 of 0..27. If the pad were just
shrunk, or centred by its bounding box, 7, 9 and 4 would be at another place than in training, so the strokes are kept
and drawn again at MNIST's size and place.

Pixels are equal on every machine and in Swift: all numbers are doubles, and only + - * / and the square root are used,
whose rounding IEEE 754 defines, in the order written here. Any change of a pixel requires a new
`classifier.PREPROCESSING_VERSION`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

DRAWING_SIDE = 28  # pixels; pixel (row, column) has its centre at y = row, x = column
BOX = 20.0  # pixels: longer side of the ink, pen included
CENTER = 14.0  # pixel index of the centre of mass
PEN = 2.2  # pixels: width of a line; its edge fades over one more pixel
SPACING = 0.5  # pixels: points nearer than this to the last one kept do not change any pixel
PADS = (1e-300, 1e300)  # any unit: smallest and largest side of a pad whose scale and middle fit into a double
SMALLEST = 0.05  # of the pad: a smaller drawing is not enlarged to the box, so a dot stays a dot

REACH = PEN / 2 + 0.5  # pixels: no ink from this distance on

FULL = (PEN / 2 - 0.5) ** 2  # squared pixels: up to this distance, a pixel has full ink

_FIRST = 32  # segments in the first round; later rounds double, as full pixels of a scribble are not measured again
_MOST = 512  # segments per round: arrays above 128 KB, which malloc maps each time, cost more than another round

Point = Sequence[float]  # x to the right, y down
Segments = npt.NDArray[np.float64]  # (S, 4): x and y of both ends in pixels; a dot has both ends in one place


def render_strokes(strokes: Iterable[Sequence[Point]], *, pad: float) -> npt.NDArray[np.uint8]:
    """Draw strokes white on black, the longer side 20 pixels, the centre of mass at index 14.

    Points outside the pad are moved to its edge, where the page and the app draw them too; points that are not finite
    are left out. A stroke of one point is a dot. Without strokes, the image is black.

    Args:
        strokes: lines of points (x, y), from (0, 0) top left to (pad, pad).
        pad: side of the pad, in the unit of the points.

    Returns:
        A new array (28, 28); 255 is full ink.

    Raises:
        ValueError: if `pad` is not a number from 1e-300 to 1e+300.

    >>> seven = [[(60, 50), (200, 50), (110, 250)]]
    >>> image = render_strokes(seven, pad=300)
    >>> int(image.max()), image.shape
    (255, (28, 28))
    >>> bool((render_strokes([], pad=300) == 0).all())
    True
    """
    if not PADS[0] <= pad <= PADS[1]:  # true for NaN too
        raise ValueError(f"The side of the pad must be a number from {PADS[0]:g} to {PADS[1]:g}, not {pad!r}.")
    points, line = _on_pad(strokes, pad)
    if not len(points):
        return np.zeros((DRAWING_SIDE, DRAWING_SIDE), np.uint8)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (BOX - PEN) / max(float((high - low).max()), pad * SMALLEST)
    middle = (low + high) / 2
    segments = _segments((points - middle) * scale, line)
    column, row = center_of_mass(paint(segments + CENTER))
    return paint(segments + (CENTER + (CENTER - np.array([column, row, column, row]))))


def paint(segments: Segments) -> npt.NDArray[np.uint8]:
    """Draw segments given in pixels: ink decreases with the distance of a pixel's centre from the nearest segment.

    Ink is full up to half a pen minus half a pixel, and zero from half a pen plus half a pixel on, rounded half up to
    0..255. Only pixels near a segment that are not full yet are measured: others cannot change.
    """
    index = np.arange(DRAWING_SIDE, dtype=np.float64)[:, None]
    nearest = np.full(DRAWING_SIDE * DRAWING_SIDE, np.inf)  # squared distance
    start = 0
    while start < len(segments):
        stop = min(max(_FIRST, 2 * start), start + _MOST)
        from_x, from_y, to_x, to_y = ends = np.ascontiguousarray(segments[start:stop].T)
        start = stop
        low, high = np.minimum(ends[:2], ends[2:]) - REACH, np.maximum(ends[:2], ends[2:]) + REACH
        near_x, near_y = ((low[axis] <= index) & (index <= high[axis]) for axis in (0, 1))  # (SIDE, segments)
        near = (near_y.any(axis=1)[:, None] & near_x.any(axis=1)).ravel()
        measured = np.flatnonzero(near & (nearest > FULL))
        y, x = np.divmod(measured, DRAWING_SIDE)
        pairs = np.flatnonzero(near_y[y] & near_x[x])  # np.nonzero takes five times as long
        pixel, segment = np.divmod(pairs, len(from_x))
        along_x, along_y = (to_x - from_x)[segment], (to_y - from_y)[segment]
        length = along_x * along_x + along_y * along_y  # squared
        away_x, away_y = x[pixel] - from_x[segment], y[pixel] - from_y[segment]
        share = (away_x * along_x + away_y * along_y) / np.where(length > 0, length, 1.0)
        np.clip(share, 0.0, 1.0, out=share)  # position of the nearest point on the segment
        off_x, off_y = away_x - share * along_x, away_y - share * along_y
        np.minimum.at(nearest, measured[pixel], off_x * off_x + off_y * off_y)
    ink = np.clip(REACH - np.sqrt(nearest), 0.0, 1.0)
    return np.floor(ink * 255.0 + 0.5).astype(np.uint8).reshape(DRAWING_SIDE, DRAWING_SIDE)


def center_of_mass(image: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean column and row of an image's ink, which must not be empty; exact sums, one division each."""
    ink = image.astype(np.int64)
    total = int(ink.sum())
    index = np.arange(DRAWING_SIDE)
    return int((ink.sum(axis=0) * index).sum()) / total, int((ink.sum(axis=1) * index).sum()) / total


def _on_pad(strokes: Iterable[Sequence[Point]], pad: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return all finite points (n, 2), with those outside moved to the edge, and the number of each one's stroke."""
    lines = list(strokes)
    points = np.concatenate([np.empty((0, 2)), *filter(len, lines)], dtype=np.float64)
    line = np.repeat(np.arange(len(lines)), [len(one) for one in lines])
    finite = np.isfinite(points).all(axis=1)
    return np.clip(points[finite], 0.0, pad), line[finite]


def _segments(points: npt.NDArray[np.float64], line: npt.NDArray[np.int64]) -> Segments:
    """Return pairs of consecutive points, without points nearer than SPACING to the last one kept.

    The first and the last point of a line stay; a single point is paired with itself.
    """
    first, last = np.diff(line, prepend=-1) != 0, np.diff(line, append=-1) != 0
    chosen: list[int] = []
    x = y = 0.0  # of the last one kept
    for index, (here_x, here_y, end) in enumerate(zip(*points.T.tolist(), (first | last).tolist(), strict=True)):
        away_x, away_y = here_x - x, here_y - y
        if end or away_x * away_x + away_y * away_y >= SPACING * SPACING:
            chosen.append(index)
            x, y = here_x, here_y
    kept = np.array(chosen)
    pairs = np.hstack([points[kept[:-1]], points[kept[1:]]])[~first[kept[1:]]]
    dots = points[first & last]
    return np.concatenate([pairs, np.hstack([dots, dots])])
