"""Fixtures that several packages' tests share: a real store with a real, small sweep in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import architectures.quiet

architectures.quiet.import_tensorflow()  # first and in silence: several modules would import it in any order

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so would its children

PUBLISHED = ["--architecture", "chollet", "--architecture", "malireddi"]
SMALL = ["--trials", "3", "--epochs", "3", "--filters", "4,8", "--batch-size", "64", "--keep", "2", "--pruner", "none"]
SWEEP = [*SMALL, *PUBLISHED]


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """The one JSON object on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of error; fails if there are more, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), self.err
        return lines[0]


def run_module(module: str, *arguments: object, cwd: Path, **environment: str) -> Outcome:
    """Run `python -m module` in a folder as a person would."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "140", **environment},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(autouse=True)
def no_inherited_store() -> Iterator[None]:
    """MLflow sets MLFLOW_TRACKING_URI wherever a store is named globally, as loading a model does: never kept."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run an entry point's `main` in this process and an empty folder; a folder may be given as `cwd`."""
    import importlib

    def call(module: str, *arguments: object, cwd: Path = tmp_path) -> Outcome:
        monkeypatch.chdir(cwd)
        capfd.readouterr()
        try:
            code = importlib.import_module(module).main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # argparse
            code = int(stopped.code or 0)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


@dataclass(frozen=True)
class Swept:
    """A folder with mlflow.db and optuna.db after a small sweep."""

    folder: Path
    result: dict  # what --json printed

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    """A sweep of three trials over both networks, run once for all tests, which must not change it."""
    folder = tmp_path_factory.mktemp("swept")
    done = run_module("search.sweep", "--study", "small", *SWEEP, "--json", cwd=folder)
    assert done.code == 0, done.err
    return Swept(folder, done.json)


@pytest.fixture
def own_store(swept: Swept, tmp_path: Path) -> Path:
    """A copy of the sweep's store that a test may change: mlflow.db and optuna.db, models by reference."""
    _copy_store(swept.folder, tmp_path)
    return tmp_path


def _copy_store(source: Path, target: Path) -> None:
    import shutil

    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(source / name, target / name)


@dataclass(frozen=True)
class Promoted:
    """A folder in which the best model of the sweep was promoted."""

    folder: Path
    result: dict  # what --json printed
    file: bytes
    attached: bytes  # the file among the artifacts of the promoted version


@pytest.fixture(scope="session")
def promoted(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Promoted:
    """A promotion made once for all tests, which must not change it."""
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("promoted")
    _copy_store(swept.folder, folder)
    done = run_module("conversion.promote", "--json", cwd=folder)
    assert done.code == 0, done.err
    assert done.err == ""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    version = client.get_model_version_by_alias("mnist5k-classifier", "champion")
    place = Path(client.get_logged_model(version.tags["model_id"]).artifact_location.removeprefix("file://"))
    file = Path("ios/Digits/Model/DigitClassifier.mlmodel")
    return Promoted(folder, done.json, (folder / file).read_bytes(), (place / file.name).read_bytes())


@pytest.fixture
def own_promoted(promoted: Promoted, tmp_path: Path) -> Path:
    """A copy of the promotion's folder that a test may change: databases and promoted file, models by reference."""
    import shutil

    _copy_store(promoted.folder, tmp_path)
    shutil.copytree(promoted.folder / "ios", tmp_path / "ios")
    return tmp_path


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained well on mnist5k, promoted: the Core ML file, in a folder with its store."""
    from conversion.promote import PromoteConfig, promote

    folder = tmp_path_factory.mktemp("promoted")
    trial = ["--architecture", "chollet", "--filters", "16", "--batch-size", "64", "--epochs", "8", "--precision"]
    done = run_module("search.trial", *trial, "float32", "--json", cwd=folder)
    assert done.code == 0, done.err
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return promote(PromoteConfig(uri, run_id=done.json["run_id"], output=folder / "Digits.mlmodel")).path


def require(found: object, *, install: str) -> None:
    """Skip a test whose component is missing, and name the line that installs it; CI makes the skip a failure."""
    if not found:
        missing = f"missing component; it is installed by: {install}"
        if os.environ.get("REQUIRE_COMPONENTS"):
            pytest.fail(missing)
        pytest.skip(missing)
