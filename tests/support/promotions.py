"""What tests of promotions share: reading a store, and what a refusal must leave as it was."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from conversion.promotion.place import DEFAULT_OUTPUT
from tests.support.stores import DATABASES

NAME = "mnist5k-classifier"
PROMOTIONS = "mnist5k-classifier-coreml"
REFUSAL_TAGS = {"refused_at", "refused_reasons"}


@dataclass(frozen=True)
class History:
    """A folder after three promotions, two of them of one version; of each the champion and the file."""

    folder: Path
    made: tuple[tuple[tuple[int | None, int | None], bytes], ...]


def client_of(folder: Path) -> MlflowClient:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return MlflowClient(uri, uri)


def champion(folder: Path, name: str = NAME) -> int | None:
    """The version that has the alias champion."""
    models = {model.name: model for model in client_of(folder).search_registered_models()}
    return int(models[name].aliases["champion"]) if name in models and "champion" in models[name].aliases else None


def current(folder: Path) -> tuple[int | None, int | None]:
    """The champion's version, and its promotion."""
    return champion(folder), champion(folder, PROMOTIONS)


def artifacts(folder: Path, number: int, name: str = PROMOTIONS) -> Path:
    """Where the files of a version lie."""
    client = client_of(folder)
    model_id = client.get_model_version(name, str(number)).tags["model_id"]
    return Path(client.get_logged_model(model_id).artifact_location.removeprefix("file://"))


def shipped(folder: Path) -> bytes:
    """The promoted file."""
    return (folder / DEFAULT_OUTPUT).read_bytes()


def snapshot(folder: Path, *, but: Collection[str] = ()) -> dict[str, object]:
    """Everything that a refused promotion must leave as it was, `but` tags of these names."""
    client = client_of(folder)
    stores = {folder / name for name in (*DATABASES, "mlruns")}
    found = (path for top in folder.iterdir() if top not in stores for path in (top, *top.rglob("*")))
    files = {path: path.read_bytes() for path in found if path.is_file()}
    return {
        "files": files,
        "aliases": {model.name: model.aliases for model in client.search_registered_models()},
        "versions": [
            (version.name, version.version, {key: value for key, value in version.tags.items() if key not in but})
            for version in client.search_model_versions()
        ],
    }
