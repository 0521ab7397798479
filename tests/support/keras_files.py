"""`.keras` files to damage, and what loading them ends in."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import keras
import pytest

import architectures
from architectures.errors import ProjectError
from experiments.classifier import as_classifier, load_classifier

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"


@cache
def right() -> dict[str, bytes]:
    """The members of a right file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        as_classifier(architectures.build("malireddi", (28, 28, 1), 10, filters=2)).save(path)
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def load(path: Path) -> keras.Model:
    """Load a file whose record agrees with it, as after a forged registration."""
    return load_classifier(path, hashlib.sha256(path.read_bytes()).hexdigest())


def refusal(path: Path) -> str:
    """The one line of a refusal, during which no file has appeared beside the model."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(ProjectError) as found:
        load(path)
    text = str(found.value)
    assert text.startswith(path.name)
    assert "\n" not in text
    assert len(text) < 600
    assert sorted(path.parent.rglob("*")) == before
    return text
