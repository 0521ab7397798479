"""A configuration is trained once in a study, also where several workers or sweeps start it at the same time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.config import SweepConfig
from search.engines import local
from search.orchestrate import SweepResult, sweep
from tests.support.servers import wait_until
from tests.support.sweeps import assert_nothing_lost, children_of, study_of
from tests.support.untrained import untrained
from tests.support.warm import Program

EPOCHS = 3
TWICE = ({"architecture": "chollet", "dropout": 0.2}, {"architecture": "chollet", "filters": 4})  # the same, as drawn
POINT = {"dropout": (0.2, 0.2), "filters": (4,), "batch_sizes": (64,), "epochs": EPOCHS, "pruner": "none", "keep": 1}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "Worker", local.Worker)  # `untrained` replaces it


def run(trials: int, workers: int = 1, epoch_seconds: float = 0.0, failing: int | None = None) -> SweepResult:
    """A sweep over one point of the space, without training."""
    config = SweepConfig(
        "sqlite:///mlflow.db",
        "same",
        trials=trials,
        workers=workers,
        architectures=("chollet",),
        enqueue=TWICE,
        figures=False,
        **POINT,
    )
    return sweep(config, engine=lambda setup: untrained(setup, workers, epoch_seconds, failing))


def trained(folder: Path) -> list[FrozenTrial]:
    return [trial for trial in study_of(folder, "same").trials if "duplicate_of" not in trial.user_attrs]


@pytest.mark.slow
def test_two_workers_that_start_the_same_train_it_once(tmp_path: Path) -> None:
    assert run(4, workers=2, epoch_seconds=0.3).counts["complete"] == 4
    assert_nothing_lost(tmp_path, "same", 4, EPOCHS)
    assert [trial.number for trial in trained(tmp_path)] == [0]
    assert [trial.user_attrs["duplicate_of"] for trial in study_of(tmp_path, "same").trials[1:]] == [0, 0, 0]


@pytest.mark.slow
def test_a_trial_whose_twin_fails_is_trained(tmp_path: Path) -> None:
    assert run(4, workers=2, epoch_seconds=0.3, failing=0).counts == {
        "complete": 3, "fail": 1, "pruned": 0, "infeasible": 0,
    }  # fmt: skip
    assert_nothing_lost(tmp_path, "same", 4, EPOCHS)
    assert [(trial.number, trial.state) for trial in trained(tmp_path)] == [
        (0, TrialState.FAIL),
        (1, TrialState.COMPLETE),
    ]


def test_the_twin_of_a_sweep_that_is_killed_waits_for_its_other_attempt(tmp_path: Path) -> None:
    """Two sweeps of one study: the first is killed in the middle of a trial that the second one waits for."""
    given = POINT | {"study": "same", "tracking_uri": "sqlite:///mlflow.db", "trials": 4, "architectures": ["chollet"]}

    def owners() -> list[int]:
        begun = [trial.user_attrs for trial in study_of(tmp_path, "same").trials if "owner" in trial.user_attrs]
        return [json.loads(attributes["owner"])["pid"] for attributes in begun]

    sweeps = []
    try:
        for seconds in ("100", "0.1"):
            begun = Program("tests.support.untrained", json.dumps(given), seconds, cwd=tmp_path)
            sweeps.append(begun)
            wait_until(lambda: begun.pid in owners(), begun)  # noqa: B023
        first, second = sweeps
        assert owners()[0] == first.pid
        first.kill()
        _, err = second.communicate()
        assert second.returncode == 0, err
    finally:
        for process in sweeps:
            process.kill()
            process.communicate()
    assert "trial 0: owner is gone" in err
    assert_nothing_lost(tmp_path, "same", 4, EPOCHS)
    assert [trial.number for trial in trained(tmp_path)] == [0]


@pytest.mark.slow
def test_the_twin_of_a_trial_that_nobody_will_run_is_trained(tmp_path: Path) -> None:
    """The first of two sweeps asks for more trials than the second, and is killed past the second one's number."""
    given = POINT | {"study": "same", "tracking_uri": "sqlite:///mlflow.db", "architectures": ["chollet"]}
    sweeps = []
    try:
        for trials, seconds in ((6, "100"), (2, "0.1")):
            config = json.dumps(given | {"trials": trials})
            begun = Program("tests.support.untrained", config, seconds, cwd=tmp_path)
            sweeps.append(begun)
            wait_until(lambda: len(study_of(tmp_path, "same").trials) == len(sweeps), begun)
        for _ in range(3):
            study_of(tmp_path, "same").add_trial(create_trial(state=TrialState.FAIL))
        first, second = sweeps
        first.kill()
        _, err = second.communicate()
        assert second.returncode == 0, err
    finally:
        for process in sweeps:
            process.kill()
            process.communicate()
    states = [trial.state for trial in study_of(tmp_path, "same").trials]
    assert states[:2] == [TrialState.WAITING, TrialState.COMPLETE]


def test_a_configuration_whose_run_is_gone_for_good_is_trained_again(tmp_path: Path) -> None:
    run(2)
    (lost, _) = children_of(tmp_path, "same")
    MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").delete_run(lost.info.run_id)
    SqlAlchemyStore(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path))._hard_delete_run(lost.info.run_id)
    assert run(4).counts["complete"] == 4
    assert [trial.number for trial in trained(tmp_path)] == [0, 2]
    *_, again, answered = children_of(tmp_path, "same")
    assert answered.data.tags["duplicate_of"] == again.info.run_id
    assert answered.data.metrics == again.data.metrics
