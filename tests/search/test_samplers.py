"""Samplers by name: what each draws, that a seed decides it, what does not fit, and what a grid's end is."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from architectures.errors import ProjectError, UsageError
from architectures.fields import InvalidValue, Number, NumberRange
from architectures.ranges import numbers
from benchmarks.no_training import ARCHITECTURES, NoTraining
from search.config import EXHAUSTIVE, SAMPLERS, SweepConfig
from search.engines.messages import KnownArchitecture
from search.grid import Grid, grid_of
from search.orchestrate import SweepResult, sweep
from search.study import sampling
from search.study.sampling import check_sampler, sampler_note
from search.study.study import Study
from tests.support.commands import Command
from tests.support.sweeps import parents_of, study_of

INSTALLED = [
    name for name in SAMPLERS if name not in sampling.PACKAGES or importlib.util.find_spec(sampling.PACKAGES[name][0])
]
STEPPED = {"dropout": (0.0, 0.4, 0.2), "batch_sizes": (64, 128), "filters": (4,)}
KNOBBED = (KnownArchitecture("a", 8, 0.2, None, (("size", (3, 5)),)), KnownArchitecture("b", None, 0.0, None))


def config_of(**options: object) -> SweepConfig:
    usual: dict[str, object] = {"epochs": 1, "trials": 8, "figures": False, "keep": 1}
    return SweepConfig("sqlite:///mlflow.db", "night", **usual | options)


def drawn_by(folder: Path, config: SweepConfig) -> Iterator[dict[str, object]]:
    """The configurations that a study draws, each told a value that depends on it."""
    config = replace(config, storage=f"sqlite:///{folder / 'drawn.db'}", architectures=tuple(a.name for a in KNOBBED))
    study = Study(config)
    study.create(config, "parent", "digest", [])
    if config.sampler in EXHAUSTIVE:
        study.trials.grid = grid_of(config.space, KNOBBED)
    while asked := study.trials.ask(KNOBBED, "worker"):
        study.facts.record_size(asked.trial, {"coreml_bytes": 100})
        value = random.Random(str(asked.trial.params)).random()
        study.trials.tell(asked.trial.number, optuna.trial.TrialState.COMPLETE, value, run_id="run")
        yield asked.trial.params


QUICK = ("tpe", "grid")  # one that draws and one that counts


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in INSTALLED]
)
def test_a_seed_decides_what_is_drawn(name: str, tmp_path: Path) -> None:
    options = STEPPED if name in EXHAUSTIVE else {"learning_rate": (1e-4, 1e-2)}
    config = config_of(sampler=name, trials=9, **options)
    folders = [tmp_path / one for one in ("first", "again", "other")]
    for folder in folders:
        folder.mkdir()
    first, again = (list(drawn_by(folder, config)) for folder in folders[:2])
    other = list(drawn_by(folders[2], replace(config, seed=1)))
    assert first == again != other
    assert len({str(sorted(one.items())) for one in first}) == 9
    assert {one["architecture"] for one in first} == {"a", "b"}
    assert all(("a.size" in one) == ("filters" in one) == (one["architecture"] == "a") for one in first)


@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_all_combinations_are_tried_once(name: str, tmp_path: Path) -> None:
    config = config_of(sampler=name, trials=50, learning_rate=(1e-3, 1e-3), **STEPPED)
    grid = grid_of(config.space, KNOBBED)
    assert grid.size == 2 * 3 * 2 + 2 * 3  # batch sizes, rates of dropout, and the knob of one of the two
    tried = list(drawn_by(tmp_path, config))
    assert sorted(filter(None, map(grid.number, tried))) == [*range(1, grid.size)]
    assert sampler_note(config, KNOBBED) == f"{name}: 18 combinations; all are tried"
    assert sampler_note(replace(config, trials=5), KNOBBED) == f"{name}: 18 combinations; --trials 5 tries 5 of them"


def test_combinations_have_numbers() -> None:
    grid = Grid((("a", {"x": (1, 2), "y": (0.1, 0.2, 0.3)}), ("b", {"x": (1, 2)})))
    combinations = [grid.combination(number) for number in range(grid.size)]
    assert len({str(one) for one in combinations}) == grid.size == 8
    assert [grid.number(one) for one in combinations] == [*range(8)]
    assert grid.number({"architecture": "b", "x": 3}) is grid.number({"architecture": "c"}) is None
    left = [grid.untried({0, 1, 2, 4, 5, 6}, random.Random(seed)) for seed in range(20)]
    assert {grid.number(one) for one in left} == {3, 7}


def of_no_training(**options: object) -> SweepResult:
    return sweep(config_of(**options), engine=lambda _: NoTraining())


def test_a_grid_ends_before_its_trials_are_made_and_remembers_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"dropout": (0.1, 0.3, 0.1), "filters": (4,), "batch_sizes": (64,), "architectures": ("malireddi",)}
    assert of_no_training(sampler="grid", trials=2, **options).counts["complete"] == 2
    assert "grid: 3 combinations; --trials 2 tries 2 of them" in capsys.readouterr().err
    again = of_no_training(trials=20)
    assert (again.counts["complete"], again.interrupted) == (3, False)
    (parent,) = parents_of(tmp_path, "night")
    assert (parent.info.status, parent.data.params["sampler"]) == ("FINISHED", "grid")
    assert sorted(trial.params["dropout"] for trial in study_of(tmp_path, "night").trials) == [0.1, 0.2, 0.3]
    capsys.readouterr()
    assert of_no_training(trials=20).counts["complete"] == 3
    assert "study night holds all combinations: there is nothing left to try" in capsys.readouterr().err
    with pytest.raises(UsageError, match="was made with sampler grid, not tpe: its trials would not be comparable"):
        sweep(config_of(given=("sampler",)), engine=lambda _: NoTraining())


def test_two_sweeps_share_a_grid(tmp_path: Path) -> None:
    """Each sees what the other one has begun, and an interrupted combination is tried by the other."""
    config = config_of(sampler="grid", trials=50, storage=f"sqlite:///{tmp_path / 'o.db'}", **STEPPED)
    config = replace(config, architectures=("chollet",))
    study = Study(config)
    study.create(config, "parent", "digest", [])
    studies = [study, Study(config)]
    for one in studies:
        one.trials.grid = grid_of(config.space, ARCHITECTURES[:1])
    asked = [one.trials.ask(ARCHITECTURES[:1], "worker") for one in studies * 3]
    assert len({str(one and one.trial.params) for one in asked}) == 6
    assert [one.trials.ask(ARCHITECTURES[:1], "worker") for one in studies] == [None, None]
    assert asked[0] is not None
    studies[0].trials.requeue(0)
    again = studies[1].trials.ask(ARCHITECTURES[:1], "worker")
    assert again is not None
    assert (again.trial.number, again.trial.params) == (0, asked[0].trial.params)
    assert not studies[1].trials.is_done()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sampler": "grid"},
            "--sampler grid tries each combination once, but --dropout 0:0.5 is continuous: add a step, such as "
            "--dropout 0:0.5:0.125, or give a single number.",
        ),
        (
            {"sampler": "bruteforce", "dropout": (0.2, 0.2), "learning_rate": (1e-4, 1e-2)},
            "--learning-rate 0.0001:0.01 is continuous: add a step, such as --learning-rate 0.0001:0.01:10, or give a "
            "single number.",
        ),
        (
            {"sampler": "cmaes", "dropout": (0.2, 0.2)},
            "--sampler cmaes draws numbers from ranges, and here everything is a choice. Give a range, such as "
            "--learning-rate 1e-4:1e-2. Choose tpe, gp, random, grid or bruteforce.",
        ),
        (
            {"sampler": "cmaes", "objectives": ("val_accuracy", "coreml_bytes")},
            "--sampler cmaes does not fit --objective val_accuracy,coreml_bytes: CMA-ES optimises one figure. Choose "
            "tpe, gp, random, grid or bruteforce.",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_sampler(config_of(**options))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ProjectError, match=r"--sampler gp needs the package torch: pip install 'pocketnets\[gp\]'."):
        check_sampler(config_of(sampler="gp"))
    with pytest.raises(ProjectError, match=r"needs the package cmaes: pip install 'pocketnets\[samplers\]'."):
        check_sampler(config_of(sampler="cmaes"))
    check_sampler(config_of(sampler="random"))


def test_nothing_is_made_where_a_sampler_does_not_fit(command: Command, tmp_path: Path) -> None:
    found = command("search.sweep", "--sampler", "grid")
    assert (found.code, found.error.partition(",")[0]) == (2, "error: --sampler grid tries each combination once")
    assert not (tmp_path / "mlflow.db").exists()


def test_cmaes_says_what_it_does_not_draw() -> None:
    note = sampler_note(config_of(sampler="cmaes", learning_rate=(1e-4, 1e-2)), KNOBBED)
    assert note == "cmaes draws dropout, learning_rate; TPE draws the choices: a.size, batch_size, filters"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:0.5:0", "0 is too small a step from 0 to 0.5"),
        ("0:0.5:1e-9", "1e-09 is too small a step from 0 to 0.5: at most 1,000 steps"),
        ("0:0.5:1e-320", "too small a step"),
        ("0:0.5:0.1:2", "is not a pair of numbers, the lowest and the highest, with or without a step"),
        ("0:0.5:x", "'x' is not a number"),
    ],
)
def test_steps_that_are_none(text: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        NumberRange(Number(0, 1))(text)


@pytest.mark.parametrize(
    ("text", "logarithmic"), [("0.1:0.3:0.2", False), ("0.1:0.7:0.6", False), ("0.001:0.003:3", True)]
)
def test_one_step_may_take_the_whole_range_whatever_rounding_does(text: str, *, logarithmic: bool) -> None:
    low, high, *_ = limits = NumberRange(Number(0, 1), logarithmic=logarithmic)(text)
    assert numbers(limits, logarithmic=logarithmic) == (low, high)
    with pytest.raises(InvalidValue, match="too large a"):
        NumberRange(Number(0, 1), logarithmic=logarithmic)(text.replace(f":{high:g}:", f":{high * 0.99:g}:"))


def test_a_factor_of_one_leads_nowhere() -> None:
    with pytest.raises(InvalidValue, match="1 is too small a factor from 0.001 to 0.1"):
        NumberRange(Number(0, 1), logarithmic=True)("0.001:0.1:1")
