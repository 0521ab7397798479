"""Accuracy on digits as the app sees them: traced to strokes, drawn anywhere on a pad, rendered by the app's rules.

A digit of the data set is converted to pen strokes that would leave its ink: its centre lines, and where its ink is
wider than the pen, lines that fill it. These are drawn on a pad at a random size and place, and rendered as in the app.
A model whose `drawn_accuracy` is below its `val_accuracy` will disappoint on a phone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from experiments.classifier import predict
from experiments.datasets import Dataset
from experiments.evaluation.strokes import DRAWING_SIDE, PEN, paint, render_strokes

PAD = 300.0  # points: side of a pad on a phone
SMALLEST_INK, LARGEST_INK = 0.2, 0.9  # of the pad: longer side of a digit's strokes
MOST_DRAWN = 5_000  # validation digits that are drawn: the size of MNIST's validation split
SEED = 20180601  # of sizes and places: the same for every model
FINENESS = 2  # subdivisions of a pixel for tracing: more change accuracy by less than 1 image in 100
INK = 128  # a pixel of at least this value is ink

Lines = npt.NDArray[np.float64]  # (L, 2, 2): strokes of two points (x, y)
Masks = npt.NDArray[np.bool_]  # (N, height, width)

_drawn: dict[str, npt.NDArray[np.uint8]] = {}  # by the data set's digest: the same images for every model of a sweep


def drawn_accuracy(forward: Callable[[np.ndarray], np.ndarray], dataset: Dataset) -> float | None:
    """Return the accuracy on at most MOST_DRAWN validation digits after drawing them on the pad.

    Args:
        forward: probabilities (N, classes) of uint8 images (N, 28, 28, 1).
        dataset: None is returned unless it has single digits in grayscale of 28 by 28 pixels.
    """
    digits = all(len(name) == 1 and name.isdecimal() for name in dataset.class_names)
    if not digits or dataset.input_shape != (DRAWING_SIDE, DRAWING_SIDE, 1):
        return None
    chosen = np.linspace(0, len(dataset.val) - 1, min(len(dataset.val), MOST_DRAWN)).astype(int)
    if dataset.digest not in _drawn:
        drawings = on_pad(trace_strokes(dataset.val.images[chosen, ..., 0]))
        _drawn[dataset.digest] = np.stack([mass_centred(lines) for lines in drawings])[..., None]
    return float((predict(forward, _drawn[dataset.digest]).argmax(axis=1) == dataset.val.labels[chosen]).mean())


def whole_pad(lines: Lines) -> npt.NDArray[np.uint8]:
    """Shrink the whole pad to (28, 28), as a naive app does: the ink has any size and place."""
    return paint((lines / PAD * DRAWING_SIDE - 0.5).reshape(-1, 4))


def box_centred(lines: Lines) -> npt.NDArray[np.uint8]:
    """Render at MNIST's size, but with the bounding box of the ink centred in the image (28, 28), to a pixel."""
    image = render_strokes(lines, pad=PAD)
    if not image.any():
        return image
    middle = [(indices.min() + indices.max()) / 2 for indices in np.nonzero(image)]
    return np.roll(image, [round((DRAWING_SIDE - 1) / 2 - index) for index in middle], axis=(0, 1))


def mass_centred(lines: Lines) -> npt.NDArray[np.uint8]:
    """Render as our app does: at MNIST's size, with the ink's centre of mass where MNIST has it (28, 28)."""
    return render_strokes(lines, pad=PAD)


def on_pad(drawings: list[Lines]) -> list[Lines]:
    """Place drawings at random sizes and places on a pad of 300 points, always the same. All ink stays on the pad."""
    random = np.random.default_rng(SEED)
    placed = []
    for lines in drawings:
        low = lines.min(axis=(0, 1), initial=DRAWING_SIDE)
        extent = lines.max(axis=(0, 1), initial=0) - low
        size = random.uniform(SMALLEST_INK, LARGEST_INK) * PAD / max(float(extent.max()), 1.0)
        corner = random.uniform(0, 1, 2) * (PAD - extent * size)
        placed.append((lines - low) * size + corner)
    return placed


def trace_strokes(images: npt.NDArray[np.uint8]) -> list[Lines]:
    """Return strokes, in pixels, of a pen that leaves the ink of images (N, height, width)."""
    from scipy.ndimage import binary_erosion, zoom

    fine = zoom(images.astype(np.float32), (1, FINENESS, FINENESS), order=1, grid_mode=True, mode="nearest") >= INK
    reach = int(PEN / 2 * FINENESS)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    broad = binary_erosion(fine, (x * x + y * y <= (PEN / 2 * FINENESS) ** 2)[None])  # the pen's tip fits around it
    lines = _lines(_thinned(fine) | broad, broad)
    lines = lines[np.argsort(lines[:, 0], kind="stable")]
    ends = np.searchsorted(lines[:, 0], np.arange(1, len(images)))
    return [part.reshape(-1, 2, 2) / FINENESS for part in np.split(lines[:, 1:].astype(np.float64), ends)]


def _lines(ink: Masks, broad: Masks) -> npt.NDArray[np.int64]:
    """Return rows (image, x, y, x, y): runs of ink in a row, and links to the row below that are not redundant."""
    ink = np.pad(ink, ((0, 0), (0, 1), (1, 1)))
    steps = np.diff(ink.astype(np.int8), axis=2)
    image, row, first = np.nonzero(steps == 1)
    last = np.nonzero(steps == -1)[2] - 1
    found = [np.stack([image, first, row, last, row], axis=1)]
    here, below = ink[:, :-1, 1:-1], ink[:, 1:]
    straight = here & below[:, :, 1:-1] & ~broad  # runs of wide ink touch anyway
    right = here & below[:, :, 2:] & ~below[:, :, 1:-1] & ~ink[:, :-1, 2:]
    left = here & below[:, :, :-2] & ~below[:, :, 1:-1] & ~ink[:, :-1, :-2]
    for links, aside in ((straight, 0), (right, 1), (left, -1)):
        image, row, column = np.nonzero(links)
        found.append(np.stack([image, column, row, column + aside, row + 1], axis=1))
    return np.concatenate(found)


@cache
def _removable() -> npt.NDArray[np.bool_]:
    """Return which pixels the two halves of a thinning step remove, (2, 256) by the bits of the eight neighbours.

    T. Y. Zhang and C. Y. Suen, "A fast parallel algorithm for thinning digital patterns", CACM 27 (1984).
    """
    bits = np.arange(256)[:, None] >> np.arange(8) & 1  # north, then clockwise
    north, east, south, west = bits[:, ::2].T
    starts = ((bits == 0) & (np.roll(bits, -1, axis=1) == 1)).sum(axis=1)
    edge = (bits.sum(axis=1) >= 2) & (bits.sum(axis=1) <= 6) & (starts == 1)
    return np.stack(
        [
            edge & (north * east * south == 0) & (east * south * west == 0),
            edge & (north * east * west == 0) & (north * south * west == 0),
        ]
    )


def _thinned(ink: Masks) -> Masks:
    """Return the centre lines of ink, one pixel wide."""
    ink = np.pad(ink, ((0, 0), (1, 1), (1, 1)))
    width = ink.shape[2]
    neighbours = (-width, -width + 1, 1, width + 1, width, width - 1, -1, -width - 1)
    flat = ink.reshape(-1)
    candidates = np.flatnonzero(flat)
    changed = True
    while changed:
        changed = False
        for removable in _removable():
            code = np.zeros(len(candidates), np.uint8)
            for bit, offset in enumerate(neighbours):
                code |= flat[candidates + offset].astype(np.uint8) << bit
            taken = removable[code]
            flat[candidates[taken]] = False
            candidates = candidates[~taken]
            changed = changed or bool(taken.any())
    return ink[:, 1:-1, 1:-1]
