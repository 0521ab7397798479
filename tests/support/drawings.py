"""The golden drawings: digits as people write them, and marks that are none.  Run: python -m tests.support.drawings

Writes the drawings with the pixels that `experiments.evaluation.strokes` gives them today; tests on both sides hold the
committed file. Run it only together with a new `PREPROCESSING_VERSION`.
"""

from __future__ import annotations

import base64
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "ios/DigitKit/Tests/DigitKitTests/golden-drawings.json"
PAD = 300.0

Line = list[tuple[float, float]]


@dataclass(frozen=True)
class Drawing:
    """One drawing; points in the pad's unit."""

    name: str
    digit: int | None  # what a person would read; None where there is nothing to read
    pad: float
    strokes: list[Line]


def polyline(*corners: tuple[float, float], step: float = 0.04) -> Line:
    """Corners joined by straight lines of many points, as a finger gives them."""
    points = [corners[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        count = max(1, round(math.hypot(x1 - x0, y1 - y0) / step))
        points += [(x0 + (x1 - x0) * k / count, y0 + (y1 - y0) * k / count) for k in range(1, count + 1)]
    return points


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, count: int = 24) -> Line:
    """Part of an ellipse around (x, y); angles in degrees, 0 to the right, 90 down."""
    angles = [math.radians(start + (end - start) * k / count) for k in range(count + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def curve(*p: tuple[float, float], count: int = 24) -> Line:
    """A Bezier curve with any number of control points."""

    def at(t: float) -> tuple[float, float]:
        level = list(p)
        while len(level) > 1:
            level = [(a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t) for a, b in itertools.pairwise(level)]
        return level[0]

    return [at(k / count) for k in range(count + 1)]


# In the unit square, x to the right and y down; each digit in several hands.
HANDS: dict[int, list[list[Line]]] = {
    0: [
        [arc(0.5, 0.5, 0.28, 0.42, -90, 270)],
        [arc(0.5, 0.5, 0.34, 0.4, -60, -425)],
        [arc(0.5, 0.5, 0.2, 0.42, -100, 265)],
        [
            curve((0.6, 0.1), (0.05, 0.05), (0.1, 1.0), (0.55, 0.92))
            + curve((0.55, 0.92), (1.0, 0.8), (0.9, 0.1), (0.55, 0.1))
        ],
        [arc(0.5, 0.5, 0.38, 0.36, -80, 290)],
    ],
    1: [
        [polyline((0.5, 0.08), (0.5, 0.92))],
        [polyline((0.6, 0.08), (0.42, 0.92))],
        [polyline((0.38, 0.25), (0.52, 0.08), (0.52, 0.92))],
        [polyline((0.7, 0.1), (0.32, 0.9))],
        [curve((0.52, 0.06), (0.55, 0.4), (0.48, 0.7), (0.5, 0.95))],
    ],
    2: [
        [
            arc(0.48, 0.3, 0.26, 0.22, 190, 380)
            + curve((0.72, 0.4), (0.62, 0.62), (0.2, 0.9))
            + polyline((0.2, 0.9), (0.82, 0.9))
        ],
        [
            curve((0.2, 0.3), (0.3, -0.05), (0.95, 0.05), (0.7, 0.45), (0.45, 0.7), (0.15, 0.92))
            + polyline((0.15, 0.92), (0.85, 0.88))
        ],
        [
            arc(0.5, 0.28, 0.24, 0.2, 200, 390)
            + curve((0.7, 0.38), (0.6, 0.65), (0.1, 0.95), (0.22, 0.7), (0.45, 0.72), (0.6, 0.95), (0.85, 0.85))
        ],
        [curve((0.22, 0.25), (0.4, 0.0), (0.9, 0.1), (0.66, 0.5), (0.2, 0.92)) + polyline((0.2, 0.92), (0.78, 0.92))],
        [arc(0.46, 0.32, 0.3, 0.24, 180, 370) + polyline((0.76, 0.36), (0.18, 0.88), (0.86, 0.88))],
    ],
    3: [
        [arc(0.46, 0.29, 0.24, 0.2, 200, 440) + arc(0.46, 0.7, 0.28, 0.22, -80, 160)],
        [
            curve((0.2, 0.15), (0.8, -0.05), (0.9, 0.45), (0.4, 0.46))
            + curve((0.4, 0.46), (1.0, 0.45), (0.9, 1.05), (0.18, 0.88))
        ],
        [arc(0.45, 0.28, 0.26, 0.18, 210, 450) + arc(0.45, 0.68, 0.3, 0.23, -90, 150)],
        [
            curve((0.25, 0.12), (0.95, 0.0), (0.8, 0.5), (0.42, 0.48))
            + curve((0.42, 0.48), (0.95, 0.5), (0.85, 1.0), (0.22, 0.9))
        ],
        [arc(0.5, 0.3, 0.22, 0.22, 190, 430) + arc(0.5, 0.7, 0.24, 0.22, -70, 170)],
    ],
    4: [
        [polyline((0.3, 0.1), (0.22, 0.55), (0.8, 0.55)), polyline((0.66, 0.1), (0.66, 0.92))],
        [polyline((0.25, 0.12), (0.25, 0.5), (0.75, 0.5)), polyline((0.75, 0.08), (0.72, 0.94))],
        [curve((0.3, 0.1), (0.15, 0.4), (0.2, 0.6), (0.72, 0.5)), polyline((0.74, 0.12), (0.64, 0.92))],
        [polyline((0.34, 0.08), (0.18, 0.52), (0.78, 0.5)), polyline((0.6, 0.3), (0.58, 0.95))],
        [
            curve((0.28, 0.12), (0.2, 0.5), (0.3, 0.58), (0.74, 0.46)),
            curve((0.78, 0.1), (0.74, 0.4), (0.66, 0.7), (0.68, 0.95)),
        ],
    ],
    5: [
        [polyline((0.75, 0.12), (0.32, 0.12), (0.28, 0.45)) + arc(0.46, 0.66, 0.28, 0.25, -130, 150)],
        [
            polyline((0.3, 0.12), (0.26, 0.46)) + arc(0.45, 0.67, 0.27, 0.24, -125, 140),
            polyline((0.3, 0.12), (0.78, 0.1)),
        ],
        [polyline((0.8, 0.1), (0.36, 0.14), (0.3, 0.42)) + curve((0.3, 0.42), (0.9, 0.3), (0.9, 1.0), (0.2, 0.9))],
        [
            polyline((0.72, 0.1), (0.35, 0.1), (0.32, 0.44))
            + curve((0.32, 0.44), (0.75, 0.38), (0.95, 0.95), (0.2, 0.92))
        ],
        [
            polyline((0.34, 0.1), (0.3, 0.42)) + curve((0.3, 0.42), (0.8, 0.35), (0.85, 0.95), (0.22, 0.9)),
            polyline((0.32, 0.1), (0.74, 0.14)),
        ],
    ],
    6: [
        [curve((0.62, 0.08), (0.3, 0.25), (0.22, 0.6), (0.26, 0.74)) + arc(0.49, 0.7, 0.23, 0.2, 170, -190)],
        [curve((0.68, 0.1), (0.2, 0.3), (0.05, 1.0), (0.5, 0.92), (0.85, 0.85), (0.7, 0.45), (0.3, 0.68))],
        [curve((0.55, 0.06), (0.28, 0.3), (0.28, 0.7)) + arc(0.48, 0.72, 0.2, 0.2, 180, -180)],
        [curve((0.7, 0.12), (0.4, 0.1), (0.2, 0.5), (0.24, 0.72)) + arc(0.47, 0.72, 0.24, 0.2, 180, -170)],
        [curve((0.5, 0.06), (0.26, 0.4), (0.24, 0.68)) + arc(0.46, 0.7, 0.22, 0.22, 185, -185)],
    ],
    7: [
        [polyline((0.2, 0.12), (0.8, 0.12), (0.42, 0.92))],
        [polyline((0.22, 0.15), (0.76, 0.1)) + curve((0.76, 0.1), (0.6, 0.4), (0.45, 0.6), (0.44, 0.94))],
        [polyline((0.18, 0.14), (0.82, 0.14), (0.4, 0.9)), polyline((0.38, 0.5), (0.74, 0.5))],
        [polyline((0.2, 0.28), (0.22, 0.13), (0.78, 0.11), (0.46, 0.93))],
        [curve((0.22, 0.16), (0.5, 0.2), (0.78, 0.08)) + polyline((0.78, 0.08), (0.5, 0.92))],
    ],
    8: [
        [
            curve(
                (0.72, 0.18),
                (0.1, -0.1),
                (0.1, 0.45),
                (0.55, 0.5),
                (1.0, 0.6),
                (0.8, 1.0),
                (0.45, 0.93),
                (0.0, 0.9),
                (0.2, 0.55),
                (0.78, 0.2),
            )
        ],
        [arc(0.5, 0.3, 0.2, 0.2, 90, 450) + arc(0.5, 0.71, 0.24, 0.21, -90, 270)],
        [arc(0.5, 0.28, 0.18, 0.19, 90, -270) + arc(0.5, 0.7, 0.22, 0.23, -90, -450)],
        [
            curve((0.66, 0.16), (0.3, -0.05), (0.15, 0.35), (0.5, 0.48))
            + curve((0.5, 0.48), (0.95, 0.62), (0.75, 0.95), (0.48, 0.92))
            + curve((0.48, 0.92), (0.1, 0.9), (0.2, 0.6), (0.5, 0.48))
            + curve((0.5, 0.48), (0.8, 0.36), (0.82, 0.2), (0.66, 0.16))
        ],
        [arc(0.52, 0.3, 0.2, 0.18, -20, -380) + arc(0.48, 0.7, 0.24, 0.22, -70, -430)],
    ],
    9: [
        [arc(0.48, 0.32, 0.24, 0.22, -20, -380) + polyline((0.71, 0.25), (0.68, 0.92))],
        [arc(0.48, 0.3, 0.22, 0.2, -10, -370) + curve((0.7, 0.28), (0.72, 0.6), (0.5, 0.95))],
        [arc(0.5, 0.32, 0.22, 0.24, -30, -390) + curve((0.7, 0.22), (0.7, 0.6), (0.66, 0.95))],
        [arc(0.45, 0.33, 0.25, 0.2, -30, -360) + polyline((0.7, 0.33), (0.56, 0.94))],
        [
            curve((0.7, 0.18), (0.2, 0.0), (0.15, 0.55), (0.5, 0.5), (0.7, 0.42), (0.7, 0.18))
            + polyline((0.7, 0.18), (0.66, 0.93))
        ],
    ],
}

# (side of the pad, left, top, size) of each hand in turn, as shares of the pad: middle, small, corners, edge to edge
PLACES = (
    (PAD, 0.05, 0.05, 0.9),
    (PAD, 0.6, 0.1, 0.3),
    (PAD, 0.02, 0.62, 0.35),
    (412.5, 0.0, 0.0, 1.0),
    (1.0, 0.3, 0.4, 0.5),
)


def drawings() -> list[Drawing]:
    """All golden drawings."""
    found = []
    for digit, hands in HANDS.items():
        for number, (strokes, (pad, left, top, size)) in enumerate(zip(hands, PLACES, strict=True)):
            placed = [
                [(round((left + x * size) * pad, 3), round((top + y * size) * pad, 3)) for x, y in stroke]
                for stroke in strokes
            ]
            found.append(Drawing(f"{digit} in hand {number}", digit, pad, placed))
    seven = found[35].strokes
    found += [
        Drawing("nothing", None, PAD, []),
        Drawing("a stroke without points", None, PAD, [[]]),
        Drawing("a single point", None, PAD, [[(150, 150)]]),
        Drawing("a single point in the corner", None, PAD, [[(0, 0)]]),
        Drawing("the same point many times", None, PAD, [[(40, 80)] * 9]),
        Drawing("two dots", None, PAD, [[(100, 150)], [(200, 150)]]),
        Drawing("three dots nearly in one place", None, PAD, [[(100, 100)], [(100.5, 100)], [(100, 100.75)]]),
        Drawing("a tick smaller than the smallest", None, PAD, [[(20, 20), (22, 24), (29, 15)]]),
        Drawing("a line of the smallest length", None, PAD, [[(20, 20), (35, 20)]]),
        Drawing("a line just above the smallest", None, PAD, [[(20, 20), (35.25, 20)]]),
        Drawing("a flat line", None, PAD, [[(10, 150), (290, 150)]]),
        Drawing("an upright line of two points", 1, PAD, [[(150, 40), (150, 260)]]),
        Drawing("every point twice", 7, PAD, [[point for point in seven[0] for _ in range(2)]]),
        Drawing("there and back", 1, PAD, [polyline((150, 40), (150, 260), (150, 40), step=7)]),
        Drawing("points outside the pad", 7, PAD, [[(-40, 20), (340, 20), (120, 390)]]),
        Drawing("all outside on one side", None, PAD, [[(-50, 100), (-20, 200)]]),
        Drawing("a cross over the whole pad", None, PAD, [[(0, 0), (300, 300)], [(300, 0), (0, 300)]]),
        Drawing(
            "a tail that leaves the image",
            None,
            PAD,
            [[(10 + 50 * (k % 2), 20 + 2 * k) for k in range(50)], [(60, 70), (290, 70)]],
        ),
        Drawing("steps of half a pixel", None, 17.8, [[(0.5 * k, 0.0) for k in range(36)] + [(17.8, 0.0)]]),
        Drawing(
            "a scribble",
            None,
            PAD,
            [[(150 + 140 * math.sin(k * 1.7), 150 + 140 * math.cos(k * 2.3)) for k in range(150)]],
        ),
        Drawing("a slow line of 600 points", 1, PAD, [[(150 - k / 20, 30 + 0.4 * k) for k in range(601)]]),
        Drawing("a four with an empty stroke between", 4, PAD, [found[20].strokes[0], [], found[20].strokes[1]]),
        Drawing("a nine and a dot", 9, PAD, [found[45].strokes[0], [(250, 280)]]),
    ]
    return found


def main() -> None:
    from experiments.classifier import PREPROCESSING_VERSION
    from experiments.evaluation.strokes import render_strokes

    entries: list[dict[str, Any]] = [
        {
            "name": drawing.name,
            "digit": drawing.digit,
            "pad": drawing.pad,
            "strokes": [[[round(x, 3), round(y, 3)] for x, y in stroke] for stroke in drawing.strokes],
        }
        for drawing in drawings()
    ]
    for entry in entries:
        image = render_strokes(entry["strokes"], pad=entry["pad"])
        entry["pixels"] = base64.b64encode(image.tobytes()).decode()
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    FILE.write_text(f'{{"preprocessing_version":{PREPROCESSING_VERSION},"drawings":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
