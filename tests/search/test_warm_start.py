"""A study starts where earlier ones of other data did best: from what, in what order, recorded where, and only once."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from architectures import registry
from architectures.errors import UsageError
from benchmarks.no_training import ARCHITECTURES, NoTraining
from search.config import SweepConfig
from search.engines.messages import KnownArchitecture
from search.orchestrate import SweepResult, sweep
from search.study.portfolio import CONFIGURATIONS
from search.study.warm_starts import fitting, starts
from tests.support.sweeps import children_of, parents_of, study_of

THREE = (
    KnownArchitecture("a", 8, 0.2, None, (("size", (3, 5)),)),
    KnownArchitecture("b", 8, 0.0, None),
    KnownArchitecture("c", 8, 0.0, None),
)
BEGAN = datetime(2026, 11, 29)


def config_of(study: str, **options: object) -> SweepConfig:
    usual: dict[str, object] = {"trials": 4, "epochs": 1, "keep": 1, "figures": False}
    return SweepConfig("sqlite:///mlflow.db", study, **usual | options)


def past(
    storage: str, name: str, digest: str, figures: dict[str, tuple[float, int]], objective: str = "val_accuracy"
) -> None:
    """An earlier study, with what each architecture reached in how many seconds."""
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    study.set_user_attr("config", replace(config_of(name), objectives=(objective,)).recorded())
    study.set_user_attr("dataset_digest", digest)
    for architecture, (value, seconds) in figures.items():
        distributions = {"architecture": CategoricalDistribution(tuple(figures)), "dropout": FloatDistribution(0, 1)}
        trial = optuna.trial.create_trial(
            params={"architecture": architecture, "dropout": 0.25}, distributions=distributions, value=value
        )
        trial.datetime_start, trial.datetime_complete = BEGAN, BEGAN + timedelta(seconds=seconds)
        study.add_trial(trial)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'past.db'}"


def found(storage: str, warm_start: str, digest: str = "new", **options: object) -> list[tuple[object, str]]:
    config = config_of("new", storage=storage, warm_start=warm_start, architectures=("a", "b", "c"), **options)
    held = optuna.storages.RDBStorage(storage)
    return [(start.values["architecture"], start.source) for start in starts(held, config, digest, THREE)]


def test_the_quickest_of_those_as_good_as_the_best_come_first(storage: str) -> None:
    past(storage, "old", "other", {"a": (0.980, 90), "b": (0.978, 10), "c": (0.90, 1), "gone": (0.99, 1)})
    assert found(storage, "auto") == [("b", "old/1"), ("a", "old/0"), ("c", "old/2")] == found(storage, "old")
    assert found(storage, "off") == []


def test_the_latest_study_of_each_other_data_counts(storage: str) -> None:
    past(storage, "first", "other", {"c": (0.99, 1)})
    past(storage, "second", "other", {"a": (0.95, 10), "b": (0.90, 10)})
    past(storage, "own", "new", {"c": (0.99, 1)})
    past(storage, "by loss", "third", {"c": (0.99, 1)}, objective="val_loss")
    past(storage, "empty", "fourth", {})
    assert found(storage, "auto") == [("a", "second/0"), ("b", "second/1")]
    past(storage, "third", "further", {"b": (0.99, 10), "a": (0.90, 10)})
    # b: 0 and 5 points behind; a: 9 and 0.
    assert found(storage, "auto") == [("b", "third/0"), ("a", "third/1")]
    assert found(storage, "own") == [("c", "own/0")]
    with pytest.raises(UsageError, match="--warm-start by loss was judged by val_loss, and this study is by val_acc"):
        found(storage, "by loss")
    with pytest.raises(UsageError, match="--warm-start gone is no earlier study in .* It holds: third, empty, by loss"):
        found(storage, "gone")


def test_a_storage_without_a_past_suggests_nothing(storage: str) -> None:
    assert found(storage, "auto") == []


def test_only_what_the_space_allows_is_taken_over() -> None:
    earlier = {"architecture": "a", "a.size": 5, "batch_size": 512, "dropout": 0.6, "filters": 16, "momentum": 0.9}
    space = config_of("s", architectures=("a",)).space
    assert fitting(space, THREE[0], earlier) == {"architecture": "a", "a.size": 5, "dropout": 0.2, "filters": 16}
    stepped = replace(space, dropout=(0.0, 0.6, 0.3))
    assert fitting(stepped, THREE[0], earlier)["dropout"] == 0.6


def test_the_portfolio_has_one_configuration_of_an_architecture_all_of_the_default_space() -> None:
    names = [str(values["architecture"]) for values in CONFIGURATIONS]
    assert len({*names}) == len(names)
    known = [KnownArchitecture(name, registry.get(name).default_filters, 0.2, None) for name in names]
    space = config_of("new", architectures=tuple(names)).space
    for values in CONFIGURATIONS:
        assert space.configuration(values, known) == values
        assert values.keys() == {"architecture", "batch_size", "dropout", "filters"}


@pytest.mark.parametrize("options", [{}, {"warm_start": "portfolio"}])
def test_a_sweep_starts_from_the_portfolio_whatever_the_storage_holds(
    options: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default as well, which it does not say."""
    monkeypatch.chdir(tmp_path)
    past("sqlite:///optuna.db", "old", "other", {"malireddi": (0.95, 10)})
    run("night", trials=3, **options)
    place, chollet = next(one for one in enumerate(CONFIGURATIONS, 1) if one[1]["architecture"] == "chollet")
    first, second, third = study_of(tmp_path, "night").trials
    assert (first.params, first.user_attrs["warm_start"]) == (chollet, f"portfolio/{place}")
    assert (second.params["architecture"], second.params["dropout"]) == ("malireddi", 0.2)
    assert not any("warm_start" in trial.user_attrs for trial in (second, third))
    (parent,) = parents_of(tmp_path, "night")
    assert parent.data.params["warm_start"] == "portfolio"
    assert parent.data.tags["warm_started_from"] == f"portfolio/{place}"
    said = f"warm start: chollet from portfolio/{place}" in capsys.readouterr().err
    assert said == bool(options)


@pytest.mark.parametrize(
    "options",
    [
        {"max_coreml_bytes": 100_000},
        {"objectives": ("val_accuracy", "coreml_bytes")},
        {"sampler": "bruteforce"},
        {"enqueue": ({"architecture": "a"},)},
        {"warm_start": "off"},
    ],
)
def test_a_search_that_it_does_not_suit_starts_as_published(options: dict[str, object], storage: str) -> None:
    named = [KnownArchitecture(str(values["architecture"]), 8, 0.2, None) for values in CONFIGURATIONS]
    config = config_of("new", architectures=tuple(known.name for known in named))
    held = optuna.storages.RDBStorage(storage)
    assert len(starts(held, config, "new", named)) == len(CONFIGURATIONS)
    assert not starts(held, replace(config, **options), "new", named)


def test_a_study_that_is_older_than_the_option_goes_on_as_published() -> None:
    config = config_of("old")
    older = {key: value for key, value in json.loads(config.recorded()).items() if key != "warm_start"}
    assert config.continuing(json.dumps(older)).warm_start == "off"


def run(study: str, **options: object) -> SweepResult:
    config = config_of(study, **options)
    return sweep(replace(config, given=(*config.asked, *options)), engine=lambda _: NoTraining())


def test_a_sweep_starts_there_once_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    past("sqlite:///optuna.db", "old", "other", {"malireddi": (0.95, 10)})
    result = run("night", warm_start="auto", trials=2)
    assert "warm start: malireddi from old/0" in capsys.readouterr().err
    run("night", trials=4)
    trials = study_of(tmp_path, "night").trials
    assert [trial.user_attrs.get("warm_start") for trial in trials] == ["old/0", None, None, None]
    assert (trials[0].params["architecture"], trials[0].params["dropout"]) == ("malireddi", 0.25)
    published = next(known for known in ARCHITECTURES if known.name == "chollet")
    assert (trials[1].params["architecture"], trials[1].params["dropout"]) == ("chollet", published.default_dropout)
    (parent,) = parents_of(tmp_path, "night")
    assert (parent.data.params["warm_start"], parent.data.tags["warm_started_from"]) == ("auto", "old/0")
    runs = children_of(tmp_path, "night")
    assert [one.data.tags.get("warm_start") for one in runs] == ["old/0", None, None, None]
    assert result.parent_run_id == parent.info.run_id
    with pytest.raises(UsageError, match="was made with warm_start auto, not off"):
        run("night", warm_start="off")
