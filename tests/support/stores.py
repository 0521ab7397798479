"""Real stores: migrated once and copied, and with a small sweep in them, made once for all tests."""

from __future__ import annotations

import functools
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.store.db import utils
from optuna.storages._rdb.storage import _VersionManager
from sqlalchemy import Engine, event

from experiments.databases import sqlite_path
from experiments.tracking import store
from tests.support.commands import Outcome

MadeOnce = Callable[[str, Callable[[Path], Outcome]], tuple[Path, Any]]  # the fixture `made_once`
DATABASES = ("mlflow.db", "optuna.db")
PLACES = (  # in MLflow's tables: where artifacts lie
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


@dataclass(frozen=True)
class Swept:
    """A folder with mlflow.db and optuna.db after a small sweep."""

    folder: Path
    result: dict  # what --json printed

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"


@dataclass(frozen=True)
class Promoted:
    """A folder in which the best model of the sweep was promoted."""

    folder: Path
    result: dict  # what --json printed
    file: bytes
    attached: bytes  # the file among the artifacts of the promoted version


def copy_store(source: Path, target: Path) -> None:
    """Copy both databases and the artifacts, and let the copy refer to these."""
    for name in DATABASES:
        shutil.copy(source / name, target / name)
    shutil.copytree(source / "mlruns", target / "mlruns", dirs_exist_ok=True)
    with closing(sqlite3.connect(target / "mlflow.db")) as database:
        for table, column in PLACES:
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(source), str(target)))
        database.commit()


def copy_promoted(promoted: Promoted, target: Path) -> None:
    """Copy a promotion's store, and the promoted file in its place."""
    copy_store(promoted.folder, target)
    shutil.copytree(promoted.folder / "ios", target / "ios")


def rows(folder: Path) -> dict[str, int]:
    """How much a store holds: what a test that changes it would change."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        tables = ("runs", "tags", "metrics", "model_versions", "model_version_tags")
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


@functools.cache
def leave_writing_to_the_system() -> None:
    """Let SQLite not wait for the disk at each commit: what is killed loses nothing by it, only a machine would."""

    @event.listens_for(Engine, "connect")
    def unsynchronized(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            with suppress(sqlite3.DatabaseError):  # a file that is none: who connected to it will hear
                connection.execute("PRAGMA synchronous = OFF")


@functools.cache
def copy_migrations() -> None:
    """Make each MLflow store that this process makes as a copy of one: its forty migrations take a second and more.

    Which revision of their tables MLflow and Optuna want is found out once: they import all migrations for it.
    """
    utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)
    newest = _VersionManager.get_head_version
    found: list[str] = []

    def head(self: _VersionManager) -> str:
        if not found:
            found.append(newest(self))
        return found[0]

    setattr(_VersionManager, "get_head_version", head)  # noqa: B010  # mypy knows it as a method

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        store._make_store(f"sqlite:///{path}")
        made = path.read_bytes()

    def copied(uri: str) -> None:
        path = sqlite_path(uri)
        assert path
        path.write_bytes(made)
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE experiments SET artifact_location = ?", (f"{Path.cwd()}/mlruns/0",))
            database.commit()

    store._make_store = copied
