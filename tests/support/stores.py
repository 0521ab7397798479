"""Real stores with a small sweep in them, made once for all tests."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

DATABASES = ("mlflow.db", "optuna.db")


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
    """Copy both databases; models are shared, by reference."""
    for name in DATABASES:
        shutil.copy(source / name, target / name)
