"""Runs by name and by the beginning of their ids; the experiment that is shown where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from architectures.errors import ProjectError, UsageError
from experiments.tracking import Tracker
from tests.support.commands import Command


@pytest.fixture
def store(tmp_path: Path) -> tuple[Tracker, MlflowClient]:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return Tracker(uri), MlflowClient(uri, uri)


def add(client: MlflowClient, experiment: str, name: str, **tags: str) -> str:
    """A run of a trial."""
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    run = client.create_run(experiment_id, run_name=name, tags=tags)
    client.log_param(run.info.run_id, "architecture", "pocket")
    return run.info.run_id


def test_a_run_by_its_name_and_by_the_beginning_of_its_id(store: tuple[Tracker, MlflowClient]) -> None:
    tracker, client = store
    first = add(client, "mnist5k", "malireddi-3", study="day")
    other = add(client, "photos", "it's a run", study="day")
    deleted = add(client, "mnist5k", "malireddi-3", study="day")
    client.delete_run(deleted)
    for given, found in (("malireddi-3", first), (first, first), (first[:12], first), ("it's a run", other)):
        assert tracker.runs.get(given).run_id == found
    for given in ("malireddi", first[:12].upper() + "x", "", "%", f"{first[:6]}%", "z" * 32, "0" * 32):
        with pytest.raises(UsageError, match="Unknown run"):
            tracker.runs.get(given)


def test_a_run_of_a_deleted_experiment_is_not_called_unknown(store: tuple[Tracker, MlflowClient]) -> None:
    tracker, client = store
    run_id = add(client, "photos", "pocket-3")
    add(client, "mnist5k", "pocket-4")
    experiment_id = client.get_experiment_by_name("photos").experiment_id
    client.delete_experiment(experiment_id)
    for given in ("pocket-3", run_id[:12]):
        with pytest.raises(
            ProjectError, match=rf"'photos' is deleted\. Restore it: .* --experiment-id {experiment_id}\."
        ):
            tracker.runs.get(given)
    assert tracker.runs.get(run_id).run_id == run_id


def test_what_names_several_runs_is_told_with_each(store: tuple[Tracker, MlflowClient]) -> None:
    tracker, client = store
    ids = [add(client, "mnist5k", "pocket-4", study=study) for study in ("day", "night")]
    with pytest.raises(UsageError, match="not one run but several") as error:
        tracker.runs.get("pocket-4")
    for run_id, study in zip(ids, ("day", "night"), strict=True):
        assert f"{run_id} (pocket-4 of {study})" in str(error.value)
    beginnings = {add(client, "mnist5k", "x")[0] for _ in range(20)}  # of sixteen, so two runs share one
    shared = next(one for one in beginnings if sum(run_id[0] == one for run_id in all_ids(client)) > 1)
    with pytest.raises(UsageError, match="not one run but several"):
        tracker.runs.get(shared)
    assert tracker.runs.get(ids[0][:20]).run_id == ids[0]


def all_ids(client: MlflowClient) -> list[str]:
    experiments = [each.experiment_id for each in client.search_experiments()]
    return [run.info.run_id for run in client.search_runs(experiments)]


def test_the_experiment_that_is_shown(store: tuple[Tracker, MlflowClient], command: Command) -> None:
    tracker, client = store
    assert tracker.runs.usual_experiment("mnist5k") == "mnist5k"
    assert "Unknown experiment 'mnist5k'" in command("experiments.leaderboard").error
    add(client, "photos", "pocket-0")
    add(client, "signs", "pocket-1")
    look = client.create_run(client.create_experiment("test-looks"), run_name="look")  # no training run
    assert look
    assert tracker.runs.usual_experiment("mnist5k") == "signs"
    shown = command("experiments.leaderboard", "--json")
    assert (shown.code, shown.json["experiment"]) == (0, "signs")
    add(client, "mnist5k", "pocket-2")
    add(client, "photos", "pocket-3")
    assert tracker.runs.usual_experiment("mnist5k") == "mnist5k"
    assert command("experiments.leaderboard", "--json").json["experiment"] == "mnist5k"
    assert command("experiments.leaderboard", "--json", "--experiment", "photos").json["experiment"] == "photos"
    add(client, "signs", "pocket-4", study="day")
    assert command("experiments.leaderboard", "--json", "--study", "day").json["experiment"] == "signs"
    unknown = command("experiments.leaderboard", "--study", "night")
    assert "Unknown study 'night' in experiment 'mnist5k'" in unknown.error


def test_several_architectures_in_one_option(store: tuple[Tracker, MlflowClient], command: Command) -> None:
    from search.sweep import parser

    for given in (["a,b", "c"], ["a", "b , c"], ["a,b,c"]):
        arguments = [part for one in given for part in ("--architecture", one)]
        assert parser().parse_args(arguments).architectures == ["a", "b", "c"]
    add(store[1], "mnist5k", "pocket-0")
    found = command("experiments.leaderboard", "--architecture", "pocket,nope")
    assert found.code == 2
    assert "Unknown architecture 'nope'" in found.error
    for module in ("search.sweep", "experiments.leaderboard"):
        assert "empty name" in command(module, "--architecture", "a,,b").error


def test_files_without_their_format_are_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments import datasets

    monkeypatch.chdir(tmp_path)
    (tmp_path / "ph/cats").mkdir(parents=True)
    (tmp_path / "mnist2").mkdir()
    (tmp_path / "mnist2/train-images.idx3-ubyte.gz").touch()
    (tmp_path / "signs.npz").touch()
    for given, meant in (
        ("ph", "folder:ph"),
        ("./ph", "folder:./ph"),
        (str(tmp_path / "ph"), f"folder:{tmp_path / 'ph'}"),
        ("mnist2", "idx:mnist2"),
        ("signs.npz", "npz:signs.npz"),
    ):
        with pytest.raises(UsageError, match="Unknown data set") as error:
            datasets.load(given)
        assert f"Did you mean {meant}? Registered: " in str(error.value)
        with pytest.raises(UsageError, match="--image-size: for --dataset folder:DIR alone") as error:
            datasets.located(given, datasets.Options((32, 32)))
        assert str(error.value).endswith(f" Did you mean {meant}?")
    for given in ("nothing", ""):
        with pytest.raises(UsageError) as error:
            datasets.load(given)
        assert "Did you mean" not in str(error.value)
