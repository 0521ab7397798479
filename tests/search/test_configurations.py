"""A configuration that is made in Python is held to what the command line allows, by the same declaration."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from architectures.command import Parser
from architectures.errors import UsageError
from architectures.fields import allowed, as_recorded, validate
from conversion import promote
from conversion.promotion.config import PromoteConfig
from experiments.config import AUGMENTATIONS, RunConfig
from experiments.datasets import Dataset, Split
from experiments.tracking import RunRecord
from search import orchestrate, sweep, trial
from search.config import SweepConfig
from search.engines.messages import KnownArchitecture
from search.setup import resolve_augmentation
from search.trials.config import TrialConfig

MAKE: dict[type, Callable[..., Any]] = {
    RunConfig: partial(RunConfig, architecture="pocket", dataset="mnist5k", filters=8, dropout=0.1),
    SweepConfig: partial(SweepConfig, tracking_uri="sqlite:///mlflow.db", study="night"),
    TrialConfig: partial(TrialConfig, tracking_uri="sqlite:///mlflow.db", architecture="pocket"),
    PromoteConfig: partial(PromoteConfig, tracking_uri="sqlite:///mlflow.db"),
}
PARSERS = {SweepConfig: sweep.parser, TrialConfig: trial.parser, PromoteConfig: promote.parser}
# Given one by one; a file; split at commas.
OTHERWISE = {"plugins", "knobs", "enqueue", "architectures", "architecture"}


@pytest.mark.parametrize(
    ("config", "field", "value", "told"),
    [
        (RunConfig, "optimizer", "", "RunConfig.optimizer: '' is not a name"),
        (RunConfig, "momentum", 1.0, "1.0 is out of range: at least 0 and below 1"),
        (TrialConfig, "momentum", -0.1, "TrialConfig.momentum: -0.1 is out of range: at least 0 and below 1"),
        (SweepConfig, "momentum", (0.9, 1.0), "1.0 is out of range"),
        (RunConfig, "filters", 0, "RunConfig.filters: 0 is too small: at least 1."),
        (RunConfig, "filters", 8.0, "8.0 is not a whole number"),
        (RunConfig, "filters", True, "True is not a whole number"),
        (RunConfig, "dropout", 1.0, "1.0 is out of range: at least 0 and below 1"),
        (RunConfig, "dropout", float("nan"), "nan is out of range"),
        (RunConfig, "batch_size", "128", "'128' is not a whole number"),
        (RunConfig, "learning_rate", 1.5, "1.5 is out of range"),
        (RunConfig, "schedule", "linear", "'linear' is not among cosine, constant"),
        (RunConfig, "epochs", -1, "-1 is too small"),
        (RunConfig, "seed", 2**32, "4294967296 is too large: at most 4294967295"),
        (RunConfig, "precision", "auto", "'auto' is not among float32, mixed_bfloat16"),
        (RunConfig, "augment", True, "True is not among off, digits, photo"),
        (RunConfig, "label_smoothing", -0.1, "-0.1 is out of range"),
        (RunConfig, "compress", "zip", "'zip' is not among none, float16"),
        (RunConfig, "knobs", (("blocks", None),), "None is not int or float or bool or str"),
        (SweepConfig, "study", "a/b", "'a/b' is not a name"),
        (SweepConfig, "trials", -1, "SweepConfig.trials: -1 is too small: at least 1."),
        (
            SweepConfig,
            "objectives",
            ("speed",),
            "'speed' is not an objective: choose from val_accuracy, val_balanced_accuracy, val_loss",
        ),
        (SweepConfig, "objectives", "val_accuracy", "is not an objective"),
        (SweepConfig, "architectures", "pocket", "'pocket' is not a tuple"),
        (SweepConfig, "batch_sizes", (), "it is empty: give at least 1"),
        (SweepConfig, "batch_sizes", (64, 64), "it holds 64 twice"),
        (SweepConfig, "filters", (8, 0), "0 is too small"),
        (SweepConfig, "dropout", (0.5, 0.1), "0.5:0.1 is an empty range: write the lower bound first, 0.1:0.5"),
        (SweepConfig, "dropout", 0.5, "0.5 is not a pair of numbers"),
        (SweepConfig, "learning_rate", (1e-9, 0.1), "1e-09 is out of range"),
        (SweepConfig, "augment", "sometimes", "'sometimes' is not among on, off, digits, photo, search"),
        (SweepConfig, "workers", 0, "SweepConfig.workers: 0 is too small: at least 1 (or auto)."),
        (SweepConfig, "workers", "many", "'many' is not a whole number (or auto)"),
        (SweepConfig, "timeout", 0, "0 is out of range"),
        (SweepConfig, "pruner", "random", "'random' is not among auto, halving"),
        (SweepConfig, "engine", "dask", "'dask' is not among local, ray"),
        (SweepConfig, "takeover_after", 1, "1 is too small: at least 2"),
        (SweepConfig, "gpus_per_trial", 1.5, "1.5 is neither a share of one GPU"),
        (SweepConfig, "cpus_per_trial", 2, "--cpus-per-trial needs --engine ray."),
        (SweepConfig, "register_as", "a:b", "'a:b' is not a name"),
        (SweepConfig, "enqueue", ("pocket",), "'pocket' is not"),
        (TrialConfig, "epochs", 0, "TrialConfig.epochs: 0 is too small: at least 1."),
        (TrialConfig, "learning_rate", 0, "0 is out of range"),
        (PromoteConfig, "version", 0, "PromoteConfig.version: 0 is too small: at least 1."),
        (PromoteConfig, "min_accuracy", 98, "98 is out of range: at least 0 and at most 1"),
        (PromoteConfig, "max_bytes", -5, "-5 is too small"),
        (PromoteConfig, "format", "onnx", "'onnx' is not among mlmodel, mlpackage"),
        (PromoteConfig, "compress", "zip", "'zip' is not among none"),
        (PromoteConfig, "output", "", "it is empty: give a file or a folder"),
        (PromoteConfig, "plugins", ("",), "'' is not a module's name or a path ending in .py"),
        (PromoteConfig, "forced_reason", " ", "PromoteConfig.forced_reason is empty"),
    ],
)
def test_a_value_that_the_command_line_refuses_is_refused(config: type, field: str, value: object, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        MAKE[config](**{field: value})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("config", MAKE)
def test_no_field_takes_just_anything(config: type) -> None:
    for field in fields(config):
        with pytest.raises(UsageError, match=rf"{config.__name__}\.{field.name}: "):
            MAKE[config](**{field.name: object()})


@pytest.mark.parametrize("config", PARSERS)
def test_options_and_fields_have_one_declaration(config: type) -> None:
    made: Parser = PARSERS[config]()
    known = {field.name for field in fields(config)} - OTHERWISE
    typed = {action.dest: action.type for action in made._actions if action.dest in known and action.type}
    assert {"epochs", "filters"} <= typed.keys() or {"version", "max_bytes"} <= typed.keys()
    for field, kind in typed.items():
        assert kind == allowed(config, field), field


def test_values_are_kept_as_the_command_line_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = MAKE[SweepConfig](batch_sizes=[64, np.int64(128)], dropout=[0, 0.5], plugins=["mine.py", "their.module"])
    assert (made.batch_sizes, made.dropout) == ((64, 128), (0.0, 0.5))
    assert type(made.batch_sizes[1]) is int
    assert made.plugins == (str(tmp_path / "mine.py"), "their.module")
    assert MAKE[PromoteConfig](plugins=["mine.py"]).plugins == (str(tmp_path / "mine.py"),)
    twice = MAKE[SweepConfig](architectures=("pocket", "chollet", "pocket"), plugins=("mine.py", "./mine.py"))
    assert (twice.architectures, len(twice.plugins)) == (("pocket", "chollet"), 1)
    assert MAKE[PromoteConfig](output="build/").output == "build/"  # a folder; the model decides the file's name
    assert replace(made, trials=3).batch_sizes == (64, 128)
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    ("config", "field", "value", "kept"),
    [
        (RunConfig, "schedule", np.str_("cosine"), "cosine"),
        (RunConfig, "compress", np.str_("int8"), "int8"),
        (RunConfig, "augment", np.str_("photo"), "photo"),
        (RunConfig, "architecture", np.str_("pocket"), "pocket"),
        (RunConfig, "knobs", ((np.str_("blocks"), np.int64(3)),), (("blocks", 3),)),
        (SweepConfig, "study", np.str_("day"), "day"),
        (SweepConfig, "plugins", (np.str_("their.module"),), ("their.module",)),
    ],
)
def test_what_numpy_holds_is_kept_as_python_has_it(config: type, field: str, value: object, kept: object) -> None:
    found = getattr(MAKE[config](**{field: value}), field)
    assert (repr(found), found) == (repr(kept), kept)


def test_a_number_is_no_boolean() -> None:
    for value in (1, np.int64(1)):
        with pytest.raises(UsageError, match="is not True or False"):
            MAKE[SweepConfig](figures=value)


def test_a_record_without_a_required_value_is_none() -> None:
    with pytest.raises(TypeError, match=r"SweepConfig needs 'study'\."):
        as_recorded(SweepConfig, tracking_uri="")


def test_one_model_is_promoted() -> None:
    with pytest.raises(UsageError, match="run_id or version, not both"):
        MAKE[PromoteConfig](run_id="a" * 32, version=2)


def test_an_older_record_stays_readable() -> None:
    """A run from before may have recorded what is refused today; its row stays in the leaderboard."""
    params = {key: str(value) for key, value in MAKE[RunConfig]().parameters().items()} | {"optimizer": "banana"}
    record = RunRecord("a" * 32, "pocket-1", "FINISHED", params, {}, {})
    assert record.config.optimizer == "banana"
    assert replace(record, params=params | {"optimizer": "adam"}).config == MAKE[RunConfig]()


def test_a_study_from_before_is_continued_with_what_it_recorded() -> None:
    recorded = as_recorded(SweepConfig, tracking_uri="", study="a/b", keep=0).recorded()
    continued = MAKE[SweepConfig](trials=20, given=("trials",)).continuing(recorded)
    assert (continued.study, continued.keep, continued.trials) == ("night", 0, 20)


@pytest.mark.parametrize(
    ("recorded", "means", "choices"),
    [
        ("on", "digits", None),
        ("off", "off", None),
        ("search", "search off or digits", (False, True)),
    ],
)
def test_augmentation_of_a_study_from_before_there_was_more_than_one_kind(
    recorded: str, means: str, choices: tuple[bool, ...] | None
) -> None:
    record = json.loads(MAKE[SweepConfig](augment=recorded).recorded())
    record = {key: value for key, value in record.items() if key not in ("mixup", "cutmix")}
    continued = MAKE[SweepConfig](given=()).continuing(json.dumps(record))
    assert continued.augment == means
    validate(continued)
    known = (KnownArchitecture("pocket", 8, 0.1, None),)
    space = replace(continued.space, architectures=("pocket",))
    study = optuna.create_study()
    trials = [study.ask() for _ in range(12)]
    drawn = {space.suggest(trial, known).augment for trial in trials}
    assert drawn == ({"off", "digits"} if choices else {means})
    if choices:
        assert trials[0].distributions["augment"] == optuna.distributions.CategoricalDistribution(choices)
    again = MAKE[SweepConfig](given=()).continuing(continued.recorded())  # and once more, from what it records then
    assert again.augment == means


def test_a_study_chooses_between_all_kinds_of_augmentation() -> None:
    space = MAKE[SweepConfig](augment="search", architectures=("pocket",)).space
    study = optuna.create_study()
    assert {space.suggest(study.ask(), (KnownArchitecture("pocket", 8, 0.1, None),)).augment for _ in range(20)} == {
        *AUGMENTATIONS
    }
    assert space.configuration({"augment": "photo"}, ()) == {"augment": "photo"}


def test_options_agree_with_the_augmentation_that_a_study_has_recorded() -> None:
    recorded = MAKE[SweepConfig](augment="photo").recorded()
    for given in ({}, {"augment": "on"}, {"augment": "photo"}):
        assert MAKE[SweepConfig](**given, given=tuple(given)).continuing(recorded).augment == "photo"
    with pytest.raises(UsageError, match="made with augment photo, not digits"):
        MAKE[SweepConfig](augment="digits").continuing(recorded)
    with pytest.raises(UsageError, match="made with augment off, not on"):
        MAKE[SweepConfig](given=("augment",)).continuing(MAKE[SweepConfig](augment="off").recorded())


@pytest.mark.parametrize("given", [("trails",), ("trials", "trails", "seeds")])
def test_only_fields_are_given(given: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"given holds '.*': it takes names of fields of SweepConfig\."):
        MAKE[SweepConfig](given=given)


@pytest.mark.parametrize(("channels", "kind"), [(1, "digits"), (3, "photo")])
def test_augmentation_that_suits_the_data(channels: int, kind: str) -> None:
    images = Split(np.zeros((2, 8, 8, channels), np.uint8), np.zeros(2, np.int64))
    dataset = Dataset("some", ("a", "b"), images, images, images)
    assert resolve_augmentation("on", dataset) == kind
    assert [resolve_augmentation(given, dataset) for given in ("off", "digits", "photo", "search")] == [
        *("off", "digits", "photo", "search")
    ]


@pytest.mark.parametrize(("text", "kind"), [("True", "digits"), ("False", "off"), ("photo", "photo")])
def test_augmentation_of_a_run_from_before_there_was_more_than_one_kind(text: str, kind: str) -> None:
    params = {key: str(value) for key, value in MAKE[RunConfig]().parameters().items()} | {"augment": text}
    assert RunRecord("a" * 32, "pocket-1", "FINISHED", params, {}, {}).config.augment == kind


def test_a_study_that_recorded_what_is_refused_today_ends_at_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = optuna.create_study(study_name="old", storage="sqlite:///optuna.db")
    study.set_user_attr("config", as_recorded(SweepConfig, tracking_uri="", study="old", filters=(0,)).recorded())
    config = SweepConfig("sqlite:///mlflow.db", "old")
    with pytest.raises(UsageError, match=r"'old' cannot be continued .*SweepConfig\.filters: 0 is too small"):
        orchestrate.sweep(config, engine=lambda _: pytest.fail("it was started"))
    assert not (tmp_path / "mlflow.db").exists()
