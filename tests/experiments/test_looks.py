"""Looks at test images are counted, from any number of processes, and are the one way to the images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from experiments import datasets
from experiments.datasets import Split
from experiments.tracking import Tracker, TrackingError
from experiments.tracking.counted_looks import EARLIER_SHOWN, EXPERIMENT
from tests.support.warm import Program

LOOK = """
import json, sys
from experiments import datasets
from experiments.tracking import Tracker
tracker, data = Tracker(sys.argv[1]), datasets.load("mnist5k")
numbers = [tracker.test_access.look(data, command=sys.argv[2], run_id="r")[1].number for _ in range(6)]
print(json.dumps(numbers))
"""


def test_a_look_is_written_before_the_images_are_handed_out(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker, data = Tracker(uri), datasets.load("mnist5k")
    split, look = tracker.test_access.look(data, command="conversion.promote", run_id="abc")
    assert split is data.test
    assert (look.number, look.dataset, look.dataset_digest, look.earlier) == (1, "mnist5k", data.digest, ())
    assert look.text.startswith("use number 1 of the test split of mnist5k, digest c31602fa7723")
    client = MlflowClient(uri)
    run = client.get_run(look.look_id)
    assert client.get_experiment(run.info.experiment_id).name == EXPERIMENT
    assert run.info.status == "FINISHED"
    assert (run.data.tags["command"], run.data.tags["run_id"]) == ("conversion.promote", "abc")
    (given,) = run.inputs.dataset_inputs
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "testing"}
    _, second = tracker.test_access.look(data, command="conversion.verify", run_id="def")
    assert second.number == 2
    (first,) = second.earlier
    assert (first.number, first.command, first.run_id, first.look_id) == (1, "conversion.promote", "abc", look.look_id)

    other = replace(data, test=Split(data.test.images[:9], data.test.labels[:9]))  # counted by themselves
    assert tracker.test_access.look(other, command="x")[1].number == 1
    assert len(tracker.test_access.looks(data.digest)) == 2
    for _ in range(EARLIER_SHOWN):
        _, last = tracker.test_access.look(data, command="x")
    assert [one.number for one in last.earlier] == list(range(2, EARLIER_SHOWN + 2))


def test_processes_at_the_same_time_lose_none(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    Tracker(uri)
    processes = [Program("tests.support.code", LOOK, uri, name, cwd=tmp_path) for name in "ab"]
    numbers = [json.loads(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    looks = Tracker(uri).test_access.looks(datasets.load("mnist5k").digest)
    assert [look.number for look in looks] == list(range(1, 13))
    assert sorted(look.command for look in looks) == ["a"] * 6 + ["b"] * 6
    for given in numbers:
        assert given == sorted(set(given))


def test_who_cannot_record_does_not_look(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker, data = Tracker(uri), datasets.load("mnist5k")
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 99)
    with pytest.raises(TrackingError):
        tracker.test_access.look(data, command="conversion.promote")


def test_a_deleted_experiment_is_one_line(tmp_path: Path) -> None:
    from architectures.errors import ProjectError

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker, data = Tracker(uri), datasets.load("mnist5k")
    tracker.test_access.look(data, command="x")
    client = MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    with pytest.raises(ProjectError, match="'test-looks' is deleted. Restore it: mlflow experiments restore"):
        tracker.test_access.look(data, command="x")


def test_the_search_never_has_the_test_images(tmp_path: Path) -> None:
    from search.engines.shared_data import open_dataset, save_dataset

    save_dataset(datasets.load("mnist5k"), tmp_path)
    assert len(open_dataset(tmp_path).test) == 0
    images = datasets.load("mnist5k").test.images
    assert not any((images[0] == image).all() for image in np.load(tmp_path / "val_images.npy"))
