"""Check the requests of the page: a drawing, and the label that the user gives it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from architectures.errors import ProjectError

MAX_BODY_BYTES = 2**18  # of a request: the maximum number of points, with all digits of a double
MAX_POINTS = 4_000  # a digit has a few hundred; the worst scribble of this many takes a tenth of a second
MAX_PAD = 1e6  # units; the minimum is one unit

Stroke = tuple[tuple[float, float], ...]


class BadRequest(ProjectError):
    """A request that the page itself would not send."""


class TooLarge(BadRequest):
    """A drawing that is too large: the response is 413."""

    @classmethod
    def of_bytes(cls, came: str) -> TooLarge:
        return cls(f"The drawing takes {came} bytes; {MAX_BODY_BYTES:,} are allowed: clear the pad.")


@dataclass(frozen=True)
class Drawing:
    """Strokes on a square pad, from (0, 0) top left to (pad, pad)."""

    strokes: tuple[Stroke, ...]
    pad: float  # side, in the unit of the points

    def as_json(self) -> str:
        """Return the drawing as compact JSON: equal drawings give equal text."""
        return json.dumps({"pad": self.pad, "strokes": self.strokes}, separators=(",", ":"))


@dataclass(frozen=True)
class Correction:
    """A drawing and its correct label."""

    drawing: Drawing
    label: str


def parse_drawing(body: bytes) -> Drawing:
    """Parse `{"pad": 300, "strokes": [[[x, y], ...], ...]}`; raise BadRequest if it is invalid.

    >>> parse_drawing(b'{"pad": 300, "strokes": [[[1, 2]]]}').strokes
    (((1.0, 2.0),),)
    """
    return _drawing(_fields(body, {"pad", "strokes"}))


def parse_correction(body: bytes, labels: Sequence[str]) -> Correction:
    """Parse a drawing that also has a `label`, one of `labels`, and at least one point; raise BadRequest otherwise."""
    fields = _fields(body, {"pad", "strokes", "label"})
    if fields["label"] not in labels:
        raise BadRequest(f"label must be one of {', '.join(labels)}.")
    drawing = _drawing(fields)
    if not any(drawing.strokes):
        raise BadRequest("There is nothing on the pad to keep.")
    return Correction(drawing, str(fields["label"]))


def _fields(body: bytes, names: set[str]) -> dict[str, object]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("The request is not JSON.") from None
    if not isinstance(fields, dict) or fields.keys() != names:
        raise BadRequest(f"The request must be one object of {', '.join(sorted(names))}.")
    return fields


def _drawing(fields: dict[str, object]) -> Drawing:
    strokes = fields["strokes"]
    if not isinstance(strokes, list) or not all(isinstance(stroke, list) for stroke in strokes):
        raise BadRequest("strokes must be a list of lists of points.")
    if (points := sum(max(len(stroke), 1) for stroke in strokes)) > MAX_POINTS:
        raise TooLarge(f"The drawing has {points:,} points; {MAX_POINTS:,} are allowed: clear the pad.")
    return Drawing(
        tuple(tuple(_point(point) for point in stroke) for stroke in strokes),
        _number(fields["pad"], "pad", 1, MAX_PAD),
    )


def _point(point: object) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2:
        raise BadRequest("A point must be a list of two numbers.")
    x, y = (_number(value, "A coordinate", -MAX_PAD, MAX_PAD) for value in point)
    return x, y


def _number(value: object, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:  # false for NaN too
        raise BadRequest(f"{name} must be a number from {low:g} to {high:g}.")
    return float(value)
