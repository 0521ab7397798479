"""What the doctor finds and mends between a study and MLflow, on a real sweep's databases."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from optuna.trial import TrialState

from benchmarks.no_training import NoTraining
from search.config import SweepConfig
from search.orchestrate import sweep
from tests.support.commands import Command, Outcome
from tests.support.stores import Swept
from tests.support.sweeps import NO_FIGURES, assert_whole, children_of, parents_of, study_of

DOCTOR = "search.doctor"


@pytest.fixture
def client(own_store: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{own_store / 'mlflow.db'}")


def problems(found: Outcome) -> list[tuple[int | None, str, bool]]:
    return [(one["trial"], one["problem"], one["mended"]) for one in found.json["findings"]]


def examine(command: Command, *arguments: str) -> Outcome:
    """The findings of one call; a second call must find nothing more to mend."""
    dry = command(DOCTOR, "--dry-run", "--json", *arguments)
    assert dry.code == 1
    found = command(DOCTOR, "--json", *arguments)
    assert found.code == 0, found
    assert found.err == ""
    assert [(one["trial"], one["problem"]) for one in dry.json["findings"]] == [
        (trial, problem) for trial, problem, _ in problems(found)
    ]
    assert not any(one["mended"] for one in dry.json["findings"])
    again = command(DOCTOR, "--json", *arguments)
    assert (again.code, again.json["findings"]) == (0, [])
    return found


def test_a_sound_study_needs_nothing(own_store: Path, command: Command) -> None:
    found = command(DOCTOR)
    assert found.code == 0, found.err
    assert found.out == "0 disagreements, 0 repaired.\n"
    assert_whole(own_store, "small", 3, 3)


def test_a_run_left_running(own_store: Path, client: MlflowClient, command: Command) -> None:
    run_id = children_of(own_store, "small")[1].info.run_id
    client.update_run(run_id, status="RUNNING")
    (parent,) = parents_of(own_store, "small")
    client.update_run(parent.info.run_id, status="RUNNING")
    found = examine(command, "--study", "small")
    assert problems(found) == [
        (1, "ended as COMPLETE, its run is RUNNING", True),
        (None, "the sweep is gone, its run is RUNNING", True),
    ]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert client.get_run(parent.info.run_id).info.status == "KILLED"


def test_a_second_run_and_a_run_without_a_trial(own_store: Path, client: MlflowClient, command: Command) -> None:
    (parent,) = parents_of(own_store, "small")
    held = parent.info.experiment_id
    for number in ("1", "7"):
        tags = {"study": "small", "trial_number": number, "mlflow.parentRunId": parent.info.run_id}
        client.create_run(held, tags=tags)
    found = examine(command)
    assert problems(found) == [
        (1, "a second run of it", True),
        (7, "a run of a trial that the study does not hold", True),
    ]
    assert_whole(own_store, "small", 3, 3)


def test_a_run_that_was_deleted(own_store: Path, client: MlflowClient, command: Command) -> None:
    lost = children_of(own_store, "small")[2]
    client.delete_run(lost.info.run_id)
    found = examine(command)
    assert problems(found) == [(2, "its run was deleted", True)]
    assert_whole(own_store, "small", 3, 3)
    back = children_of(own_store, "small")[2]
    assert back.to_dictionary()["data"] == lost.to_dictionary()["data"]


@pytest.mark.usefixtures("without_training")
def test_a_run_that_is_gone_for_good(own_store: Path, client: MlflowClient, command: Command) -> None:
    """It is made anew without the figures that nobody knows, and the study goes on."""
    number = study_of(own_store, "small").best_trial.number  # whose model was kept
    lost = children_of(own_store, "small")[number]
    client.delete_run(lost.info.run_id)
    SqlAlchemyStore(f"sqlite:///{own_store / 'mlflow.db'}", str(own_store))._hard_delete_run(lost.info.run_id)
    found = examine(command)
    assert problems(found) == [(number, "has no run in MLflow", True)]
    assert_whole(own_store, "small", 3, 3)
    made = children_of(own_store, "small")[number]
    assert made.data.tags["restored"] == "from the study"
    assert made.data.params == lost.data.params
    known = ("best_epoch", "best_val_accuracy", "coreml_bytes")
    assert {key: made.data.metrics[key] for key in known} == {key: lost.data.metrics[key] for key in known}
    assert not {"parameters", "host_latency_ms"} & made.data.metrics.keys()
    board = command("experiments.leaderboard", "--study", "small", "--json")
    assert board.code == 0, board.err
    assert made.info.run_id in {row["run_id"] for row in board.json["leaderboard"]}
    assert command("experiments.leaderboard").code == 0
    done = command("search.sweep", "--study", "small", "--trials", "4", *NO_FIGURES, "--json")
    assert done.code == 0, done.err
    assert_whole(own_store, "small", 4, 3)


def test_epochs_and_figures_that_a_run_lacks(own_store: Path, client: MlflowClient, command: Command) -> None:
    run_id = children_of(own_store, "small")[0].info.run_id
    with sqlite3.connect(own_store / "mlflow.db") as database:
        for table in ("metrics", "latest_metrics"):
            database.execute(
                f"DELETE FROM {table} WHERE run_uuid = ? AND (key = 'best_val_accuracy' OR key = 'val_accuracy')"
                " AND (step = 2 OR key = 'best_val_accuracy')",
                (run_id,),
            )
    found = examine(command)
    assert [problem for _, problem, _ in problems(found)] == [
        "its run lacks val_accuracy of epochs 2",
        "its run lacks best_val_accuracy",
    ]
    assert_whole(own_store, "small", 3, 3)


def forget_evaluation(folder: Path, run_id: str) -> None:
    with sqlite3.connect(folder / "mlflow.db") as database:
        for table in ("metrics", "latest_metrics"):
            database.execute(f"delete from {table} where run_uuid = ? and key like '%calibration%'", (run_id,))
            database.execute(f"delete from {table} where run_uuid = ? and key like 'macro%'", (run_id,))
            database.execute(f"delete from {table} where run_uuid = ? and key like 'val_accuracy_%'", (run_id,))


def test_models_that_a_running_sweep_will_evaluate_are_left_to_it(own_store: Path, command: Command) -> None:
    study = study_of(own_store, "small")
    trial = next(one for one in study.trials if "model_id" in one.user_attrs)
    forget_evaluation(own_store, trial.user_attrs["run_id"])
    problem = (trial.number, "its model was kept and not evaluated", False)
    running = study.ask()
    running.set_user_attr("owner", json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0}))
    assert problem not in problems(command(DOCTOR, "--json", "--dry-run"))
    running.set_user_attr("owner", json.dumps({"host": __import__("platform").node(), "pid": 1, "started": 0.0}))
    assert problem in problems(command(DOCTOR, "--json", "--dry-run"))  # whoever ran it is gone


def test_a_kept_model_that_was_not_evaluated(own_store: Path, client: MlflowClient, command: Command) -> None:
    trial = next(one for one in study_of(own_store, "small").trials if "model_id" in one.user_attrs)
    run_id = trial.user_attrs["run_id"]
    before = client.get_run(run_id).data.metrics
    forget_evaluation(own_store, run_id)
    location = client.get_logged_model(trial.user_attrs["model_id"]).artifact_location
    answers = Path(location.removeprefix("file://")) / "val_probabilities.npy"
    kept = answers.rename(own_store / "kept.npy")
    found = command(DOCTOR, "--json")
    assert found.code == 1
    assert problems(found) == [(trial.number, "its model was kept and not evaluated", False)]
    assert "were not kept" in found.json["findings"][0]["remedy"]
    kept.rename(answers)
    found = examine(command)
    assert problems(found) == [(trial.number, "its model was kept and not evaluated", True)]
    assert client.get_run(run_id).data.metrics == before


def delete_metric(folder: Path, run_id: str, key: str, step: int | None = None) -> None:
    with sqlite3.connect(folder / "mlflow.db") as database:
        for table in ("metrics", "latest_metrics"):
            database.execute(
                f"DELETE FROM {table} WHERE run_uuid = ? AND key = ? AND step = coalesce(?, step)", (run_id, key, step)
            )


def remain(command: Command) -> list[str]:
    """The problems of trial 0 that two calls in a row do not mend."""
    first, second = (command(DOCTOR, "--json") for _ in range(2))
    assert (first.code, second.code) == (1, 1)
    assert second.json["findings"] == [one for one in first.json["findings"] if not one["mended"]]
    assert {one["trial"] for one in second.json["findings"]} == {0}
    return [one["problem"] for one in second.json["findings"]]


@pytest.mark.parametrize("metric", ["loss", "accuracy", "val_loss", "epoch_seconds"])
def test_an_epoch_that_the_study_does_not_hold(own_store: Path, metric: str, command: Command) -> None:
    delete_metric(own_store, children_of(own_store, "small")[0].info.run_id, metric, 2)
    assert remain(command) == [f"its run lacks {metric} of epochs 2"]


@pytest.mark.parametrize("metric", ["parameters", "macs", "keras_bytes", "host_latency_ms"])
def test_a_final_metric_that_the_study_does_not_hold(own_store: Path, metric: str, command: Command) -> None:
    delete_metric(own_store, children_of(own_store, "small")[0].info.run_id, metric)
    assert remain(command) == [f"its run lacks {metric}"]
    assert command("experiments.leaderboard").code == 0


@pytest.mark.parametrize("metric", ["best_epoch", "best_val_loss"])
def test_the_best_epoch_is_known_from_the_course(
    own_store: Path, client: MlflowClient, metric: str, command: Command
) -> None:
    run = children_of(own_store, "small")[0]
    delete_metric(own_store, run.info.run_id, metric)
    assert problems(examine(command)) == [(0, f"its run lacks {metric}", True)]
    assert client.get_run(run.info.run_id).data.metrics == run.data.metrics


def test_of_epochs_with_the_same_val_accuracy_the_loss_tells_the_best(
    own_store: Path, client: MlflowClient, command: Command
) -> None:
    """A trial whose epochs are made to tie: the third has the lowest loss, as in training."""
    trial = study_of(own_store, "small").trials[0]
    run_id, best = trial.user_attrs["run_id"], trial.values[0]
    losses = {1: 0.5, 2: 0.25, 3: 0.125}
    with sqlite3.connect(own_store / "optuna.db") as database:
        database.execute(
            "UPDATE trial_intermediate_values SET intermediate_value = ? WHERE trial_id = ?", (best, trial._trial_id)
        )
    with sqlite3.connect(own_store / "mlflow.db") as database:
        database.execute("UPDATE metrics SET value = ? WHERE run_uuid = ? AND key = 'val_accuracy'", (best, run_id))
        for step, loss in losses.items():
            database.execute(
                "UPDATE metrics SET value = ? WHERE run_uuid = ? AND key = 'val_loss' AND step = ?",
                (loss, run_id, step),
            )
    for metric in ("best_epoch", "best_val_loss"):
        delete_metric(own_store, run_id, metric)
    assert problems(examine(command)) == [(0, "its run lacks best_epoch, best_val_loss", True)]
    metrics = client.get_run(run_id).data.metrics
    assert (metrics["best_epoch"], metrics["best_val_loss"]) == (3, 0.125)


@pytest.mark.parametrize(("metric", "step"), [("loss", 2), ("epoch_seconds", 1)])
def test_an_epoch_that_stands_twice(
    own_store: Path, client: MlflowClient, metric: str, step: int, command: Command
) -> None:
    client.log_metric(children_of(own_store, "small")[0].info.run_id, metric, 0.5, step=step)
    assert remain(command) == [f"{metric} of epochs {step} recorded twice"]


def test_figures_that_stand_twice(own_store: Path, client: MlflowClient, command: Command) -> None:
    """As a sweep that was stopped for long might have left them."""
    run = children_of(own_store, "small")[0]
    for metric in ("best_epoch", "host_latency_ms", "macs"):
        client.log_metric(run.info.run_id, metric, run.data.metrics[metric], step=9)
    assert remain(command) == ["best_epoch, host_latency_ms, macs recorded twice"]


def test_an_epoch_that_no_trial_had(own_store: Path, client: MlflowClient, command: Command) -> None:
    client.log_metric(children_of(own_store, "small")[0].info.run_id, "loss", 0.5, step=4)
    assert remain(command) == ["its run has loss of epochs 4, the study does not"]


def test_parameters(own_store: Path, client: MlflowClient, command: Command) -> None:
    run = children_of(own_store, "small")[0]
    with sqlite3.connect(own_store / "mlflow.db") as database:
        database.execute("DELETE FROM params WHERE run_uuid = ? AND key = 'dataset'", (run.info.run_id,))
    assert problems(examine(command)) == [(0, "its run lacks the parameters dataset", True)]
    assert client.get_run(run.info.run_id).data.params == run.data.params
    with sqlite3.connect(own_store / "mlflow.db") as database:
        database.execute("UPDATE params SET value = '999' WHERE run_uuid = ? AND key = 'filters'", (run.info.run_id,))
    client.log_param(run.info.run_id, "more", "1")
    (problem,) = remain(command)
    assert f"filters 999, not {run.data.params['filters']}" in problem
    assert "more 1, not there" in problem


def test_a_run_that_names_no_parent(own_store: Path, client: MlflowClient, command: Command) -> None:
    run = children_of(own_store, "small")[1]
    client.delete_tag(run.info.run_id, "mlflow.parentRunId")
    client.update_run(run.info.run_id, status="RUNNING")
    again = client.create_run(run.info.experiment_id, tags={"study": "small", "trial_number": "2"})
    assert problems(examine(command)) == [
        (2, "a second run of it", True),
        (1, "its run names no parent", True),
        (1, "ended as COMPLETE, its run is RUNNING", True),
    ]
    assert client.get_run(again.info.run_id).info.lifecycle_stage == "deleted"
    assert_whole(own_store, "small", 3, 3)


@pytest.mark.parametrize("tags", [{"study": "small"}, {"study": "gone", "trial_number": "3"}])
def test_a_run_that_goes_on_for_no_study(own_store: Path, client: MlflowClient, tags, command: Command) -> None:
    """It may be another storage's: it is not touched, and said every time."""
    elsewhere = client.create_experiment("elsewhere")
    run = client.create_run(elsewhere, tags=tags)
    for _ in range(2):
        found = command(DOCTOR, "--json")
        assert found.code == 1
        (finding,) = found.json["findings"]
        assert (finding["study"], finding["run_id"]) == (tags["study"], run.info.run_id)
        assert finding["problem"] == "is RUNNING, but belongs to no study in this storage"
    assert command(DOCTOR, "--study", "small").code == (tags["study"] == "small")
    client.set_terminated(run.info.run_id, "KILLED")
    assert command(DOCTOR).code == 0


def test_what_cannot_be_mended_remains(own_store: Path, client: MlflowClient, command: Command) -> None:
    run_id = children_of(own_store, "small")[0].info.run_id
    client.log_metric(run_id, "val_accuracy", client.get_run(run_id).data.metrics["val_accuracy"], step=3)
    client.log_metric(run_id, "best_val_accuracy", 0.123, step=9)
    for _ in range(2):
        found = command(DOCTOR)
        assert found.code == 1
        assert "unrepaired small, trial 0: val_accuracy of epochs 3; best_val_accuracy recorded twice" in found.out
        assert "best_val_accuracy differ between study and run" in found.out


@pytest.mark.usefixtures("without_training")
def test_a_trial_that_nobody_runs_any_more(own_store: Path, client: MlflowClient, command: Command) -> None:
    study = study_of(own_store, "small")
    trial = study.ask()
    trial.set_user_attr("owner", json.dumps({"host": "gone", "pid": 1, "started": 0.0}))
    with sqlite3.connect(own_store / "optuna.db") as database:
        database.execute(
            "INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (?, '2020-01-01 00:00:00')", (trial._trial_id,)
        )
    found = command(DOCTOR, "--takeover-after", "2", "--json")
    assert found.code == 0, found
    assert problems(found) == []  # the database may have been away until now: signs of life are waited for
    trial.set_user_attr(
        "owner", json.dumps({**json.loads(trial.user_attrs["owner"]), "host": __import__("platform").node()})
    )
    found = examine(command)
    assert problems(found) == [(3, "owner is gone", True)]
    assert study_of(own_store, "small").trials[3].state == TrialState.WAITING
    done = command("search.sweep", "--study", "small", "--trials", "4", *NO_FIGURES, "--json")
    assert done.code == 0, done.err
    assert_whole(own_store, "small", 4, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--study", "none"], 2, "Unknown study 'none' in sqlite:///optuna.db. It holds: small."),
        (["--storage", "sqlite:///other.db"], 1, "does not exist"),
        (["--storage", "mysql://localhost/x"], 2, "neither SQLite nor PostgreSQL"),
        (["--tracking-uri", "sqlite:///other.db"], 1, "does not exist"),
    ],
)
def test_wrong_usage(own_store: Path, arguments: list[str], code: int, message: str, command: Command) -> None:
    found = command(DOCTOR, *arguments)
    assert found.code == code
    assert message in found.error
    assert not (own_store / "other.db").exists()


def test_studies_of_others_are_left_alone(own_store: Path, swept: Swept, command: Command) -> None:
    optuna.create_study(study_name="somebody's", storage=f"sqlite:///{own_store / 'optuna.db'}").ask()
    assert command(DOCTOR).out == "0 disagreements, 0 repaired.\n"


def test_a_deleted_experiment_hides_its_own_study_alone(
    own_store: Path, client: MlflowClient, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_store)
    config = SweepConfig(
        "sqlite:///mlflow.db", "other", dataset="digits", trials=1, epochs=1, experiment="elsewhere", figures=False
    )
    result = sweep(config, engine=lambda _: NoTraining())
    client.update_run(result.leaderboard[0].run_id, status="RUNNING")
    (parent,) = parents_of(own_store, "small")
    client.delete_experiment(parent.info.experiment_id)
    found = command(DOCTOR)
    assert (found.code, found.err) == (1, "")
    hidden, mended, total = found.out.splitlines()
    assert hidden.startswith(f"  unrepaired small: its runs are hidden (run {parent.info.run_id}): MLflow experiment ")
    assert f"Restore it: mlflow experiments restore --experiment-id {parent.info.experiment_id}" in hidden
    assert mended.startswith("  repaired   other, trial 0: ended as COMPLETE, its run is RUNNING")
    assert total == "2 disagreements, 1 repaired."
    client.restore_experiment(parent.info.experiment_id)
    assert command(DOCTOR).code == 0
