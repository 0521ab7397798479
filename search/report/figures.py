"""A study's figures, each as a Plotly figure for pages and as a Matplotlib PNG.

Most are Optuna's. Those of the first objective are drawn from a copy of the study that has no other one: Optuna draws
none of them for two. Replicates and answered duplicates are on the timeline alone: they are no results of
the search.

Workers import TensorFlow while this process imports what draws: Matplotlib and Plotly take a second.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from experiments.objective import OF_THE_NETWORK, WORDS, score
from search.study.ranking import Scored, front_of_objectives
from search.study.results import DUPLICATE_OF, HOST, REPLICATE_OF, outcome, values_by_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

DOTS_PER_INCH = 110
SIZE = (10.0, 5.0)  # inches of a PNG
HEIGHT = 460  # pixels on a page
MAX_CURVES_NAMED = 12  # intermediate values of more trials stand without a legend, which would not fit
OBJECTIVE = "objective"  # user attribute of the copy
COLOURS = {"complete": "#2b6cb0", "pruned": "#dd9a33", "infeasible": "#a0aec0", "fail": "#c53030"}


class TooFewTrials(Exception):
    """There is nothing to draw yet."""


@dataclass(frozen=True)
class Figure:
    """One figure, or why it could not be drawn."""

    name: str  # of its files
    title: str
    page: Any  # plotly.graph_objects.Figure, or None
    png: bytes
    reason: str = ""  # why there is none
    failed: bool = False  # it should be there


def draw(study: optuna.Study) -> list[Figure]:
    """All figures of a study."""
    import matplotlib

    if "inline" not in (matplotlib.get_backend(auto_select=False) or ""):  # a notebook's, which needs no display either
        matplotlib.use("agg")  # Optuna draws with pyplot, which would pick one
    trials = study.get_trials(deepcopy=False)
    single = _of_first_objective(study, trials)
    with matplotlib.rc_context():  # Optuna changes the style of all figures to come
        figures = _drawn_all(trials, single, (study.metric_names or [])[1:])
        interactive = matplotlib.is_interactive()
    matplotlib.interactive(interactive)  # without what a notebook's backend sets when it is loaded, it shows nothing
    return figures


def _drawn_all(trials: Sequence[FrozenTrial], single: optuna.Study, others: Sequence[str]) -> list[Figure]:
    """All figures; `others` are the study's objectives but for the first."""
    what = f"Validation {WORDS[_name(single)]}"
    return [
        _drawn("optimization_history", "Optimization history", lambda: _optuna("optimization_history", single)),
        _drawn("pareto_front", f"{what} against bytes", lambda: _front(_plane(trials, single, "coreml_bytes"))),
        *(
            _drawn(
                f"pareto_front_{name}",
                f"{what} against {WORDS[name]}",
                lambda name=name, place=place: _front(_plane(trials, single, name, place)),  # type: ignore[misc]
            )
            for place, name in enumerate(others, 1)
            if name != "coreml_bytes"
        ),
        _drawn("intermediate_values", f"{what} by epoch", lambda: _courses(single)),
        _drawn("parallel_coordinate", "Parallel coordinates", lambda: _optuna("parallel_coordinate", single)),
        _drawn("param_importances", "Parameter importances", lambda: _importances(single)),
        _drawn("timeline", "Timeline of workers", lambda: (_timeline_page(trials), _timeline_png(trials))),
    ]


def _drawn(name: str, title: str, make: Callable[[], tuple[Any, bytes]]) -> Figure:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna marks its Matplotlib figures as experimental
            page, png = make()
            page.update_layout(
                template="plotly_white",
                height=HEIGHT,
                title=None,
                margin={"l": 70, "r": 30, "t": 60, "b": 60},
                autosize=True,
            )
    except TooFewTrials as error:
        return Figure(name, title, None, b"", str(error))
    except Exception as error:  # no figure is worth a sweep
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Figure(name, title, None, b"", reason, failed=True)
    return Figure(name, title, page, png)


def _of_first_objective(study: optuna.Study, trials: Sequence[FrozenTrial]) -> optuna.Study:
    """A copy of a study in memory, with its first objective as the only one and as the intermediate values."""
    copy = optuna.create_study(study_name=study.study_name, direction=study.directions[0])
    copy.set_user_attr(OBJECTIVE, (study.metric_names or ["val_accuracy"])[0])
    copy.add_trials(
        optuna.trial.create_trial(state=TrialState.FAIL)  # is not drawn; those after it keep their numbers
        if _repeats(trial)
        else optuna.trial.create_trial(
            state=trial.state,
            value=trial.values[0] if trial.values else None,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=dict(enumerate(values_by_epoch(trial), 1)),
            constraints=trial.constraints,
        )
        for trial in trials
    )
    return copy


def _name(single: optuna.Study) -> str:
    """Of the objective."""
    return str(single.user_attrs[OBJECTIVE])


def _repeats(trial: FrozenTrial) -> bool:
    """Whether a trial is a replicate, or was answered with what an earlier one had measured."""
    return not trial.user_attrs.keys().isdisjoint({REPLICATE_OF, DUPLICATE_OF})


def _optuna(name: str, study: optuna.Study) -> tuple[Any, bytes]:
    """One of Optuna's figures; its functions and their Matplotlib twins have the same names and arguments."""
    from optuna import visualization
    from optuna.visualization import matplotlib as static

    page = getattr(visualization, f"plot_{name}")(study, target_name=_name(study))
    getattr(static, f"plot_{name}")(study, target_name=_name(study))
    return page, _current_png()


def _importances(study: optuna.Study) -> tuple[Any, bytes]:
    """What share of the differences in the objective goes with each parameter."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({tuple(trial.params.items()) for trial in complete}) < 2:
        raise TooFewTrials("It takes two complete trials that differ.")
    if len({trial.value for trial in complete}) < 2:
        raise TooFewTrials(f"All complete trials have the same {_name(study)}.")
    return _optuna("param_importances", study)


def _courses(study: optuna.Study) -> tuple[Any, bytes]:
    """Each trial's objective by epoch."""
    if not any(trial.intermediate_values for trial in study.get_trials(deepcopy=False)):
        raise TooFewTrials("No trial has finished an epoch.")
    from optuna import visualization
    from optuna.visualization import matplotlib as static

    page = visualization.plot_intermediate_values(study)
    page.update_layout(xaxis_title="Epoch", yaxis_title=_name(study))
    axes = static.plot_intermediate_values(study)
    axes.set(xlabel="Epoch", ylabel=_name(study))
    if len(page.data) > MAX_CURVES_NAMED and (legend := axes.get_legend()):
        legend.remove()
    return page, _current_png()


def _current_png() -> bytes:
    """Optuna draws on pyplot's current figure."""
    from matplotlib import pyplot

    figure = pyplot.gcf()
    figure.set_size_inches(*SIZE)
    for axes in figure.axes:
        for place in ("left", "center", "right"):
            axes.set_title("", loc=place)
    try:
        return _png(figure)
    finally:
        pyplot.close("all")


def _png(picture: Picture) -> bytes:
    file = io.BytesIO()
    picture.savefig(file, dpi=DOTS_PER_INCH, bbox_inches="tight", format="png")
    return file.getvalue()


@dataclass(frozen=True)
class _Plane:
    """The complete trials that repeat none, by the first objective and another figure."""

    figure: str  # the other one
    objective: str
    trials: Sequence[FrozenTrial]
    points: Sequence[tuple[float, float]]  # of each trial: the figure, the objective
    best: Sequence[tuple[float, float]]  # of those on the front, from the lowest figure to the highest

    @property
    def by_architecture(self) -> Iterator[tuple[str, list[int]]]:
        """Places of the trials."""
        for architecture in sorted({trial.params["architecture"] for trial in self.trials}):
            yield architecture, [n for n, one in enumerate(self.trials) if one.params["architecture"] == architecture]

    @property
    def logarithmic(self) -> bool:
        """Whether the figure counts something that grows by factors."""
        return self.figure in (*OF_THE_NETWORK, "keras_bytes")

    @property
    def title(self) -> str:
        return "Core ML bytes" if self.figure == "coreml_bytes" else WORDS[self.figure]


def _plane(trials: Sequence[FrozenTrial], single: optuna.Study, figure: str, place: int | None = None) -> _Plane:
    """Of a figure that is the objective at this place, or of each trial's file."""
    complete = [trial for trial in trials if outcome(trial) == "complete" and not _repeats(trial)]
    if not complete:
        raise TooFewTrials("No trials are completed yet.")
    found = [one.values[place] if place else float(one.user_attrs["coreml_bytes"]) for one in complete]
    down = single.direction == StudyDirection.MINIMIZE
    scored = [
        Scored(one.number, one.values[0], one.user_attrs["coreml_bytes"], down, (-score(figure, value),))
        for one, value in zip(complete, found, strict=True)
    ]
    points = {one.number: (value, one.values[0]) for one, value in zip(complete, found, strict=True)}
    best = sorted(points[one.number] for one in front_of_objectives(scored))
    return _Plane(figure, _name(single), complete, list(points.values()), best)


def _front(plane: _Plane) -> tuple[Any, bytes]:
    return _front_page(plane), _front_png(plane)


def _front_page(plane: _Plane) -> Any:
    import plotly.graph_objects as go

    page = go.Figure()
    for architecture, places in plane.by_architecture:
        page.add_scatter(
            x=[plane.points[place][0] for place in places],
            y=[plane.points[place][1] for place in places],
            mode="markers",
            name=architecture,
            marker={"size": 9, "opacity": 0.75},
            text=[_described(plane.trials[place]) for place in places],
            hovertemplate=f"%{{text}}<br>%{{x:,}} {WORDS[plane.figure]}, %{{y:.4f}}<extra></extra>",
        )
    page.add_scatter(
        x=[figure for figure, _ in plane.best],
        y=[value for _, value in plane.best],
        mode="lines",
        name="front",
        line={"shape": "hv", "color": COLOURS["fail"], "width": 1.5},
        hoverinfo="skip",
    )
    page.update_xaxes(title=plane.title)
    if plane.logarithmic:
        ticks = _ticks([figure for figure, _ in plane.points])
        page.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    page.update_yaxes(title=plane.objective)
    return page


def _ticks(sizes: Sequence[float]) -> list[int]:
    """1, 2 and 5 of each power of ten around some sizes."""
    least, most = int(min(sizes)), int(max(sizes))
    return [
        digit * 10**power
        for power in range(len(str(least)) - 1, len(str(2 * most)))
        for digit in (1, 2, 5)
        if least / 2 <= digit * 10**power <= most * 2
    ]


def _front_png(plane: _Plane) -> bytes:
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=SIZE, layout="constrained")
    axes = picture.add_subplot()
    for architecture, places in plane.by_architecture:
        x, y = zip(*(plane.points[place] for place in places), strict=True)
        axes.scatter(x, y, label=architecture, alpha=0.75)
    axes.step(
        [figure for figure, _ in plane.best],
        [value for _, value in plane.best],
        where="post",
        color=COLOURS["fail"],
        linewidth=1.2,
        label="front",
    )
    axes.set(xscale="log" if plane.logarithmic else "linear", xlabel=plane.title, ylabel=plane.objective)
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(picture)


@dataclass(frozen=True)
class _Bar:
    """A trial's last attempt on a worker."""

    trial: FrozenTrial
    worker: str
    start: datetime
    end: datetime


def _bars(trials: Sequence[FrozenTrial]) -> list[_Bar]:
    bars = []
    for trial in trials:
        owner = json.loads(trial.user_attrs.get("owner", "null"))
        if owner and trial.datetime_start and trial.datetime_complete:
            worker = f"{trial.user_attrs.get(HOST, owner['host'])} {owner.get('worker', '')}"
            bars.append(_Bar(trial, worker, trial.datetime_start, trial.datetime_complete))
    if not bars:
        raise TooFewTrials("No trial has ended on a known worker.")
    return bars


def _timeline_page(trials: Sequence[FrozenTrial]) -> Any:
    import plotly.graph_objects as go

    bars = _bars(trials)
    page = go.Figure()
    for kind, colour in COLOURS.items():
        own = [bar for bar in bars if outcome(bar.trial) == kind]
        if own:
            page.add_bar(
                x=[(bar.end - bar.start).total_seconds() * 1000 for bar in own],
                y=[bar.worker for bar in own],
                base=[bar.start.isoformat() for bar in own],
                orientation="h",
                name=kind,
                marker={"color": colour, "line": {"color": "white", "width": 1}},
                text=[str(bar.trial.number) for bar in own],
                textposition="inside",
                insidetextanchor="middle",
                customdata=[[_described(bar.trial), (bar.end - bar.start).total_seconds()] for bar in own],
                hovertemplate="%{customdata[0]}<br>%{customdata[1]:.1f} s<extra></extra>",
            )
    page.update_layout(barmode="overlay", showlegend=True)
    page.update_xaxes(type="date")
    page.update_yaxes(type="category", title="worker", categoryorder="category descending")
    return page


def _timeline_png(trials: Sequence[FrozenTrial]) -> bytes:
    from matplotlib.figure import Figure as Picture

    bars = _bars(trials)
    workers = sorted({bar.worker for bar in bars}, reverse=True)
    began = min(bar.start for bar in bars)
    picture = Picture(figsize=(SIZE[0], 1.5 + 0.5 * len(workers)), layout="constrained")
    axes = picture.add_subplot()
    for kind, colour in COLOURS.items():
        own = [bar for bar in bars if outcome(bar.trial) == kind]
        if own:
            drawn = axes.barh(
                [workers.index(bar.worker) for bar in own],
                [(bar.end - bar.start).total_seconds() for bar in own],
                left=[(bar.start - began).total_seconds() for bar in own],
                color=colour,
                edgecolor="white",
                label=kind,
            )
            axes.bar_label(drawn, [str(bar.trial.number) for bar in own], label_type="center", color="white", size=8)
    axes.set_yticks(range(len(workers)), workers)
    axes.set(xlabel="seconds from the first trial's start", ylabel="worker")
    axes.legend(ncols=len(COLOURS), loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return _png(picture)


def _described(trial: FrozenTrial) -> str:
    """A trial for a label that shows up under the pointer."""
    values = (
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in trial.params.items()
    )
    return f"trial {trial.number}, {outcome(trial)}<br>" + "<br>".join(values)
