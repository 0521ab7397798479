"""`--teacher RUN`: found as runs are, recorded with its model's digest, reproduced, refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import datasets, teacher
from experiments.tracking import Tracker
from experiments.training import distillation
from tests.support.commands import Command
from tests.support.stores import Swept
from tests.support.sweeps import NO_FIGURES, children_of

STUDENT = ["--architecture", "malireddi", "--filters", "4", "--batch-size", "400", "--epochs", "1"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.slow
def test_a_student_is_recorded_with_its_teacher_and_reproduced(swept: Swept, own_store: Path, command: Command) -> None:
    best = swept.result["leaderboard"][0]
    done = command("search.trial", *STUDENT, "--teacher", best["run"], "--distillation-weight", "0.8", "--json")
    assert done.code == 0, done.err
    tracker = Tracker(f"sqlite:///{own_store / 'mlflow.db'}")
    kept = tracker.models.kept_model(best["run_id"])
    assert kept
    recorded = f"{best['run_id']}#sha256={kept.keras_sha256}"
    params = tracker.runs.get(done.json["run_id"]).params
    assert {name: params[name] for name in ("teacher", "temperature", "distillation_weight")} == {
        "teacher": recorded,
        "temperature": "3.0",
        "distillation_weight": "0.8",
    }
    board = command("experiments.leaderboard", "--json").json
    assert [row["teacher"] for row in board["leaderboard"] if row["run_id"] == done.json["run_id"]] == [recorded]
    distillation.file_of(recorded).unlink()  # what the store keeps is enough
    again = command("experiments.reproduce", done.json["run_id"], "--json")
    assert (again.code, again.json["verdict"]) == (0, "identical"), again.err
    tracker.models.artifacts(tracker._store.client.get_logged_model(kept.model_id).artifact_location).delete_artifacts()
    tracker._store.client.delete_logged_model(kept.model_id)
    cached = command("experiments.reproduce", done.json["run_id"], "--json")  # from the cache
    assert cached.code == 0, cached.err
    distillation.file_of(recorded).unlink()
    gone = command("experiments.reproduce", done.json["run_id"])
    assert gone.code == 3
    assert "cannot be trained again: The teacher" in gone.error
    assert "has no kept model" in gone.error


@pytest.mark.slow
def test_a_sweep_searches_how_much_is_taught_and_is_continued(swept: Swept, own_store: Path, command: Command) -> None:
    best = swept.result["leaderboard"][0]
    sweep = ["search.sweep", "--study", "taught", *NO_FIGURES]
    space = [
        "--architecture",
        "malireddi",
        "--filters",
        "4",
        "--batch-size",
        "400",
        "--epochs",
        "1",
        "--temperature",
        "1:5",
    ]
    done = command(*sweep, *space, "--trials", "2", "--teacher", best["run_id"][:12], "--json")
    assert done.code == 0, done.err
    runs = children_of(own_store, "taught")
    assert len({run.data.params["temperature"] for run in runs}) == 2
    assert {run.data.params["distillation_weight"] for run in runs} == {"0.5"}
    assert {run.data.params["teacher"].partition("#")[0] for run in runs} == {best["run_id"]}
    other = swept.result["leaderboard"][1]["run_id"]
    refused = command(*sweep, "--trials", "3", "--teacher", other)
    assert refused.code == 2
    assert f"was made with teacher {best['run_id']}#sha256=" in refused.error
    distillation.file_of(runs[0].data.params["teacher"]).unlink()
    more = command(*sweep, "--trials", "3", "--teacher", best["run"])
    assert more.code == 0, more.err
    assert len(children_of(own_store, "taught")) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--teacher", "nobody"], "No such teacher. Unknown run 'nobody' in sqlite:///mlflow.db: give an id"),
        (["--teacher", "small"], "The teacher small (run "),  # the parent run of the sweep
        (["--teacher", "{best}#sha256=" + "0" * 64], "not 000000000000..."),
        (["--teacher", "{best}", "--dataset", "digits"], "was trained on mnist5k (digest "),
        (["--temperature", "2"], "--temperature needs a --teacher."),
        (["--teacher", "{best}", "--temperature", "0.5"], "at least 1 and at most 100"),
        (["--teacher", "{best}", "--distillation-weight", "0"], "at least 0.01 and at most 1"),
    ],
)
def test_wrong_teachers_are_told_in_one_line(
    arguments: list[str], message: str, swept: Swept, own_store: Path, command: Command
) -> None:
    best = swept.result["leaderboard"][0]["run_id"]
    found = command("search.trial", *STUDENT, *(one.format(best=best) for one in arguments))
    assert found.code == 2
    assert message in found.error


def test_a_damaged_file_in_the_cache_is_fetched_again(swept: Swept) -> None:
    tracker = Tracker(swept.uri)
    named = teacher.find(tracker, swept.result["leaderboard"][0]["run_id"])
    teacher.check(tracker, named, datasets.load("mnist5k"))
    teacher.provide(tracker, named)
    file = distillation.file_of(named)
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    teacher.provide(tracker, named)
    assert file.read_bytes() == whole
