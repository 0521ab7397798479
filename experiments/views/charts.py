"""Charts, described once: drawn with Plotly for pages and as PNGs, in a palette suitable for colour blindness."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from experiments.views.tables import html_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from plotly.graph_objects import Figure

# Distinct with normal, red-blind and green-blind vision, on white and on dark: tests/experiments/test_charts.py.
PALETTE = ("#546cd8", "#d87818", "#0ca878", "#b4540c", "#5490b4", "#24846c", "#6090fc", "#246c90")
# The first places of the palette: these architectures look the same in all pictures.
KNOWN = ("pocket", "malireddi", "chollet", "allconv", "resnet", "mobilenet", "mobilenet_v3", "convmixer")
GREY = "#7b8494"  # for context
SYMBOLS = (("circle", "o"), ("square", "s"), ("diamond", "D"), ("triangle-up", "^"), ("cross", "P"), ("x", "X"))
HATCHES = ("", "/", "x", ".")  # of bars, so that their kinds differ also without colour
SIZE = (10.0, 5.0)  # inches of a PNG
HEIGHT = 440  # pixels on a page
DOTS_PER_INCH = 110
OPACITY = 0.8  # of points, so that overlapping ones are visible


def palette_places(architectures: Iterable[str]) -> dict[str, int]:
    """Return the place of each architecture in the palette and among the symbols; unknown ones take free places.

    >>> palette_places({"pocket", "mine", "allconv"})
    {'pocket': 0, 'allconv': 3, 'mine': 1}
    """
    own = set(architectures)
    taken = {name: place for place, name in enumerate(KNOWN) if name in own}
    free = (place for place in itertools.count() if place not in taken.values())
    return taken | dict(zip(sorted(own - set(KNOWN)), free, strict=False))


@dataclass(frozen=True)
class Series:
    """One entry of a chart's legend."""

    name: str
    x: Sequence[Any]  # None interrupts a line
    y: Sequence[Any]
    kind: Literal["points", "lines", "steps", "bars"] = "points"  # bars are horizontal, of length x from `start`
    hover: Sequence[str] = ()  # text of each point, shown on hover
    labels: Sequence[str] = ()  # written into each bar
    start: Sequence[float] = ()  # of each bar
    colour: str | None = None  # None: from the palette
    place: int | None = None  # in the palette; None: the next


@dataclass(frozen=True)
class Chart:
    """A chart without its title, which the page has."""

    series: tuple[Series, ...]
    x_title: str = ""
    y_title: str = ""
    x_log: bool = False
    x_whole: bool = False  # an axis of whole numbers
    x_names: Sequence[str] = ()  # at 0, 1, 2, ...; then x is not a scale
    y_is_scale: bool = True  # False: it has no numbers
    marks: tuple[tuple[float, float, str], ...] = ()  # texts next to points

    def colours(self) -> Iterable[tuple[int, str, Series]]:
        """Yield each series with its place in the palette and its colour."""
        for number, one in enumerate(self.series):
            place = number if one.place is None else one.place
            yield place, one.colour or PALETTE[place % len(PALETTE)], one

    @property
    def has_legend(self) -> bool:
        """Return whether a legend is needed: bars of one kind are already labelled on the axis."""
        return len(self.series) > 1 or self.series[0].kind != "bars"

    @property
    def whole_step(self) -> int:
        """The distance between ticks of whole numbers, for about ten of them."""
        values = [value for one in self.series for value in one.x if value is not None]
        return max(1, round((max(values) - min(values)) / 10)) if values else 1

    @property
    def ticks(self) -> list[int]:
        """The ticks of a logarithmic axis: 1, 2 and 5 times the powers of ten."""
        values = [value for one in self.series for value in one.x if value]
        powers = range(len(str(int(min(values)))) - 1, len(str(int(2 * max(values)))))
        steps = (digit * 10**power for power in powers for digit in (1, 2, 5))
        return [tick for tick in steps if min(values) / 2 <= tick <= max(values) * 2]


def page_figure(chart: Chart) -> Figure:
    """Return a Plotly figure; its page sets the colours of the light or dark theme."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, colour, one in chart.colours():
        given: dict[str, Any] = {"x": one.x, "y": one.y, "name": html_text(one.name)}  # Plotly reads some HTML
        if one.hover:
            given |= {"customdata": ["<br>".join(map(html_text, text.split("\n"))) for text in one.hover]}
            given |= {"hovertemplate": "%{customdata}<extra></extra>"}
        if one.kind == "bars":
            pattern: dict[str, Any] = {
                "shape": HATCHES[number % len(HATCHES)],
                "fillmode": "overlay",
                "fgcolor": "white",
            }
            figure.add_bar(
                **given,
                base=one.start or None,
                orientation="h",
                text=list(map(html_text, one.labels)),
                textposition="inside" if one.start else "outside",
                insidetextanchor="middle",
                insidetextfont_color="white",
                marker={
                    "color": colour,
                    "line": {"color": "white", "width": 1},
                    "pattern": pattern | {"solidity": 0.15},
                },
            )
            continue
        symbol, _ = SYMBOLS[number % len(SYMBOLS)]
        mode = {"points": "markers", "lines": "lines+markers", "steps": "lines"}[one.kind]
        marker = {"size": 10 if one.kind == "points" else 5, "opacity": OPACITY, "symbol": symbol}
        line = {"width": 2, "shape": "hv" if one.kind == "steps" else "linear"}
        if one.kind == "steps":
            given["hoverinfo"] = "skip"
        figure.add_scatter(**given, mode=mode, marker={**marker, "color": colour}, line={**line, "color": colour})
    for x, y, text in chart.marks:
        given = {"x": math.log10(x) if chart.x_log else x, "y": y, "text": html_text(text), "showarrow": False}
        figure.add_annotation(**given, yshift=14, font_size=12)
    figure.update_layout(
        template=None,
        height=HEIGHT,
        margin={"l": 65, "r": 20, "t": 50, "b": 55},
        barmode="overlay",
        showlegend=chart.has_legend,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        xaxis={"title": {"text": chart.x_title}},
        yaxis={"title": {"text": chart.y_title}, "visible": chart.y_is_scale, "automargin": True},
    )
    if chart.x_log:
        ticks = chart.ticks
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    if chart.x_whole:
        figure.update_xaxes(tickformat="d", dtick=chart.whole_step)
    if chart.x_names:
        figure.update_xaxes(tickvals=list(range(len(chart.x_names))), ticktext=list(map(html_text, chart.x_names)))
    if any(one.kind == "bars" for one in chart.series):
        figure.update_yaxes(type="category", categoryorder="category descending" if chart.y_title else "trace")
    return figure


def png(chart: Chart, title: str) -> bytes:
    """Return the chart with a title as a PNG."""
    import matplotlib
    from matplotlib.figure import Figure as Picture

    bars = sum(len(set(one.y)) for one in chart.series[:1] if one.kind == "bars")
    with matplotlib.rc_context({"text.parse_math": False}):  # a name may hold `$`
        picture = Picture(figsize=(SIZE[0], 2 + 0.5 * bars) if bars else SIZE, layout="constrained")
        axes = picture.add_subplot()
        draw(chart, axes)
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=32 if chart.has_legend else 10)
        stream = io.BytesIO()
        picture.savefig(stream, dpi=DOTS_PER_INCH, format="png")
    return stream.getvalue()


def draw(chart: Chart, axes: Axes) -> None:
    """Draw the chart with Matplotlib."""
    from matplotlib.ticker import MultipleLocator, NullFormatter

    rows = sorted({row for one in chart.series if one.kind == "bars" for row in one.y}, reverse=True)
    for number, colour, one in chart.colours():
        x, y = ([math.nan if value is None else value for value in values] for values in (one.x, one.y))
        _, marker = SYMBOLS[number % len(SYMBOLS)]
        if one.kind == "bars":
            shape: dict[str, Any] = {
                "color": colour,
                "edgecolor": "white",
                "hatch": HATCHES[number % len(HATCHES)] * 2,
                "label": one.name,
            }
            drawn = axes.barh([rows.index(row) for row in y], x, left=one.start or 0, **shape)
            beside: dict[str, Any] = {"label_type": "center", "color": "white"} if one.start else {"padding": 3}
            axes.bar_label(drawn, one.labels, size=8, **beside)
        elif one.kind == "points":
            axes.scatter(x, y, s=55, marker=marker, color=colour, alpha=OPACITY, linewidths=0, label=one.name)
        else:
            style: dict[str, Any] = (
                {"drawstyle": "steps-post"} if one.kind == "steps" else {"marker": marker, "markersize": 4}
            )
            axes.plot(x, y, color=colour, linewidth=1.8, label=one.name, **style)
    for mark_x, mark_y, text in chart.marks:
        axes.annotate(text, (mark_x, mark_y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#8884", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0 if rows and chart.y_title else 0.06, y=0.1)
    axes.set(xlabel=chart.x_title, ylabel=chart.y_title)
    if rows:
        axes.set_yticks(range(len(rows)), rows)
    if chart.x_log:
        axes.set_xscale("log")
        axes.set_xticks(chart.ticks, [f"{tick:,}" for tick in chart.ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
    if chart.x_whole:
        axes.xaxis.set_major_locator(MultipleLocator(chart.whole_step))
    if chart.x_names:
        axes.set_xticks(range(len(chart.x_names)), chart.x_names)
    axes.yaxis.set_visible(chart.y_is_scale)
    if chart.has_legend:
        axes.legend(ncols=6, loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=9, borderaxespad=0.3)
