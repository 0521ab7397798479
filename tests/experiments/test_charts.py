"""Charts: one description, a figure for pages and a PNG; colours that colour-blind people can tell apart."""

from __future__ import annotations

import io
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from experiments.views.charts import GREY, PALETTE, Chart, Series, page_figure, png

LIGHT, DARK = "#ffffff", "#16181c"  # pages, as templates/style.css has them
# Machado, Oliveira, Fernandes 2009, for linear RGB: complete red-blindness and green-blindness.
SIGHTS = {
    "normal": np.eye(3),
    "red-blind": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "green-blind": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}


def linear(colour: str) -> npt.NDArray[np.float64]:
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Of WCAG 2."""
    lights = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (one, other))
    return lights[1] / lights[0]


def seen(colour: str, sight: str) -> npt.NDArray[np.float64]:
    """A colour as somebody sees it, in OKLab."""
    light = np.clip(np.array(SIGHTS[sight]) @ linear(colour), 0, 1)
    cones = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.63]]) @ light
    lab = [[0.2105, 0.7936, -0.0041], [1.978, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.array(lab) @ np.cbrt(cones)


@pytest.mark.parametrize("page", [LIGHT, DARK])
def test_every_colour_stands_out_from_the_page(page: str) -> None:
    assert min(contrast(colour, page) for colour in (*PALETTE, GREY)) >= 2.99  # WCAG 2.1, 1.4.11, for graphics: 3


@pytest.mark.parametrize("sight", SIGHTS)
def test_all_colours_are_told_apart(sight: str) -> None:
    distances = [np.linalg.norm(seen(one, sight) - seen(other, sight)) for one, other in combinations(PALETTE, 2)]
    assert min(distances) > 0.09  # five times what can just be told apart
    assert np.linalg.norm(seen("#00b050", "green-blind") - seen("#c55a11", "green-blind")) < 0.2  # the check can fail


CHART = Chart(
    (
        Series("<b>one</b> $x$", [1, 10, None, 5], [0.5, 0.7, None, 0.6], "lines", ["a", "b\nc", "", "d"]),
        Series("front", [1, 10], [0.5, 0.7], "steps", colour=GREY),
        Series("points", [1_000], [0.9]),
    ),
    "bytes",
    "accuracy",
    x_log=True,
    marks=((1_000, 0.9, "best"),),
)


def test_a_chart_is_a_figure_with_a_legend_whose_names_are_texts() -> None:
    figure = page_figure(CHART)
    assert [trace.name for trace in figure.data] == ["&lt;b&gt;one&lt;/b&gt; $x$", "front", "points"]
    assert figure.layout.showlegend
    assert figure.data[0].customdata[1] == "b<br>c"
    assert len({trace.line.color or trace.marker.color for trace in figure.data}) == 3
    assert figure.layout.xaxis.ticktext[-1] == "2,000"
    assert (figure.layout.annotations[0].x, figure.layout.annotations[0].text) == (3, "best")


@pytest.mark.parametrize(
    "chart",
    [
        CHART,
        Chart((Series("bars", [3.0, 4.0], ["b", "a"], "bars", labels=["1", "2"], start=[0.0, 1.0]),), "s", "worker"),
        Chart((Series("one", [0, 1], [0.0, 1.0], "lines"),), x_names=["left", "right"], y_is_scale=False),
    ],
)
def test_a_chart_is_a_png(chart: Chart) -> None:
    assert page_figure(chart).to_json()
    with Image.open(io.BytesIO(png(chart, "$ a title"))) as picture:
        assert len(picture.convert("RGB").getcolors(maxcolors=2**24) or []) > 10
