"""Any figure that a run records as an objective, two or three at once: in the study, the store, the tables, figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from architectures.errors import UsageError
from benchmarks.no_training import NoTraining
from experiments.config import RunResult
from experiments.objective import FIGURES, MINIMIZED, final, shown_name
from experiments.views.leaderboard import board
from experiments.views.leaderboard_table import cells, note
from search.config import SweepConfig
from search.engines.messages import Event, Finished
from search.orchestrate import SweepResult, sweep
from search.report.figures import draw_figures
from search.study.pruning import Course, cannot_enter_front
from search.study.ranking import Scored, front_of_objectives
from tests.support.commands import Command
from tests.support.sweeps import children_of, study_of


class Measuring(NoTraining):
    """The wider a network, the longer it takes."""

    def next_event(self, timeout: float | None = None) -> Event | None:
        event = super().next_event(timeout)
        return replace(event, result=_measured(event.result)) if isinstance(event, Finished) else event


def _measured(result: RunResult) -> RunResult:
    milliseconds = result.size.parameters / 1_000
    return replace(result, latency_ms=milliseconds, images_per_second=1_000 / milliseconds)


def swept(study: str, *objectives: str, **changes: object) -> SweepResult:
    options: dict[str, object] = {"trials": 6, "epochs": 2, "keep": 1, "filters": (4, 8, 16), "figures": False}
    config = SweepConfig("sqlite:///mlflow.db", study, objectives=objectives, **options | changes)
    return sweep(config, engine=lambda _: Measuring())


@pytest.mark.parametrize(
    "objectives",
    [
        ("val_accuracy", "macs", "parameters"),  # known before training
        pytest.param(("val_balanced_accuracy", "host_latency_ms"), marks=pytest.mark.slow),
        pytest.param(("val_loss", "val_accuracy", "images_per_second"), marks=pytest.mark.slow),
    ],
)
def test_a_study_and_its_store_hold_all_objectives(
    objectives: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    result = swept("many", *objectives, enqueue=({"filters": 8}, {"filters": 8, "dropout": 0.1}) * 2)
    study = study_of(tmp_path, "many")
    assert study.metric_names == list(map(shown_name, objectives))
    assert [one.name == "MINIMIZE" for one in study.directions] == [name in MINIMIZED for name in objectives]
    runs = children_of(tmp_path, "many")
    complete = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert len(complete) >= 4
    for trial in complete:
        assert trial.values == [runs[trial.number].data.metrics[final(name)] for name in objectives]
    known = [Scored(t.number, 0, 0, costs=tuple(_costs(objectives, t))) for t in complete if not _answered(t)]
    leading = {one.number for one in front_of_objectives(known)}
    marked = {int(row.run.rpartition("-")[2]) for row in result.leaderboard if row.pareto}
    assert marked == leading
    assert {row.run_id for row in result.leaderboard if row.version} >= {runs[number].info.run_id for number in leading}
    shown = board("sqlite:///mlflow.db", usual="mnist5k", study="many", limit=2).rows
    assert shown == result.leaderboard[:2]
    assert shown[0].front_of == objectives
    found = command("search.doctor")
    assert (found.code, found.out) == (0, "0 disagreements, 0 repaired.\n")


def _costs(objectives: tuple[str, ...], trial: optuna.trial.FrozenTrial) -> list[float]:
    return [value if name in MINIMIZED else -value for name, value in zip(objectives, trial.values, strict=True)]


def _answered(trial: optuna.trial.FrozenTrial) -> bool:
    return "duplicate_of" in trial.user_attrs


@pytest.mark.slow
def test_tables_and_figures_name_the_objectives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = swept("named", "val_accuracy", "macs", "images_per_second")
    titles, _ = cells(result.leaderboard)
    assert {"MACs", "images/s"} <= {*titles}
    assert "Keras bytes" not in titles
    told = note(result.leaderboard, titles, more=False)
    assert told.startswith("on the Pareto front of accuracy, multiply-accumulates and training images a second")
    figures = {figure.name: figure for figure in draw_figures(study_of(tmp_path, "named"))}
    fronts = [name for name in figures if name.startswith("pareto_front")]
    assert fronts == ["pareto_front", "pareto_front_macs", "pareto_front_images_per_second"]
    assert not any(figures[name].reason for name in fronts)
    assert "training images a second" in figures["pareto_front_images_per_second"].title
    speeds = {trial.values[2] for trial in study_of(tmp_path, "named").trials}
    page = figures["pareto_front_images_per_second"].page
    assert {x for trace in page.data if trace.mode == "markers" for x in trace.x} == speeds
    continued = swept("named", "val_accuracy", "macs", "images_per_second", trials=7)
    assert len(continued.leaderboard) >= len(result.leaderboard)
    with pytest.raises(UsageError, match="made with objectives val_accuracy,macs,images_per_second, not val_accuracy"):
        sweep(
            SweepConfig("sqlite:///mlflow.db", "named", trials=8, given=("objectives",)),
            engine=lambda _: Measuring(),
        )


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("val_accuracy,latency_ms", ("val_accuracy", "host_latency_ms")),
        ("best_val_loss", ("val_loss",)),
        ("coreml_bytes, val_accuracy", ("val_accuracy", "coreml_bytes")),
        ("macs,val_loss,val_accuracy", ("val_loss", "val_accuracy", "macs")),
    ],
)
def test_other_names_and_another_order_are_read(text: str, kept: tuple[str, ...]) -> None:
    assert SweepConfig("", "s", objectives=tuple(text.replace(" ", "").split(","))).objectives == kept


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        (("val_accuracy", "speed"), f"'speed' is not an objective: choose from {', '.join(FIGURES)}"),
        (("macs",), "'macs' does not say which epoch and which model is the best: one of val_accuracy, "),
        (("val_accuracy", "macs", "latency_ms", "parameters"), "at most 3 objectives, not 4"),
        (("val_accuracy", "best_val_accuracy"), "'val_accuracy,best_val_accuracy' holds val_accuracy twice"),
        ((), "'' does not say which epoch"),
    ],
)
def test_what_is_no_objective_is_one_line(objectives: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        SweepConfig("", "s", objectives=objectives)
    assert message in str(refused.value)


def test_several_objectives_are_only_pruned_by_what_is_known_before_training() -> None:
    def pruner(*objectives: str, asked: str = "auto") -> str:
        return SweepConfig("", "s", objectives=objectives, pruner=asked).resolved_pruner

    assert pruner("val_accuracy", "macs", "coreml_bytes") == "halving"
    assert pruner("val_accuracy", "macs", "coreml_bytes", asked="front") == "front"
    assert pruner("val_accuracy", "macs", "latency_ms") == "none"
    with pytest.raises(UsageError, match="latency_ms is not known before a trial has ended. Choose none."):
        pruner("val_accuracy", "latency_ms", asked="front")


def test_no_rival_is_smaller_in_one_size_alone() -> None:
    finished = [Course((100, 900), (0.9, 0.95, 0.99)), Course((900, 100), (0.9, 0.95, 0.99))] * 2
    assert not cannot_enter_front(Course((500, 500), (0.1, 0.1, 0.1)), finished)
    assert cannot_enter_front(Course((500, 900), (0.1, 0.1, 0.1)), finished)
