"""The figures of a study: for each, a Plotly figure for pages and a PNG, under a title that states its finding.

They show the first objective. Replicates and duplicates appear on the timeline only, because they are not results of
the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from experiments.objective import OBJECTIVES, OF_THE_NETWORK, SPELLED_OUT, objective_named, score, shown_name
from experiments.views.charts import GREY, PALETTE, Chart, Series, page_figure, palette_places, png
from search.study.ranking import Scored, front_of_objectives, ranked
from search.study.results import DUPLICATE_OF, REPLICATE_OF, in_words, is_paused, outcome, values_by_epoch
from search.study.spans import spans

COLOURS = {"complete": PALETTE[0], "pruned": PALETTE[1], "infeasible": GREY, "fail": PALETTE[3]}
TRIALS_PER_PARAMETER = 5  # complete ones, below which importances are mostly chance
SEED = 0  # of the importances: the same trials give the same figure


class TooFewTrials(Exception):
    """There is nothing to draw yet."""


@dataclass(frozen=True)
class Figure:
    """A figure, or why it could not be drawn."""

    name: str  # of its files
    title: str  # what it shows
    page: Any  # plotly.graph_objects.Figure, or None
    png: bytes
    note: str = ""  # how to read it
    reason: str = ""  # why there is none
    failed: bool = False  # whether that is an error


@dataclass(frozen=True)
class _Explained:
    """A chart with its finding and how to read it."""

    chart: Chart
    title: str
    note: str


@dataclass(frozen=True)
class _Searched:
    """The trials of a study without replicates and duplicates, with the first objective."""

    all: Sequence[FrozenTrial]
    objective: str
    minimized: bool

    @property
    def words(self) -> str:
        return SPELLED_OUT[self.objective]

    @property
    def label(self) -> str:
        """Of an axis."""
        return shown_name(self.objective)

    @property
    def trials(self) -> list[FrozenTrial]:
        return [trial for trial in self.all if trial.user_attrs.keys().isdisjoint({REPLICATE_OF, DUPLICATE_OF})]

    @property
    def complete(self) -> list[FrozenTrial]:
        """All complete trials; raises TooFewTrials if there are none."""
        if not (found := [trial for trial in self.trials if outcome(trial) == "complete"]):
            raise TooFewTrials("No trial is complete yet.")
        return found

    @property
    def scored(self) -> list[Scored]:
        return [
            Scored(trial.number, trial.values[0], trial.user_attrs["coreml_bytes"], self.minimized)
            for trial in self.complete
        ]

    def best(self) -> Scored:
        return ranked(self.scored, front_first=False)[0]

    def name_of(self, one: Scored) -> str:
        return f"{self.all[one.number].params['architecture']}-{one.number}"


def draw_figures(study: optuna.Study) -> list[Figure]:
    """Draw all figures of a study."""
    trials = study.get_trials(deepcopy=False)
    objective = objective_named((study.metric_names or [""])[0])
    found = _Searched(trials, objective, study.directions[0] == StudyDirection.MINIMIZE)
    what = f"Validation {found.words}"
    return [
        _drawn("optimization_history", f"{what} by trial", lambda: _history(found)),
        _drawn("pareto_front", f"{what} against bytes", lambda: _front(found, "coreml_bytes")),
        *(
            _drawn(
                f"pareto_front_{name}",
                f"{what} against {SPELLED_OUT[name]}",
                lambda name=name, place=place: _front(found, name, place),  # type: ignore[misc]
            )
            for place, name in enumerate(map(objective_named, study.metric_names or []))
            if place and name != "coreml_bytes"
        ),
        _drawn("intermediate_values", f"{what} by epoch", lambda: _courses(found)),
        _drawn("parallel_coordinate", "Parameters of the trials", lambda: _coordinates(found)),
        _drawn("param_importances", "Parameter importances", lambda: _importances(found)),
        _drawn("timeline", "Timeline of workers", lambda: _timeline(trials)),
    ]


def _drawn(name: str, title: str, make: Callable[[], _Explained]) -> Figure:
    try:
        told = make()
        return Figure(name, told.title, page_figure(told.chart), png(told.chart, told.title), told.note)
    except TooFewTrials as error:
        return Figure(name, title, None, b"", reason=str(error))
    except Exception as error:  # a sweep must not fail because of a figure
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Figure(name, title, None, b"", reason=reason, failed=True)


def _place(found: _Searched, name: str) -> int:
    """Return the place of an architecture in the palette, the same in all figures."""
    return palette_places(trial.params["architecture"] for trial in found.all if "architecture" in trial.params)[name]


def _by_architecture(trials: Iterable[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda trial: (trial.params["architecture"], trial.number)):
        groups.setdefault(trial.params["architecture"], []).append(trial)
    return groups


def _history(found: _Searched) -> _Explained:
    """Draw the objective of each trial, and the best so far."""
    complete, choose = found.complete, min if found.minimized else max
    numbers, values = [trial.number for trial in complete], [trial.values[0] for trial in complete]
    so_far = [choose(values[: place + 1]) for place in range(len(values))]
    series = [
        Series(
            name,
            [trial.number for trial in own],
            [trial.values[0] for trial in own],
            hover=list(map(_described, own)),
            place=_place(found, name),
        )
        for name, own in _by_architecture(complete).items()
    ]
    best = found.best()
    return _Explained(
        Chart(
            (Series("best so far", numbers, so_far, "steps", colour=GREY), *series),
            "trial",
            found.label,
            x_whole=True,
            marks=((best.number, best.value, found.name_of(best)),),
        ),
        f"{best.value:.4f} is the best {found.words}, reached in trial {best.number}",
        f"{len(complete)} complete trials in the order they were drawn; the line is the best so far.",
    )


def _front(found: _Searched, figure: str, place: int | None = None) -> _Explained:
    """Draw the objective against another figure: the objective at this place, or the file size if there is none."""
    complete = found.complete
    against = {
        trial.number: trial.values[place] if place else float(trial.user_attrs["coreml_bytes"]) for trial in complete
    }
    scored = [replace(one, costs=(-score(figure, against[one.number]),)) for one in found.scored]
    best = sorted(front_of_objectives(scored), key=lambda one: against[one.number])
    series = [
        Series(
            name,
            [against[trial.number] for trial in own],
            [trial.values[0] for trial in own],
            hover=[f"{_described(t)}\n{_amount(figure, against[t.number])}, {t.values[0]:.4f}" for t in own],
            place=_place(found, name),
        )
        for name, own in _by_architecture(complete).items()
    ]
    sizes, values = [against[one.number] for one in best], [one.value for one in best]
    x_log = figure in (*OF_THE_NETWORK, "keras_bytes")
    merits = [-value if found.minimized else value for value in values]
    knee = _knee([math.log(size) if x_log else size for size in sizes], merits)
    names = [found.name_of(one) for one in best]
    reached = [f"{one.value:.4f} with {_amount(figure, against[one.number])}" for one in best]
    note = f"The {len(best)} trials on the front are named: no other trial is as good in both."
    if len(best) == 1:
        title, note = f"{names[0]} is the best in both: {reached[0]}", "The named trial is the best in both."
    elif 0 < knee < len(best) - 1:
        title = f"{names[knee]} is the best trade-off: {reached[knee]}"
        note += " The best trade-off is the one furthest from the line between the ends of the front."
    else:
        title = f"The front goes from {names[0]}, {reached[0]}, to {names[-1]}, {reached[-1]}"
    marks = tuple((against[one.number], one.value, name) for one, name in zip(best, names, strict=True))
    return _Explained(
        Chart(
            (*series, Series("front", sizes, values, "steps", colour=GREY)),
            shown_name(figure),
            found.label,
            x_log=x_log,
            marks=marks,
        ),
        title,
        note,
    )


def _knee(costs: Sequence[float], merits: Sequence[float]) -> int:
    """Return the place of the point of a front that is furthest above the line between its ends, or the better end.

    >>> _knee([1, 2, 10], [0.7, 0.9, 0.95]), _knee([1, 9, 10], [0.7, 0.75, 0.95]), _knee([1, 2], [0.9, 0.7])
    (1, 2, 0)
    """
    run, rise = costs[-1] - costs[0], merits[-1] - merits[0]
    above = [run * (merit - merits[0]) - rise * (cost - costs[0]) for cost, merit in zip(costs, merits, strict=True)]
    above[0] = above[-1] = 0.0  # not a rounding error
    return max(range(len(costs)), key=lambda place: (above[place], merits[place]))


def _courses(found: _Searched) -> _Explained:
    """Draw each trial's objective by epoch as a line."""
    started = [trial for trial in found.trials if values_by_epoch(trial)]
    if not started:
        raise TooFewTrials("No trial has finished an epoch.")
    series = []
    for name, own in _by_architecture(started).items():
        epochs: list[int | None] = []
        values: list[float | None] = []
        hover: list[str] = []
        for trial in own:
            course = values_by_epoch(trial)
            epochs += [*range(1, len(course) + 1), None]
            values += [*course, None]
            hover += [*(f"{_described(trial)}\nepoch {epoch}: {v:.4f}" for epoch, v in enumerate(course, 1)), ""]
        series.append(Series(name, epochs, values, "lines", hover, place=_place(found, name)))
    short = sum(outcome(trial) == "pruned" or is_paused(trial) for trial in started)
    title = (
        f"{short} of {len(started)} trials were stopped early"
        if short
        else f"All {len(started)} trials ran to their end"
    )
    return _Explained(
        Chart(tuple(series), "epoch", found.label, x_whole=True),
        title,
        f"Validation {found.words} by epoch, a line for each trial."
        + (" A line that ends early was pruned or paused: others were better by then." if short else ""),
    )


def _coordinates(found: _Searched) -> _Explained:
    """Draw each complete trial as a line through its parameters and its result."""
    complete = found.complete
    names = [name for name in complete[0].params if all(name in trial.params for trial in complete)]
    columns: list[list[Any]] = [[trial.params[name] for trial in complete] for name in names]
    columns.append([trial.values[0] for trial in complete])
    heights: list[list[float]] = []
    marks: list[tuple[float, float, str]] = []
    for place, column in enumerate(columns):
        height, ends = _scaled(column)
        heights.append(height)
        marks += [(float(place), at, text) for at, text in ends]
    rows = {trial.number: row for row, trial in enumerate(complete)}
    series = []
    for name, own in _by_architecture(complete).items():
        x = [place for _ in own for place in (*range(len(columns)), None)]
        y = [value for trial in own for value in (*(height[rows[trial.number]] for height in heights), None)]
        hover = [text for trial in own for text in [_described(trial)] * (len(columns) + 1)]
        series.append(Series(name, x, y, "lines", hover, place=_place(found, name)))
    best = found.best()
    given = ", ".join(f"{name} {_short(value)}" for name, value in found.all[best.number].params.items())
    return _Explained(
        Chart(tuple(series), x_names=[*names, found.label], y_is_scale=False, marks=tuple(marks)),
        f"The best trial had {given}",
        "A line is a trial: its values from left to right, and what it reached.",
    )


def _scaled(column: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return values as heights from 0 to 1, with the labels of some heights."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in column):
        low, high = min(column), max(column)
        reach = high - low or 1.0
        ends = [(0.0, _short(low))] + [(1.0, _short(high))] * (high > low)
        return [(value - low) / reach for value in column], ends
    kinds = sorted(set(map(str, column)))
    place = {kind: number / max(1, len(kinds) - 1) for number, kind in enumerate(kinds)}
    return [place[str(value)] for value in column], [(at, kind) for kind, at in place.items()]


def _importances(found: _Searched) -> _Explained:
    """Draw the share of the variance of the objective that each parameter explains."""
    complete = found.complete
    shared = [name for name in complete[0].params if all(name in trial.params for trial in complete)]
    searched = [name for name in shared if len({str(trial.params[name]) for trial in complete}) > 1]
    if not searched:
        raise TooFewTrials("Needs complete trials that differ.")
    if len({trial.values[0] for trial in complete}) < 2:
        raise TooFewTrials(f"All complete trials have the same {found.label}.")
    if len(complete) < (needed := TRIALS_PER_PARAMETER * len(searched)):
        raise TooFewTrials(
            f"{len(complete)} complete trials are too few: the importance of {len(searched)} parameters needs {needed}."
        )
    copy = optuna.create_study(direction="minimize" if found.minimized else "maximize")
    copy.add_trials(
        optuna.trial.create_trial(
            state=TrialState.COMPLETE, value=trial.values[0], params=trial.params, distributions=trial.distributions
        )
        for trial in complete
    )
    fanova = optuna.importance.FanovaImportanceEvaluator(seed=SEED)
    shares = optuna.importance.get_param_importances(copy, evaluator=fanova, params=searched)
    names, values = list(shares), list(shares.values())
    return _Explained(
        Chart(
            (Series("importance", values, names, "bars", labels=[f"{value:.0%}" for value in values]),),
            f"share of the differences in {found.label}",
        ),
        f"{names[0]} goes with {values[0]:.0%} of the differences in {found.words}",
        f"Estimated by fANOVA from {len(complete)} complete trials. It applies to the searched "
        "ranges, leaves out pruned trials, and shows what goes with the differences, not what causes them.",
    )


def _timeline(trials: Sequence[FrozenTrial]) -> _Explained:
    """Draw which worker ran which trial, and when."""
    bars = [(trial, span) for trial in trials if trial.state.is_finished() for span in spans(trial)]
    if not bars:
        raise TooFewTrials("No trial has ended on a known worker.")
    began, ended = min(span.start for _, span in bars), max(span.end for _, span in bars)
    series = []
    for kind, colour in COLOURS.items():
        own = [(trial, span) for trial, span in bars if outcome(trial) == kind]
        if own:
            series.append(
                Series(
                    in_words(kind),
                    [span.seconds for _, span in own],
                    [span.worker for _, span in own],
                    "bars",
                    [f"{_described(trial)}\n{span.seconds:.1f} s" for trial, span in own],
                    [str(trial.number) for trial, _ in own],
                    [(span.start - began).total_seconds() for _, span in own],
                    colour,
                )
            )
    workers, whole = len({span.worker for _, span in bars}), (ended - began).total_seconds()
    busy = sum(span.seconds for _, span in bars) / (workers * whole or 1)
    return _Explained(
        Chart(tuple(series), "seconds from the first trial's start", "worker"),
        f"{workers} worker{'s' * (workers > 1)} had a trial in {min(busy, 1):.0%} of {whole:,.0f} s",
        "A bar is a trial with its number, replicates included. Between bars a worker has no trial: it is being "
        "started or replaced, waits for the study or for MLflow, or the sweep was stopped and continued. A trial that "
        "was paused or interrupted has several bars; an attempt whose process died has none.",
    )


def _described(trial: FrozenTrial) -> str:
    """Return a trial's label, shown on hover."""
    values = (f"{key} {_short(value)}" for key, value in trial.params.items())
    return "\n".join([f"trial {trial.number}, {in_words(outcome(trial))}", *values])


UNITS = {"coreml_bytes": "bytes", "keras_bytes": "bytes in Keras", "macs": "MACs", "host_latency_ms": "ms on the host"}


def _amount(figure: str, value: float) -> str:
    """Return a trial's figure with its unit."""
    if figure in OBJECTIVES:
        return f"{SPELLED_OUT[figure]} {value:.4f}"
    return f"{value:,.0f} {UNITS.get(figure, SPELLED_OUT[figure])}" if value >= 100 else f"{value:.3g} {UNITS[figure]}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
