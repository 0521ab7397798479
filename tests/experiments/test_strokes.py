"""Strokes to pixels: the golden drawings that Swift is held to as well, and what the rules promise."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.classifier import PREPROCESSING_VERSION
from experiments.evaluation import strokes
from experiments.evaluation.strokes import BOX, CENTER, center_of_mass, render_strokes
from tests.support.drawings import FILE, drawings

SWIFT = Path(__file__).parents[2] / "ios/DigitKit/Sources/DigitKit/Preprocessing.swift"
GOLDEN = json.loads(FILE.read_text())
DIGITS = [entry for entry in GOLDEN["drawings"] if re.fullmatch(r"\d in hand \d", entry["name"])]


@pytest.mark.parametrize("entry", GOLDEN["drawings"], ids=lambda entry: entry["name"])
def test_every_pixel_of_the_golden_drawings(entry: dict) -> None:
    expected = np.frombuffer(base64.b64decode(entry["pixels"]), np.uint8).reshape(28, 28)
    np.testing.assert_array_equal(render_strokes(entry["strokes"], pad=entry["pad"]), expected)


def test_the_golden_drawings_are_those_of_their_module() -> None:
    assert GOLDEN["preprocessing_version"] == PREPROCESSING_VERSION
    assert [entry["name"] for entry in GOLDEN["drawings"]] == [drawing.name for drawing in drawings()]
    assert len({entry["name"] for entry in GOLDEN["drawings"]}) >= 60
    assert sorted(entry["digit"] for entry in DIGITS) == sorted(list(range(10)) * 5)
    for entry, drawing in zip(GOLDEN["drawings"], drawings(), strict=True):
        for stroke, drawn in zip(entry["strokes"], drawing.strokes, strict=True):
            np.testing.assert_allclose(np.array(stroke), np.array(drawn), atol=0.00051)


def test_swift_holds_the_same_constants() -> None:
    held = dict(re.findall(r"static let (\w+)(?:: Double)? = ([\d.]+)", SWIFT.read_text()))
    expected = {"version": PREPROCESSING_VERSION, "side": strokes.DRAWING_SIDE} | {
        name: getattr(strokes, name.upper()) for name in ("box", "center", "pen", "spacing", "smallest")
    }
    assert {name: float(held[name]) for name in expected} == expected
    pads = re.search(r"static let pads = (.+)\.\.\.(.+)", SWIFT.read_text())
    assert pads
    assert tuple(map(float, pads.groups())) == strokes.PADS


@pytest.mark.parametrize("entry", DIGITS, ids=lambda entry: entry["name"])
def test_digits_get_mnists_size_and_place(entry: dict) -> None:
    image = render_strokes(entry["strokes"], pad=entry["pad"])
    assert center_of_mass(image) == pytest.approx((CENTER, CENTER), abs=0.05)
    inked = np.argwhere(image >= 128)
    assert max(np.ptp(inked, axis=0) + 1) == pytest.approx(BOX, abs=1)


def test_size_and_place_on_the_pad_make_no_difference() -> None:
    seven = [(60.0, 40.0), (220.0, 40.0), (110.0, 250.0)]
    image = render_strokes([seven], pad=300)
    smaller = [(x / 4, y / 4) for x, y in seven]  # exact: a power of 2
    np.testing.assert_array_equal(render_strokes([smaller], pad=75), image)
    moved = render_strokes([[(0.3 * x + 31, 0.3 * y + 177) for x, y in seven]], pad=300)
    assert np.abs(moved.astype(int) - image).max() <= 1


def test_points_outside_count_where_the_pad_shows_them() -> None:
    outside = render_strokes([[(-40, 20), (340, 20), (120, 390)]], pad=300)
    np.testing.assert_array_equal(outside, render_strokes([[(0, 20), (300, 20), (120, 300)]], pad=300))
    assert not np.array_equal(outside, render_strokes([[(-40, 20), (340, 20), (120, 390)]], pad=1000))


def test_points_that_are_not_finite_are_left_out() -> None:
    line = [(10.0, 10.0), (math.nan, 50.0), (200.0, math.inf), (20.0, 200.0)]
    np.testing.assert_array_equal(render_strokes([line], pad=300), render_strokes([[line[0], line[3]]], pad=300))
    assert not render_strokes([[(math.nan, 1.0)]], pad=300).any()


def test_a_longer_record_of_the_same_line_says_nothing_new() -> None:
    line = [(150.0, 30.0 + 0.25 * k) for k in range(1000)]
    coarse = render_strokes([[*line[::100], line[-1]]], pad=300)
    assert np.abs(render_strokes([line], pad=300).astype(int) - coarse).max() <= 1


@pytest.mark.parametrize(
    "pad",
    [0.0, -1.0, math.nan, math.inf, 5e-324, np.nextafter(strokes.PADS[0], 0), np.nextafter(strokes.PADS[1], math.inf)],
)
def test_a_pad_without_a_side_is_refused(pad: float) -> None:
    with pytest.raises(ValueError, match=r"from 1e-300 to 1e\+300, not "):
        render_strokes([[(0, 0)]], pad=pad)


@pytest.mark.parametrize("pad", strokes.PADS)
@pytest.mark.parametrize("line", [[(0.5, 0.5)], [(0.2, 0.9), (0.9, 1.0)], [(0.0, 0.5), (1.0, 0.5 + 1e-9)]], ids=len)
def test_the_smallest_and_the_largest_pad_hold_any_drawing(pad: float, line: list[tuple[float, float]]) -> None:
    on_pad = [(x * pad, y * pad) for x, y in line]
    np.testing.assert_array_equal(render_strokes([on_pad], pad=pad), render_strokes([line], pad=1))


def plain_paint(segments: np.ndarray) -> np.ndarray:
    """Every pixel's distance from every segment: the rule of `strokes.paint`, without what it leaves out."""
    y, x = np.mgrid[:28.0, :28.0][:, None]
    from_x, from_y, to_x, to_y = segments.T[:, :, None, None]
    along_x, along_y = to_x - from_x, to_y - from_y
    length = along_x * along_x + along_y * along_y
    share = ((x - from_x) * along_x + (y - from_y) * along_y) / np.where(length > 0, length, 1.0)
    share = np.clip(share, 0.0, 1.0)
    off_x, off_y = x - from_x - share * along_x, y - from_y - share * along_y
    nearest = (off_x * off_x + off_y * off_y).min(axis=0)
    return np.floor(np.clip(strokes.REACH - np.sqrt(nearest), 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


@pytest.mark.parametrize("count", [1, 5, 31, 32, 33, 65, 400, 2_000])
@pytest.mark.parametrize("length", [0.0, 0.7, 8.0])
def test_what_painting_leaves_out_changes_no_pixel(count: int, length: float) -> None:
    random = np.random.default_rng(count)
    starts = random.uniform(-4, 32, (count, 2))  # some beyond the image
    segments = np.hstack([starts, starts + random.normal(0, length, (count, 2))])
    on_pixels = np.round(segments)  # distances that are exact
    for case in (segments, on_pixels):
        np.testing.assert_array_equal(strokes.paint(case), plain_paint(case))
