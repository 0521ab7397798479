"""Fixtures that several packages' tests share: commands, and a real store with a real, small sweep in it.

A plugin that `tests/conftest.py` loads.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import architectures.quiet

architectures.quiet.import_tensorflow()  # first and in silence: several modules would import it in any order

import keras  # noqa: E402
from mlflow.tracking._tracking_service import utils  # noqa: E402

from architectures.command import COLLECT_AFTER  # noqa: E402
from architectures.garbage import freeze  # noqa: E402
from conversion.promotion.place import DEFAULT_OUTPUT  # noqa: E402
from experiments.training import worker  # noqa: E402
from search.engines import local  # noqa: E402
from tests.support.commands import ROOT, Command, Outcome, invoke, run_module  # noqa: E402
from tests.support.promotions import History, artifacts, current, shipped  # noqa: E402
from tests.support.stores import (  # noqa: E402
    MadeOnce,
    Promoted,
    Swept,
    copy_migrations,
    copy_promoted,
    copy_store,
    leave_writing_to_the_system,
    rows,
)
from tests.support.sweeps import SWEEP  # noqa: E402
from tests.support.untrained import idle_worker  # noqa: E402
from tests.support.warm import warm_context  # noqa: E402

gc.freeze()  # what has been imported is never garbage, and a look through all of it takes a second
gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])  # as commands do


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let each test draw the same weights whatever ran before it: fixtures, too.

    What is alive by now is hidden from the garbage collector, which coremltools calls three times a conversion.
    """
    freeze()
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def warm_children() -> Iterator[None]:
    """Let what this process starts be forked from one that has imported everything, and its stores be copies."""
    leave_writing_to_the_system()
    copy_migrations()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "CONTEXT", warm_context())
        yield


@pytest.fixture(autouse=True)
def no_inherited_store() -> Iterator[None]:
    """MLflow sets MLFLOW_TRACKING_URI wherever a store is named globally, as loading a model does: never kept.

    Nor is where the artifacts of a run lie, which MLflow remembers by its id: copies of a store have the same ids.
    """
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    utils._artifact_repos_cache.clear()
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run an entry point's `main` in this process and an empty folder; a folder may be given as `cwd`."""

    def call(module: str, *arguments: object, cwd: Path = tmp_path) -> Outcome:
        return invoke(module, *arguments, cwd=cwd)

    return call


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of sweeps that this process runs know both published networks, and train nothing."""
    monkeypatch.setattr(local, "Worker", idle_worker())


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Make a folder by a command that prints JSON, for all of pytest's processes; returns it and what was printed."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, command: Callable[[Path], Outcome]) -> tuple[Path, Any]:
        folder = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (printed := folder / "printed.json").exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed or died at it
                folder.mkdir()
                done = command(folder)
                assert done.code == 0, done.err
                (folder / "printing").write_text(done.out)
                (folder / "printing").rename(printed)  # whole or not at all
                keras.utils.set_random_seed(0)  # as for a test that finds it made
        return folder, json.loads(printed.read_text())

    return make


@pytest.fixture(scope="session")
def swept(made_once: MadeOnce) -> Iterator[Swept]:
    """A sweep of three trials over both networks, run once for all tests, which must not change it."""
    command = ["search.sweep", "--study", "small", *SWEEP, "--json"]
    made = Swept(*made_once("swept", lambda folder: invoke(*command, cwd=folder)))
    before = rows(made.folder)
    yield made
    assert rows(made.folder) == before, "a test has written to the store that all of them share"


@pytest.fixture
def own_store(swept: Swept, tmp_path: Path) -> Path:
    """A copy of the sweep's store that a test may change."""
    copy_store(swept.folder, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def promoted(swept: Swept, made_once: MadeOnce) -> Iterator[Promoted]:
    """A promotion made once for all tests, which must not change it."""
    from mlflow import MlflowClient

    def promote(folder: Path) -> Outcome:
        copy_store(swept.folder, folder)
        done = run_module("conversion.promote", "--json", cwd=folder)  # cold: nothing that is imported may chatter
        assert done.err == ""
        return done

    folder, printed = made_once("promoted", promote)
    before = rows(folder)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    version = client.get_model_version_by_alias("mnist5k-classifier", "champion")
    place = Path(client.get_logged_model(version.tags["model_id"]).artifact_location.removeprefix("file://"))
    file = Path("ios/Digits/Model/DigitClassifier.mlmodel")
    made = Promoted(folder, printed, (folder / file).read_bytes(), (place / file.name).read_bytes())
    yield made
    assert (rows(folder), shipped(folder)) == (before, made.file), "a test has changed what all of them share"


@pytest.fixture
def own_promoted(promoted: Promoted, tmp_path: Path) -> Path:
    """A copy of the promotion's folder that a test may change: its store and the promoted file."""
    copy_promoted(promoted, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared_history(promoted: Promoted, swept: Swept, made_once: MadeOnce) -> Iterator[History]:
    """Two further promotions, made once for all tests, which must not change them."""

    def promote(folder: Path) -> Outcome:
        copy_promoted(promoted, folder)
        forced = ("--version", swept.result["leaderboard"][1]["version"], "--force", "--reason", "a test")
        made = [current(folder)]
        for arguments in (("--author", "Ada"), forced):
            done = invoke("conversion.promote", *arguments, cwd=folder)
            assert done.code == 0, done.err
            made.append(current(folder))
        return Outcome(0, json.dumps(made), "")

    folder, made = made_once("history", promote)
    files = [(artifacts(folder, number) / DEFAULT_OUTPUT.name).read_bytes() for number in (1, 2, 3)]
    assert [number for _, number in made] == [1, 2, 3]
    assert len(set(files)) == 3
    assert shipped(folder) == files[-1]
    before = rows(folder)
    yield History(folder, tuple(zip(map(tuple, made), files, strict=True)))
    assert (rows(folder), shipped(folder)) == (before, files[-1]), "a test has changed what all of them share"


@pytest.fixture
def history(shared_history: History, tmp_path: Path) -> History:
    """A copy that a test may change."""
    copy_store(shared_history.folder, tmp_path)
    shutil.copytree(shared_history.folder / "ios", tmp_path / "ios")
    return replace(shared_history, folder=tmp_path)


@pytest.fixture(scope="session")
def digits_file() -> Path:
    """A file that reads digits well: the one that the app of a fresh clone comes with."""
    return ROOT / "ios/Digits/Bundled/BundledDigits.mlmodel"


@pytest.fixture(scope="session")
def promoted_digits(made_once: MadeOnce) -> Iterator[Path]:
    """A network that was trained well on mnist5k, promoted: the Core ML file, in a folder with its store."""

    def promote(folder: Path) -> Outcome:
        trial = ["--architecture", "chollet", "--filters", "16", "--batch-size", "64", "--epochs", "5", "--precision"]
        done = invoke("search.trial", *trial, "float32", "--json", cwd=folder)
        assert done.code == 0, done.err
        promotion = ["--run", done.json["run_id"], "--output", "Digits.mlmodel", "--json"]
        return invoke("conversion.promote", *promotion, cwd=folder)

    folder, printed = made_once("digits", promote)
    file = folder / printed["file"]
    before, content = rows(folder), file.read_bytes()
    yield file
    assert (rows(folder), file.read_bytes()) == (before, content), "a test has changed what all of them share"


@pytest.fixture
def cores() -> Iterator[list[int]]:
    """Two cores, or one where there are no more, on which this process and those that it starts cold then run."""
    before = os.sched_getaffinity(0)
    chosen = sorted(before)[:2]
    os.sched_setaffinity(0, chosen)
    yield chosen
    os.sched_setaffinity(0, before)
