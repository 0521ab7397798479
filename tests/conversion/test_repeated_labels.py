"""A file whose list of classes has a name twice, as ImageNet's has "crane": it executes, and shows which of them."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conversion.coreml.convert import Converter
from conversion.coreml.formats import FORMATS
from conversion.coreml.writing import write
from conversion.draw.collection import collection_in
from conversion.draw.reader import open_reader
from conversion.draw.request import parse_correction, parse_drawing
from conversion.runtime import Executable, load
from conversion.verification import native
from tests.conversion.test_convert import FACTS, randomized

NAMES = ("crane", "dog", "crane", "4", "5", "6", "7", "8", "9", "10")
SHOWN = ("crane [0]", "dog", "crane [2]", "4", "5", "6", "7", "8", "9", "10")
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), dtype=np.uint8)


@pytest.fixture(scope="module", params=FORMATS)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    converter = Converter(randomized("malireddi", (28, 28, 1), filters=4), replace(FACTS, class_names=NAMES))
    path = tmp_path_factory.mktemp("cranes") / f"model.{request.param}"
    write(converter.file(format=request.param), path)
    return path


def test_it_executes_and_tells_which(file: Path) -> None:
    executable = load(file)
    assert executable.interface.labels == NAMES
    assert executable.interface.shown_labels == SHOWN
    answer = executable.predict(IMAGES)
    assert answer.indices == answer.probabilities.argmax(axis=1).tolist()
    assert answer.labels == [NAMES[index] for index in answer.indices]


def test_the_mlflow_model_has_a_column_for_each(file: Path) -> None:
    from conversion.promotion import pyfunc_model

    table = pyfunc_model.load(file)(IMAGES)
    assert isinstance(table, pd.DataFrame)
    assert table.columns.tolist() == ["classLabel", *SHOWN]
    assert set(table["classLabel"]) <= set(SHOWN)


STROKE = {"pad": 300, "strokes": [[[100, 100], [200, 200]]]}


def test_the_drawing_page_offers_each(file: Path, tmp_path: Path) -> None:
    reader = open_reader(file)
    assert reader.labels == SHOWN
    guesses = reader.read(parse_drawing(json.dumps(STROKE).encode())).guesses
    assert len({guess.label for guess in guesses}) == len(guesses)
    correction = parse_correction(json.dumps({**STROKE, "label": "crane [2]"}).encode(), reader.labels)
    kept = collection_in(tmp_path / "kept", reader.labels).add(correction)
    assert kept.parent.name == "crane [2]"


class AppleModel:
    """Apple's runtime answers by name: of two classes of one name it says one probability."""

    executable: Executable

    def __init__(self, path: str, compute_units: object) -> None: ...

    def predict(self, given: dict[str, Any]) -> dict[str, Any]:
        (picture,) = given.values()
        row = self.executable.probabilities(np.array(picture)[None, :, :, None])[0]
        return {"output": {name: float(value) for name, value in zip(NAMES, row, strict=True)}}


def test_apples_runtime_is_compared_where_a_name_says_which(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    AppleModel.executable = load(file)
    fake = SimpleNamespace(models=SimpleNamespace(MLModel=AppleModel), ComputeUnit=SimpleNamespace(CPU_ONLY=0))
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(native, "coremltools", lambda: fake)
    found = native.compare(file, AppleModel.executable, IMAGES)
    assert (found.status, found.images) == ("agrees", len(IMAGES))
