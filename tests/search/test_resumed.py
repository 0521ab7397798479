"""A trial whose worker or sweep dies goes on from what was kept after its last epoch, to the same bits."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from mlflow import MlflowClient

from experiments.training.state import write_whole
from search.trials.training_states import FOLDER, TrainingStates
from tests.experiments.test_training_state import a_state
from tests.support.commands import Command, Outcome, invoke
from tests.support.servers import PostgresServer
from tests.support.stores import MadeOnce, Swept, copy_store
from tests.support.sweeps import NO_FIGURES, SWEEP, assert_nothing_lost, children_of, start, study_of

# Keeps the state after each epoch, and kills its process once, when it has kept that after epoch 2.
STRIKE = """
import os, signal
from pathlib import Path

from experiments.training import state

state.SHARE = 1e9
keep = state.Keeper.keep


def struck(self, run_epoch, *, epochs, **rest):
    keep(self, run_epoch, epochs=epochs, **rest)
    if len(epochs) == 2 and not Path({mark!r}).exists():
        Path({mark!r}).touch()
        {before}
        os.kill(os.getpid(), signal.SIGKILL)


state.Keeper.keep = struck
"""


def striking(folder: Path, before: str = "pass") -> list[str]:
    """Options of a sweep that is struck; `before` is what else its worker does then."""
    file = folder / "strike.py"
    file.write_text(STRIKE.format(mark=str(folder / "struck"), before=before))
    first = ["--trials", "1", *SWEEP[2:]]  # of the three trials of `swept`
    return ["--study", "small", *first, *NO_FIGURES, "--plugin", str(file)]


def first_trial(folder: Path) -> list[object]:
    """Its weights, and what each epoch came to."""
    client, run = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}"), children_of(folder, "small")[0]
    metrics = ("loss", "accuracy", "val_loss", "val_accuracy")
    courses = [client.get_metric_history(run.info.run_id, metric) for metric in metrics]
    return [run.data.tags["weights_sha256"], [[(point.step, point.value) for point in course] for course in courses]]


def assert_as_if_never_struck(folder: Path, swept: Swept, storage: str | None = None) -> None:
    """The same bits and the same course as those of `swept`'s first trial, each epoch once, nothing left over."""
    assert (folder / "struck").exists()
    assert_nothing_lost(folder, "small", 1, 3, storage=storage)
    assert first_trial(folder) == first_trial(swept.folder)
    assert not (folder / FOLDER).exists()


def test_a_trial_whose_worker_is_killed_goes_on_from_its_last_epoch(swept: Swept, tmp_path: Path) -> None:
    done = invoke("search.sweep", *striking(tmp_path), cwd=tmp_path)
    assert done.code == 0, done.err
    lost, resumed = (line for line in done.err.splitlines() if line.startswith("trial 0: "))
    assert lost.startswith("trial 0: its worker process ended (killed by signal 9")
    assert resumed == "trial 0: resumes after epoch 2"
    assert study_of(tmp_path, "small").trials[0].user_attrs["lost_attempts"] == 1
    assert_as_if_never_struck(tmp_path, swept)


def kill_a_sweep(folder: Path, *further: str) -> list[str]:
    """Start a sweep that dies with its worker after epoch 2 of its first trial; returns its options."""
    options = [*striking(folder, "os.kill(os.getppid(), signal.SIGKILL)"), *further]
    process = start(folder, *options)
    process.communicate()
    assert process.returncode == -9
    assert [path.name for path in (folder / FOLDER).glob("*/*")] == ["0.1"]
    return options


@pytest.fixture
def killed(made_once: MadeOnce, tmp_path: Path) -> list[str]:
    """What a killed sweep has left, in the test's folder, and the sweep's options."""
    folder, options = made_once("killed", lambda made: Outcome(0, json.dumps(kill_a_sweep(made)), ""))
    copy_store(folder, tmp_path)
    shutil.copytree(folder / FOLDER, tmp_path / FOLDER)
    (tmp_path / "struck").touch()
    return options


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_trial_whose_sweep_is_killed_goes_on_from_its_last_epoch(
    database: str, swept: Swept, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as servers:
        storage = servers.enter_context(PostgresServer(tmp_path)).url if database == "postgresql" else None
        options = kill_a_sweep(tmp_path, "--storage", storage) if storage else request.getfixturevalue("killed")
        done = invoke("search.sweep", *options, cwd=tmp_path)
        assert done.code == 0, done.err
        assert "trial 0: resumes after epoch 2" in done.err
        assert_as_if_never_struck(tmp_path, swept, storage)
    run_id = children_of(tmp_path, "small")[0].info.run_id
    again = invoke("experiments.reproduce", run_id, "--json", cwd=tmp_path)
    assert (again.code, again.json["verdict"]) == (0, "identical"), again.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "it is damaged"), (a_state().packed("another"), "it is of another configuration, of other data or code")],
)
def test_what_cannot_be_gone_on_with_is_set_aside_and_the_training_begins_anew(
    content: bytes | None, reason: str, swept: Swept, killed: list[str], tmp_path: Path
) -> None:
    (file,) = (tmp_path / FOLDER).glob("*/*")
    file.write_bytes(content or file.read_bytes()[:-1])
    done = invoke("search.sweep", *killed, cwd=tmp_path)
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "cannot be used" in line]
    assert line.startswith(f"warning: trial 0: {file} cannot be used ({reason}")
    assert line.endswith(") and is now 0.1.unreadable: the training starts over, or from an older state")
    assert "resumes after" not in done.err
    file.with_name("0.1.unreadable").unlink()
    for folder in (file.parent, file.parent.parent):
        folder.rmdir()  # all that was there
    assert_as_if_never_struck(tmp_path, swept)


def test_an_attempt_reads_the_newest_that_is_whole_of_those_before_it(tmp_path: Path) -> None:
    states, said = TrainingStates("night", tmp_path / FOLDER), list[str]()
    for number, attempt in ((3, 1), (3, 2), (3, 10), (3, 11), (13, 1)):
        write_whole(states.path(number, attempt), a_state().packed(f"{number} {attempt}"))
    assert states.newest(3, before=1, say=said.append) is None
    assert states.newest(3, before=11, say=said.append) == a_state().packed("3 10")
    states.path(3, 10).write_bytes(b"torn")
    assert states.newest(3, before=11, say=said.append) == a_state().packed("3 2")
    (line,) = said
    assert line.endswith(
        "(it is not a training state of this version) and is now 3.10.unreadable: the training starts over, or from an "
        "older state"
    )
    assert states.set_aside(3, "another", before=3).endswith(
        "(another) and is now 3.2.unreadable: the training starts over, or from an older state"
    )
    assert states.newest(3, before=11, say=said.append) == a_state().packed("3 1")
    assert states.numbers() == {3, 13}
    states.remove(3)
    assert states.numbers() == {13}
    states.remove(13)
    states.tidy()
    assert sorted(path.name for path in states.folder.iterdir()) == ["3.10.unreadable", "3.2.unreadable"]


def test_what_a_killed_process_was_writing_is_cleared_up(tmp_path: Path) -> None:
    states = TrainingStates("night", tmp_path / FOLDER)
    left = tmp_path / FOLDER / f".{states.folder.name}.abcd1234" / "files"
    left.mkdir(parents=True)
    (left.parent / "lock").touch()
    (left / "3.1").write_bytes(b"half")
    states.tidy()
    assert not (tmp_path / FOLDER).exists()


def test_the_doctor_and_the_next_sweep_remove_what_nobody_goes_on_from(own_store: Path, command: Command) -> None:
    states = TrainingStates("small", own_store / FOLDER)
    for number in (1, 99):  # one that has ended, one that the study does not hold
        write_whole(states.path(number, 1), b"late")
    found = command("search.doctor", "--dry-run", "--json")
    assert (found.code, [one["trial"] for one in found.json["findings"]]) == (1, [1, 99])
    assert found.json["findings"][0]["problem"] == (f"a leftover training state in {states.folder}")
    assert states.numbers() == {1, 99}
    mended = command("search.doctor", "--json")
    assert (mended.code, mended.json["mended"]) == (0, 2)
    assert not (own_store / FOLDER).exists()
