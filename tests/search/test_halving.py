"""Successive halving: trials wait at rungs, and go on to the same bits as if they never had."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from optuna.storages._rdb.models import TrialModel
from optuna.trial import FrozenTrial, TrialState

from architectures.errors import UsageError
from benchmarks.no_training import NoTraining
from experiments.tracking import Outbox
from search.config import SweepConfig
from search.orchestrate import sweep
from search.study.halving import PausedAsPruned, Reached, leading, worth_their_cost
from search.study.pruning import PAUSED_AT, rungs
from search.study.ranking import Scored
from search.study.results import is_paused
from search.study.storage import open_storage
from search.trials.training_states import FOLDER
from tests.support.commands import invoke
from tests.support.sweeps import NO_FIGURES, assert_nothing_lost, children_of, study_of
from tests.support.warm import Program

RATES = (3e-3, 1e-6)  # both trials come to epoch 2 before the first one goes on


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """A sweep of one architecture at these learning rates."""
    configurations = [
        {"architecture": "malireddi", "filters": 4, "batch_size": 64, "learning_rate": rate, "dropout": number / 10}
        for number, rate in enumerate(RATES)
    ]
    queue = tmp_path / "queue.json"
    queue.write_text(json.dumps(configurations))
    return [
        *("--study", "halved", "--dataset", "digits", "--architecture", "malireddi", "--trials", "2", "--epochs", "6"),
        *("--learning-rate", "1e-6:1e-2", "--filters", "4", "--batch-size", "64", "--pruner", "halving"),
        *("--enqueue", str(queue), "--keep", "1", *NO_FIGURES),
    ]


def test_a_trial_waits_and_goes_on_to_the_same_bits(options: list[str], tmp_path: Path) -> None:
    done = invoke("search.sweep", *options, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "trial 0: resumes after epoch 2" in done.err
    assert "1 paused trial pruned: others were better by the same epoch" in done.err
    assert done.json["counts"] == {"complete": 1, "pruned": 1, "infeasible": 0, "fail": 0}
    assert_nothing_lost(tmp_path, "halved", 2, 6, experiment="digits")
    assert [len(trial.intermediate_values) for trial in study_of(tmp_path, "halved").trials] == [6, 2]
    assert not (tmp_path / FOLDER).exists()
    waited = children_of(tmp_path, "halved", "digits")[0]
    again = invoke("experiments.reproduce", waited.info.run_id, "--json", cwd=tmp_path)
    assert (again.code, again.json["verdict"]) == (0, "identical"), again.err


@pytest.mark.slow
def test_an_interrupted_sweep_leaves_its_trials_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A continuation goes on with them; one that is not asked for more ends them as pruned."""
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(
        "sqlite:///mlflow.db", "cut", trials=8, epochs=6, filters=(4, 8), pruner="halving", figures=False
    )

    def some_wait() -> bool:
        return sum(map(is_paused, study_of(tmp_path, "cut").trials)) > 1

    cut = sweep(config, engine=lambda _: NoTraining(), interrupted=some_wait)
    assert cut.interrupted
    waiting = [trial.number for trial in study_of(tmp_path, "cut").trials if is_paused(trial)]
    assert "paused trials: 2; a continuation of the study resumes the most promising" in capsys.readouterr().err
    runs = children_of(tmp_path, "cut")
    assert {runs[number].data.tags["outcome"] for number in waiting} == {"paused"}
    assert {runs[number].info.status for number in waiting} == {"KILLED"}
    assert cut.counts["paused"] == 2
    MlflowClient("sqlite:///mlflow.db").delete_run(runs[waiting[0]].info.run_id)  # by hand: it is trained again
    whole = sweep(config, engine=lambda _: NoTraining(), interrupted=lambda: False)
    assert (whole.interrupted, sum(whole.counts.values())) == (False, 8)
    assert whole.counts["pruned"]
    assert_nothing_lost(tmp_path, "cut", 8, 6)


@pytest.mark.parametrize(("timeout", "begun"), [(None, 8), (1e6, 1)])
def test_eight_start_before_one_goes_on_unless_time_is_limited(
    timeout: float | None, begun: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(
        "sqlite:///mlflow.db", "first", trials=20, epochs=6, filters=(4,), keep=1, pruner="halving", figures=False
    )
    config = replace(config, timeout=timeout, warm_start="off")

    def one_went_on() -> bool:
        return any(len(trial.intermediate_values) > 2 for trial in study_of(tmp_path, "first").trials)

    assert sweep(config, engine=lambda _: NoTraining(), interrupted=one_went_on).interrupted
    assert len(study_of(tmp_path, "first").trials) == begun


def test_the_first_warm_start_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It did well elsewhere, and so a sweep soon has one good network."""
    monkeypatch.chdir(tmp_path)
    config = SweepConfig("sqlite:///mlflow.db", "warm", trials=20, epochs=6, filters=(4,), keep=1, figures=False)

    def one_ended() -> bool:
        return any(trial.state.is_finished() for trial in study_of(tmp_path, "warm").trials)

    assert sweep(config, engine=lambda _: NoTraining(), interrupted=one_ended).interrupted
    (first,) = study_of(tmp_path, "warm").trials
    assert first.user_attrs["warm_start"].startswith("portfolio/")
    assert len(first.intermediate_values) == 6


@pytest.mark.slow
def test_what_leads_at_the_first_rung_goes_on_before_what_has_come_to_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(
        "sqlite:///mlflow.db", "deep", trials=9, epochs=15, filters=(4, 8), keep=2, pruner="halving", figures=False
    )
    config = replace(config, warm_start="off")

    def epochs() -> list[int]:
        return [len(trial.intermediate_values) for trial in study_of(tmp_path, "deep").trials]

    cut = sweep(config, engine=lambda _: NoTraining(), interrupted=lambda: max(epochs(), default=0) > 4)
    assert cut.interrupted
    assert sum(2 < one <= 4 for one in epochs()) >= 2  # of eight, three led at the first rung
    done = sweep(config, engine=lambda _: NoTraining(), interrupted=lambda: False)
    assert done.counts["complete"] >= 2
    assert {2, 4, 15} >= set(epochs())
    assert_nothing_lost(tmp_path, "deep", 9, 15)


@pytest.mark.slow
def test_what_waits_since_an_earlier_version_had_other_rungs_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(
        "sqlite:///mlflow.db", "old", trials=8, epochs=15, filters=(4,), pruner="halving", figures=False
    )
    monkeypatch.setattr("search.study.halving.rungs", lambda _: (3, 5))
    monkeypatch.setattr("search.trials.loop.rungs", lambda _: (3, 5))

    def two_wait() -> bool:
        return sum(map(is_paused, study_of(tmp_path, "old").trials)) > 1

    sweep(config, engine=lambda _: NoTraining(), interrupted=two_wait)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    done = sweep(config, engine=lambda _: NoTraining(), interrupted=lambda: False)
    assert done.counts["complete"] >= 3
    assert sum(done.counts.values()) == 8


def test_trials_go_on_while_mlflow_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(
        "sqlite:///mlflow.db", "away", trials=2, epochs=6, filters=(4,), keep=1, pruner="halving", figures=False
    )
    monkeypatch.setattr(Outbox, "away_seconds", 60.0)
    done = sweep(config, engine=lambda _: NoTraining(), interrupted=lambda: False)
    assert done.counts["complete"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["grid", "bruteforce"])
def test_each_combination_is_tried_once(sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(
        "sqlite:///mlflow.db",
        "all",
        trials=20,
        epochs=6,
        filters=(4, 8),
        batch_sizes=(64, 128),
        dropout=(0.1, 0.1),
        pruner="halving",
        sampler=sampler,
        figures=False,
    )
    done = sweep(config, engine=lambda _: NoTraining(), interrupted=lambda: False)
    assert sum(done.counts.values()) == 8  # of two networks
    assert done.counts["pruned"] > 2
    assert len({json.dumps(trial.params) for trial in study_of(tmp_path, "all").trials}) == 8


@pytest.mark.slow
def test_no_more_trials_are_begun_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where more are queued: what has begun comes to its end first."""
    monkeypatch.chdir(tmp_path)
    queued = tuple(
        {"architecture": "chollet", "filters": 8, "batch_size": 64, "dropout": number / 50} for number in range(12)
    )
    config = SweepConfig(
        "sqlite:///mlflow.db", "queued", trials=12, epochs=6, pruner="halving", enqueue=queued, figures=False
    )

    def four_began() -> bool:
        return len([trial for trial in study_of(tmp_path, "queued").trials if trial.intermediate_values]) > 3

    sweep(config, engine=lambda _: NoTraining(), interrupted=four_began)
    fewer = replace(config, trials=6, enqueue=(), given=("trials",))
    done = sweep(fewer, engine=lambda _: NoTraining(), interrupted=lambda: False)
    assert sum(done.counts.values()) == 6


def test_trials_pause_after_two_epochs_and_after_a_quarter() -> None:
    assert [rungs(epochs) for epochs in (4, 5, 8, 12, 15, 16, 50)] == [(), (2,), (2,), (3,), (2, 4), (2, 4), (2, 12)]


def test_it_is_the_default_where_there_are_rungs() -> None:
    two, late = ("val_accuracy", "coreml_bytes"), ("val_accuracy", "host_latency_ms")
    for objectives, epochs, expected in (
        (("val_accuracy",), 15, "halving"),
        (("val_accuracy",), 4, "median"),
        (two, 15, "halving"),
        (two, 4, "front"),
        (late, 15, "none"),
    ):
        config = SweepConfig("sqlite:///mlflow.db", "night", objectives=objectives, epochs=epochs)
        assert config.resolved_pruner == expected
    assert replace(config, objectives=("val_accuracy",), sampler="gp").resolved_pruner == "median"


@pytest.mark.slow
def test_an_interrupted_trial_that_is_left_out_holds_no_other_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer trials than before the best, which is queued again, is not trained on."""
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(
        "sqlite:///mlflow.db", "less", trials=8, epochs=15, filters=(4,), keep=1, pruner="halving", figures=False
    )

    def one_went_on() -> bool:
        return any(len(trial.intermediate_values) > 4 for trial in study_of(tmp_path, "less").trials)

    assert sweep(config, engine=lambda _: NoTraining(), interrupted=one_went_on).interrupted
    fewer = replace(config, trials=7, given=("trials",))
    done = sweep(fewer, engine=lambda _: NoTraining(), interrupted=lambda: False)
    assert done.counts["complete"]


def test_with_few_epochs_it_is_refused() -> None:
    config = SweepConfig("sqlite:///mlflow.db", "short", epochs=4, pruner="halving")
    with pytest.raises(UsageError, match="--pruner halving pauses no trial of 4 epochs: give --epochs 5 or more"):
        config.resolved_pruner  # noqa: B018


@pytest.mark.parametrize("pruner", ["halving", "front"])
def test_what_is_refused_leaves_nothing_behind(pruner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"--pruner {pruner} "):
        sweep(SweepConfig("sqlite:///mlflow.db", "short", epochs=4, pruner=pruner), engine=lambda _: NoTraining())
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_two_sweeps_of_a_study_resume_what_either_has_paused(tmp_path: Path) -> None:
    options = {
        "tracking_uri": "sqlite:///mlflow.db",
        "study": "shared",
        "trials": 16,
        "epochs": 6,
        "filters": [4, 8, 16],
        "pruner": "halving",
    }
    both = [Program("tests.support.untrained", json.dumps(options), 0.1, cwd=tmp_path) for _ in range(2)]
    for process in both:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert_nothing_lost(tmp_path, "shared", 16, 6)
    trials = study_of(tmp_path, "shared").trials
    assert {0} < {trial.user_attrs.get(PAUSED_AT, 0) for trial in trials}
    assert any(trial.user_attrs.get(PAUSED_AT) == 0 and trial.state == TrialState.COMPLETE for trial in trials)


def test_the_best_third_leads_and_where_asked_the_best_of_each_architecture() -> None:
    scored = [Scored(number, 0.9 - number / 10, 500) for number in range(6)]
    names = dict(enumerate(("pocket", "pocket", "resnet", "pocket", "resnet", "allconv")))
    assert leading(scored) == [0, 1]
    assert leading(scored[:4]) == [0, 1]
    assert leading(scored, architectures=names) == [0, 1, 2, 5]
    assert leading(scored[:1], architectures=names) == [0]
    assert leading(scored, at_least=3) == [0, 1, 2]
    assert leading(scored[:2], at_least=3) == [0, 1]
    assert leading([]) == []


def test_the_best_of_an_architecture_goes_on_unless_a_cheaper_one_was_better_for_as_much() -> None:
    small = Reached("resnet", 100, (0.3, 0.5, 0.8, 0.9))
    wide, other = Reached("resnet", 150, (0.4, 0.7)), Reached("pocket", 1, (0.2, 0.3))
    assert worth_their_cost({0: small, 1: wide, 2: other}, 2) == {0: "resnet", 2: "pocket"}  # 0.8 by epoch 3
    better = replace(wide, values=(0.4, 0.85))
    assert worth_their_cost({0: small, 1: better}, 2) == {0: "resnet", 1: "resnet"}  # three epochs cost as much
    assert worth_their_cost({0: small, 1: replace(better, cost=200)}, 2) == {0: "resnet"}
    assert worth_their_cost({0: small, 1: replace(wide, cost=0)}, 2) == {0: "resnet", 1: "resnet"}  # unknown
    losses = {0: replace(small, values=(0.9, 0.5, 0.1)), 1: replace(wide, values=(0.9, 0.2))}
    assert worth_their_cost(losses, 2, minimized=True) == {0: "resnet"}
    assert leading([Scored(0, 0.9, 500), Scored(1, 0.5, 500)], architectures={}) == [0]


def test_a_lower_loss_leads() -> None:
    scored = [Scored(number, value, 500, minimized=True) for number, value in enumerate((0.3, 0.1, 0.2))]
    assert leading(scored) == [1]


def test_of_several_objectives_their_front_leads() -> None:
    """The smallest is the worst, and on the front."""
    values = ((0.9, 900.0), (0.8, 950.0), (0.7, 800.0), (0.6, 990.0), (0.5, 100.0))
    scored = [Scored(number, value, 500, costs=(cost,)) for number, (value, cost) in enumerate(values)]
    assert leading(scored, front_first=True) == [0, 2, 4]
    assert leading(scored[3:], front_first=True) == [3, 4]
    assert leading(scored[:2], front_first=True) == [0]


def test_samplers_see_paused_trials_as_pruned_and_none_is_asked_again() -> None:
    study = optuna.create_study()
    for value in (0.3, 0.4):
        study.enqueue_trial({"x": value}, {"run_id": "run"})
    waiting = study.ask()
    waiting.suggest_float("x", 0, 1)
    waiting.report(0.5, 1)
    waiting.set_user_attr(PAUSED_AT, 1)
    study._storage.set_trial_state_values(waiting._trial_id, TrialState.WAITING)
    assert [is_paused(trial) for trial in study.trials] == [True, False]
    study._storage = PausedAsPruned(study._storage)
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED, TrialState.WAITING]
    assert [trial.number for trial in study.get_trials(states=(TrialState.WAITING,))] == [1]
    assert [study.ask().number for _ in range(2)] == [1, 2]


@pytest.mark.filterwarnings("ignore:Heartbeat")  # which `Study.ask` does not send
def test_a_paused_trial_is_read_once_until_it_has_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long study has hundreds of them, and reads its trials a dozen times for each new one."""
    url = f"sqlite:///{tmp_path}/optuna.db"
    elsewhere, storage = open_storage(url), open_storage(url)
    other = optuna.create_study(study_name="long", storage=elsewhere)
    here = optuna.load_study(study_name="long", storage=storage)
    for trial in [other.ask() for _ in range(3)]:
        elsewhere.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    built: list[int] = []
    build = storage._build_frozen_trial_from_trial_model

    def noted(model: TrialModel) -> FrozenTrial:
        built.append(model.number)
        return build(model)

    monkeypatch.setattr(storage, "_build_frozen_trial_from_trial_model", noted)

    def read() -> tuple[list[int], list[TrialState]]:
        built.clear()
        states = [trial.state for trial in here.get_trials()]
        return [*built], states

    waits, runs, ended = TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE
    assert read() == ([0, 1, 2], [waits] * 3)
    assert read() == ([], [waits] * 3)
    elsewhere.set_trial_state_values(1, runs)
    other.enqueue_trial({})
    assert read() == ([0, 3], [runs, waits, waits, waits])
    assert read() == ([0, 3], [runs, waits, waits, waits])  # 3 has never run, so nothing tells whether it has since
    elsewhere.set_trial_intermediate_value(1, 1, 0.5)
    elsewhere.set_trial_state_values(1, waits)
    assert read() == ([0, 3], [waits] * 4)
    assert here.get_trials()[0].intermediate_values == {1: 0.5}
    assert read() == ([3], [waits] * 4)
    elsewhere.set_trial_state_values(3, ended, [0.5])
    assert read() == ([2, 3], [waits, waits, ended, waits])
    assert read() == ([3], [waits, waits, ended, waits])
    assert [trial.number for trial in here.get_trials(states=(waits,))] == [0, 1, 3]
    assert [trial.number for trial in storage.get_all_trials(here._study_id, states=(ended,))] == [2]


@pytest.mark.parametrize(
    ("values", "paused_at", "run", "waits"),
    [
        pytest.param((0.1, 0.2), 2, "run", True, id="waits"),
        pytest.param((0.1,), 2, "run", False, id="died before its value was written"),
        pytest.param((0.1, 0.2), 0, "run", False, id="goes on"),
        pytest.param((), 0, "run", False, id="never trained"),
        pytest.param((0.1, 0.2), 2, "", False, id="without a run"),
    ],
)
def test_only_what_has_come_to_its_rung_waits(values: tuple[float, ...], paused_at: int, run: str, waits: bool) -> None:
    trial = optuna.trial.create_trial(
        state=TrialState.WAITING,
        intermediate_values=dict(enumerate(values, 1)),
        user_attrs={PAUSED_AT: paused_at} | ({"run_id": run} if run else {}),
    )
    assert is_paused(trial) == waits
