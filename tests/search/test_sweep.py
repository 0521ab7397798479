"""Sweeps as a person runs them: one run per trial whatever dies, continuation, interruption, wrong usage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
from conftest import PUBLISHED, SWEEP, Outcome, Swept, run_module
from mlflow import MlflowClient
from optuna.trial import TrialState

from search.engines import local

TINY = ["--epochs", "2", "--filters", "4", "--batch-size", "64", "--pruner", "none"]


def study_of(folder: Path, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'optuna.db'}")


def children_of(folder: Path, name: str) -> list:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mnist5k")
    found = client.search_runs([experiment.experiment_id], f"tags.study = '{name}' and tags.trial_number != ''")
    return sorted(found, key=lambda run: int(run.data.tags["trial_number"]))


def parents_of(folder: Path, name: str) -> list:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mnist5k")
    return client.search_runs([experiment.experiment_id], f"tags.study = '{name}' and tags.sweep = 'parent'")


def assert_whole(folder: Path, name: str, trials: int, epochs: int) -> None:
    """Exactly the trials asked for, one child run each, one finished parent, every epoch once, the best a candidate."""
    (parent,) = parents_of(folder, name)
    assert parent.info.status == "FINISHED"
    assert "outcome" not in parent.data.tags
    study = study_of(folder, name)
    assert [trial.number for trial in study.trials] == list(range(trials))
    assert all(trial.state.is_finished() for trial in study.trials)
    children = children_of(folder, name)
    assert [int(run.data.tags["trial_number"]) for run in children] == list(range(trials))
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    for trial, run in zip(study.trials, children, strict=True):
        assert trial.state == TrialState.COMPLETE
        assert run.info.status == "FINISHED"
        assert "outcome" not in run.data.tags
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_accuracy")]
        assert steps == list(range(1, epochs + 1))
        assert trial.value == run.data.metrics["best_val_accuracy"]
        assert trial.params["architecture"] == run.data.params["architecture"]
        assert list(trial.intermediate_values) == steps


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "search.sweep", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 180) -> None:
    """Poll until the condition holds; fails if the process ends first."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except Exception:  # the databases are still being made
            pass
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_the_middle_of_a_trial(folder: Path, name: str, number: int) -> Callable[[], bool]:
    """A condition: the trial of that number has reported an epoch and is still running."""

    def holds() -> bool:
        trials = study_of(folder, name).trials
        trial = trials[number] if len(trials) > number else None
        return bool(trial and trial.state == TrialState.RUNNING and trial.intermediate_values)

    return holds


def test_the_small_sweep_is_whole(swept: Swept) -> None:
    assert_whole(swept.folder, "small", 3, 3)
    assert swept.result["counts"] == {"complete": 3, "pruned": 0, "infeasible": 0, "fail": 0}
    assert swept.result["study"] == "small"
    assert len(swept.result["registered"]) == 2


def test_the_same_seed_gives_the_same_sweep(swept: Swept, tmp_path: Path) -> None:
    again = run_module("search.sweep", "--study", "small", *SWEEP, "--json", cwd=tmp_path)
    assert again.code == 0, again.err

    def comparable(result: dict) -> list:
        return [
            {key: value for key, value in row.items() if key not in {"run_id", "latency_ms"}}
            for row in result["leaderboard"]
        ]

    assert comparable(again.json) == comparable(swept.result)
    digests = [
        [run.data.tags["weights_sha256"] for run in children_of(folder, "small")] for folder in (swept.folder, tmp_path)
    ]
    assert digests[0] == digests[1]


def test_every_architecture_starts_as_published_as_far_as_the_space_allows(swept: Swept) -> None:
    first, second, _ = study_of(swept.folder, "small").trials
    assert (first.params["architecture"], first.params["dropout"]) == ("chollet", 0.25)
    assert (second.params["architecture"], second.params["dropout"]) == ("malireddi", 0.2)


def test_continuing_adds_trials_and_registers_the_best_of_all(own_store: Path, swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    found: Outcome = command("search.sweep", "--study", "small", "--trials", "5", "--json")
    assert found.code == 0, found.err
    assert_whole(own_store, "small", 5, 3)
    assert found.json["parent_run_id"] == swept.result["parent_run_id"]
    parent = MlflowClient(f"sqlite:///{own_store / 'mlflow.db'}").get_run(found.json["parent_run_id"])
    assert parent.info.status == "FINISHED"
    board = found.json["leaderboard"]
    assert len(board) == 5
    assert all(row["version"] for row in board[:2])  # the study has recorded --keep 2
    assert found.json["candidate"] == board[0]["version"]


def test_continuing_a_full_study_runs_nothing(own_store: Path, swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    found = command("search.sweep", "--study", "small", "--trials", "2", "--keep", "2", "--json")
    assert found.code == 0, found.err
    assert found.json["counts"]["complete"] == 3
    assert found.json["leaderboard"] == swept.result["leaderboard"]
    assert found.json["registered"] == swept.result["registered"]


def test_keeping_more_than_was_kept_says_so(own_store: Path, swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    found = command("search.sweep", "--study", "small", "--trials", "3", "--keep", "3", "--json")
    assert found.code == 0
    assert "its model was not kept" in found.err
    assert found.json["registered"] == swept.result["registered"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "9"], "made with epochs 3, not 9"),
        (["--filters", "8"], "made with filters 4,8, not 8"),
        (["--dataset", "mnist"], "made with dataset mnist5k, not mnist"),
        (["--architecture", "chollet"], "made with architectures chollet,malireddi, not chollet"),
    ],
)
def test_a_continuation_that_contradicts_the_study(
    own_store: Path, arguments: list[str], message: str, command
) -> None:  # type: ignore[no-untyped-def]
    found = command("search.sweep", "--study", "small", "--trials", "4", *arguments)
    assert found.code == 2
    assert message in found.error
    assert_whole(own_store, "small", 3, 3)


def test_interruption_while_the_databases_are_made(tmp_path: Path) -> None:
    for seconds in (0.5, 1.5, 2.5, 3.5, 5):
        process = start(tmp_path, "--study", "early", "--trials", "1", *TINY, *PUBLISHED)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        expected = {130, -signal.SIGINT}  # the latter before Python listens
        assert process.returncode in (expected | {0} if seconds == 5 else expected), err  # by then it may be done
        if process.returncode == 130:
            assert err.splitlines()[-1].startswith("interrupted"), err
    done = run_module("search.sweep", "--study", "early", "--trials", "1", *TINY, *PUBLISHED, cwd=tmp_path)
    assert done.code == 0, done.err
    assert_whole(tmp_path, "early", 1, 2)
    assert not list(tmp_path.glob(".*.db*"))


# A write to a store, which of its calls, and on which side of it the process ends at once, as by kill -9.
KILL_POINTS = (
    ("experiments.tracking:Tracker._log", 1, "before"),  # the parent run has no parameters
    ("search.study:Study.create", 1, "before"),
    ("search.study:Study._prepare", 1, "before"),
    ("search.study:Study.ask", 1, "before"),
    ("search.study:Study.ask", 1, "after"),
    ("experiments.tracking:Tracker._log", 2, "before"),  # the trial's run has no parameters
    ("experiments.tracking:Tracker.start_run", 1, "after"),
    ("experiments.tracking:Tracker.log_epoch", 2, "before"),
    ("experiments.tracking:Tracker._store", 1, "after"),
    ("mlflow:MlflowClient.finalize_logged_model", 1, "before"),
    ("experiments.tracking:Tracker.finish", 1, "before"),
    ("search.study:Study.tell", 1, "before"),
    ("search.study:Study.tell", 1, "after"),
    ("experiments.tracking:Tracker.register", 1, "after"),
    ("search.orchestrate:write_report", 1, "before"),
)
KILLED_AT = """
import importlib, os, sys

def main():
    module, _, path = sys.argv[1].partition(":")
    call, when = int(sys.argv[2]), sys.argv[3]
    holder = importlib.import_module(module)
    *owners, name = path.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    real = getattr(holder, name)
    calls = []
    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) < call:
            return real(*arguments, **options)
        if when == "after":
            real(*arguments, **options)
        os._exit(9)
    setattr(holder, name, killed)
    from search import sweep
    sys.exit(sweep.main(sys.argv[4:]))

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(("place", "call", "when"), KILL_POINTS)
def test_killed_at_a_write_and_continued(place: str, call: int, when: str, tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    script = tmp_path / "killed.py"
    script.write_text(KILLED_AT)
    arguments = ["--study", "cut", "--trials", "1", *TINY, "--architecture", "malireddi"]
    killed = subprocess.run(
        [sys.executable, str(script), place, str(call), when, *arguments],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == 9, killed.stderr
    found = command("search.sweep", *arguments, "--json")
    assert found.code == 0, found.err
    assert_whole(tmp_path, "cut", 1, 2)
    assert found.json["candidate"] == 1
    assert [row["version"] for row in found.json["leaderboard"]] == [1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_and_continuation(number: signal.Signals, tmp_path: Path) -> None:
    arguments = ["--study", "stopped", "--trials", "3", *TINY, *PUBLISHED]
    arguments[arguments.index("--epochs") + 1] = "8"  # long enough to be struck in the middle
    process = start(tmp_path, *arguments)
    wait_for(in_the_middle_of_a_trial(tmp_path, "stopped", 1), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; to continue: python -m search.sweep --study stopped --trials 3" in err
    assert "Traceback" not in err
    assert "resource_tracker" not in err
    assert not psutil.wait_procs(workers, timeout=10)[1]
    states = [trial.state for trial in study_of(tmp_path, "stopped").trials]
    assert states == [TrialState.COMPLETE, TrialState.WAITING]
    first, second = children_of(tmp_path, "stopped")
    assert (first.info.status, second.info.status) == ("FINISHED", "KILLED")
    assert second.data.tags["outcome"] == "interrupted"
    (parent,) = parents_of(tmp_path, "stopped")
    assert (parent.info.status, parent.data.tags["outcome"]) == ("KILLED", "interrupted")
    assert "chollet-0" in out  # the leaderboard so far

    done = run_module("search.sweep", "--study", "stopped", cwd=tmp_path)  # --trials is recorded
    assert done.code == 0, done.err
    study = study_of(tmp_path, "stopped")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for trial, run in zip(study.trials, children_of(tmp_path, "stopped"), strict=True):
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
        assert steps == list(trial.intermediate_values) == list(range(1, len(steps) + 1))
        assert run.info.status == "FINISHED"
        assert "outcome" not in run.data.tags


def test_kill_9_of_the_sweep_and_continuation(tmp_path: Path) -> None:
    arguments = ["--study", "killed", "--trials", "3", *TINY]
    arguments[arguments.index("--epochs") + 1] = "4"
    process = start(tmp_path, *arguments)
    wait_for(in_the_middle_of_a_trial(tmp_path, "killed", 1), process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive  # a worker ends with its sweep
    done = run_module("search.sweep", "--study", "killed", "--trials", "3", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert_whole(tmp_path, "killed", 3, 4)
    assert done.json["candidate"] is not None


def test_kill_9_of_a_worker_loses_one_attempt(tmp_path: Path) -> None:
    arguments = ["--study", "died", "--trials", "2", *TINY]
    arguments[arguments.index("--epochs") + 1] = "4"
    process = start(tmp_path, *arguments)
    wait_for(in_the_middle_of_a_trial(tmp_path, "died", 0), process)
    worker = max(psutil.Process(process.pid).children(), key=lambda child: child.memory_info().rss)
    os.kill(worker.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "killed by signal 9" in err
    assert "resource_tracker" not in err
    assert_whole(tmp_path, "died", 2, 4)
    assert study_of(tmp_path, "died").trials[0].user_attrs["lost_attempts"] == 1


def test_workers_that_have_grown_are_replaced(tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(local, "MAX_GROWTH_BYTES", 1)
    started = []
    start = local.LocalEngine._start
    monkeypatch.setattr(local.LocalEngine, "_start", lambda engine: started.append(1) or start(engine))
    found = command("search.sweep", "--study", "grown", "--trials", "2", *TINY)
    assert found.code == 0, found.err
    assert_whole(tmp_path, "grown", 2, 2)
    assert len(started) == 3  # the first, and one after each trial


def test_models_that_cannot_be_written_are_one_line_and_a_continuation_mends_it(tmp_path: Path) -> None:
    """A file in the place of the artifact folder."""
    (tmp_path / "mlruns").write_text("in the way")
    arguments = ["--study", "full", "--trials", "2", *TINY]
    failed = run_module("search.sweep", *arguments, cwd=tmp_path)
    assert failed.code == 1
    (line,) = [line for line in failed.err.splitlines() if not line.startswith("trial ")]
    assert line.startswith("error: ")
    (tmp_path / "mlruns").unlink()
    done = run_module("search.sweep", "--study", "full", "--trials", "2", cwd=tmp_path)
    assert done.code == 0, done.err
    assert_whole(tmp_path, "full", 2, 2)


def test_epochs_from_other_threads_are_not_continued(tmp_path: Path) -> None:
    """Another number of threads changes the bits: the trial's run is begun anew."""
    arguments = ["--study", "moved", "--trials", "1", *TINY, "--architecture", "malireddi"]
    arguments[arguments.index("--epochs") + 1] = "8"
    process = start(tmp_path, *arguments)
    wait_for(in_the_middle_of_a_trial(tmp_path, "moved", 0), process)
    process.kill()
    process.communicate(timeout=60)
    (before,) = children_of(tmp_path, "moved")
    done = run_module("search.sweep", "--study", "moved", "--workers", "2", cwd=tmp_path)
    if before.data.tags["threads"] == "1":
        pytest.fail("this test needs two cores")
    assert done.code == 0, done.err
    (after,) = children_of(tmp_path, "moved")
    assert after.info.run_id != before.info.run_id
    assert after.data.tags["threads"] == "1"


def test_two_workers(tmp_path: Path) -> None:
    done = run_module(
        "search.sweep", "--study", "two", "--trials", "4", *TINY, "--workers", "2", "--json", cwd=tmp_path
    )
    assert done.code == 0, done.err
    assert_whole(tmp_path, "two", 4, 2)


FAILING = """
import keras
from architectures import register

@register(default_filters=4)
def failing(input_shape, num_classes, *, filters, dropout):
    '''Learns with 4 filters, diverges with 8, kills its process with 16.'''
    if filters == 16:
        import os
        os._exit(7)
    layers = [keras.layers.Flatten(), keras.layers.Dropout(dropout)]
    if filters == 8:
        layers.append(keras.layers.Rescaling(float("inf")))
    return keras.Sequential(
        [keras.Input(input_shape), *layers, keras.layers.Dense(num_classes, activation="softmax")]
    )
"""


def failing(folder: Path, *arguments: str) -> Outcome:
    (folder / "failing.py").write_text(FAILING)
    plugin = ["--plugin", "failing.py", "--architecture", "failing", "--epochs", "2", "--pruner", "none"]
    return run_module("search.sweep", "--study", "failing", *plugin, *arguments, cwd=folder)


def test_trials_that_fail_are_recorded_and_the_sweep_goes_on(tmp_path: Path) -> None:
    done = failing(tmp_path, "--filters", "4,8", "--trials", "6")
    assert done.code == 0, done.err
    study = study_of(tmp_path, "failing")
    assert {trial.params["filters"] for trial in study.trials} == {4, 8}
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for trial, run in zip(study.trials, children_of(tmp_path, "failing"), strict=True):
        if trial.params["filters"] == 4:
            assert (trial.state, run.info.status) == (TrialState.COMPLETE, "FINISHED")
        else:
            assert (trial.state, run.info.status) == (TrialState.FAIL, "FAILED")
            text = Path(client.download_artifacts(run.info.run_id, "traceback.txt")).read_text()
            assert "TrainingDiverged" in text


def test_a_trial_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    done = failing(tmp_path, "--filters", "16", "--trials", "1")
    assert done.code == 1
    assert "error: All trials failed" in done.err
    (trial,) = study_of(tmp_path, "failing").trials
    (run,) = children_of(tmp_path, "failing")
    assert (trial.state, run.info.status) == (TrialState.FAIL, "FAILED")
    assert trial.user_attrs["lost_attempts"] == 3
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    text = Path(client.download_artifacts(run.info.run_id, "traceback.txt")).read_text()
    assert "Given up after 3 attempts: its worker process ended (exit code 7)" in text


def test_pruned_trials_are_killed_runs(tmp_path: Path) -> None:
    """Filters of 1 learn far less than the median."""
    arguments = ["--architecture", "malireddi", "--filters", "1,16", "--epochs", "5", "--batch-size", "64"]
    done = run_module("search.sweep", "--study", "pruned", "--trials", "8", *arguments, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    pruned = 0
    for trial, run in zip(study_of(tmp_path, "pruned").trials, children_of(tmp_path, "pruned"), strict=True):
        if trial.state == TrialState.PRUNED:
            pruned += 1
            assert run.info.status == "KILLED"
            assert run.data.tags["outcome"] == "pruned"
            assert len(trial.intermediate_values) < 5
        else:
            assert run.info.status == "FINISHED"
    assert pruned == done.json["counts"]["pruned"] > 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--architecture", "nope"], 2, "Unknown architecture 'nope'. Registered: allconv, chollet, "),
        (["--dataset", "nope"], 2, "Unknown data set 'nope'"),
        (["--dropout", "0.9:0.1"], 2, "empty range"),
        (["--dropout", "0.5:1"], 2, "below 1"),
        (["--dropout", "nan"], 2, "out of range"),
        (["--learning-rate", "0:1"], 2, "out of range"),
        (["--batch-size", "0"], 2, "0 is too small: at least 1"),
        (["--batch-size", "9999"], 2, "exceeds the 4000 training images"),
        (["--trials", "0"], 2, "0 is too small: at least 1"),
        (["--trials", "many"], 2, "'many' is not a whole number"),
        (["--filters", ""], 2, "is not a whole number"),
        (["--pruner", "psychic"], 2, "invalid choice"),
        (["--pruner", "front"], 2, "front needs two. Choose median or hyperband or none."),
        (["--objective", "val_accuracy,coreml_bytes", "--pruner", "median"], 2, "Choose front or none."),
        (["--objective", "coreml_bytes"], 2, "val_accuracy or val_accuracy,coreml_bytes"),
        (["--compress", "prune50"], 2, "needs --format mlpackage"),
        (["--max-coreml-bytes", "0"], 2, "0 is too small: at least 1"),
        (["--label-smoothing", "0.5:1"], 2, "below 1"),
        (["--augment", "sometimes"], 2, "invalid choice"),
        (["--unknown", "1"], 2, "unrecognized arguments"),
        (["--seed", "4294967296"], 2, "too large: at most 4294967295"),
        (["--register-as", "a/b"], 2, "is not a name"),
        (["--experiment", ""], 2, "is not a name"),
        (["--tracking-uri", "http://host:port"], 2, "is not a valid URL"),
        (["--tracking-uri", "http://127.0.0.1:9"], 1, "cannot be reached"),
        (["--storage", "sqlite:////no/such/folder/optuna.db"], 1, "cannot be opened"),
        (["--storage", "nonsense"], 1, "nonsense failed"),
        (["--plugin", "no_such_module"], 2, "was not found"),
        (["--plugin", "no_such_file.py"], 2, "does not exist"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_no_study(
    arguments: list[str], code: int, message: str, tmp_path: Path, command
) -> None:  # type: ignore[no-untyped-def]
    found = command("search.sweep", "--study", "wrong", *arguments)
    assert found.code == code
    assert message in found.error
    assert found.out == ""
    if (tmp_path / "optuna.db").exists():
        assert not optuna.get_all_study_names(f"sqlite:///{tmp_path / 'optuna.db'}")
    if (tmp_path / "mlflow.db").exists():
        assert not MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").search_runs(["0", "1"])


def test_a_plugin_that_raises_on_import(tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "broken.py").write_text("print('to stdout')\nraise RuntimeError('boom')")
    found = command("search.sweep", "--plugin", "broken.py")
    assert found.code == 1
    assert "broken.py failed on import: RuntimeError: boom" in found.error


MODELS = """
import keras
from architectures import register

@register(default_filters=4)
def wrong(input_shape, num_classes, *, filters, dropout):
    print("to stdout")
    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), {layers}])
"""


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("keras.layers.Dense(num_classes + 1, activation='softmax')", "gives (None, 11), not (None, 10)"),
        ("keras.layers.Lambda(lambda x: x), keras.layers.Dense(num_classes, activation='softmax')", "a Lambda layer"),
    ],
)
@pytest.mark.parametrize("module", ["search.sweep", "search.trial"])
def test_a_plugin_whose_model_breaks_the_contract(
    module: str, layers: str, message: str, tmp_path: Path, command
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "wrong.py").write_text(MODELS.format(layers=layers))
    found = command(module, "--plugin", "wrong.py", "--architecture", "wrong")
    assert found.code == 1
    assert message in found.error
    assert found.out == ""


def test_a_study_that_is_not_a_sweeps(tmp_path: Path, command) -> None:  # type: ignore[no-untyped-def]
    study = optuna.create_study(study_name="mine", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    study.optimize(lambda trial: 0.0, n_trials=1)
    found = command("search.sweep", "--study", "mine")
    assert found.code == 2
    assert "is not a sweep's" in found.error
