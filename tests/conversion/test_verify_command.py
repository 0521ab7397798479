"""`conversion.verify` on the promoted file, on damaged ones, and on ones that are not checkable."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import coremltools
import pytest

from conversion.promotion.place import DEFAULT_OUTPUT
from tests.support.commands import Command, Outcome
from tests.support.stores import Promoted, Swept, copy_store


@pytest.fixture(scope="module")
def promoted(promoted: Promoted, tmp_path_factory: pytest.TempPathFactory) -> Promoted:
    """A copy: each verification looks at the test images, which is recorded."""
    folder = tmp_path_factory.mktemp("verified")
    copy_store(promoted.folder, folder)
    shutil.copytree(promoted.folder / "ios", folder / "ios")
    return replace(promoted, folder=folder)


def test_verify_the_promoted_file(promoted: Promoted, command: Command) -> None:
    folder, result = promoted.folder, promoted.result
    found = command("conversion.verify", DEFAULT_OUTPUT, "--run", result["run_id"], "--json", cwd=folder)
    assert found.code == 0, found.err
    assert found.json["verified"] is True
    assert found.json["run_id"] == result["run_id"]
    table = command("conversion.verify", DEFAULT_OUTPUT, "--run", result["run_id"], cwd=folder)
    assert "verified" in table.out
    assert "500 images executed" in table.out
    half = found.json["half"]
    assert (half["images"], half["accumulation"], half["overflow"], half["not_numbers"]) == (200, "float32", None, 0)
    assert 0 < half["max_difference"] < 0.05
    assert f"float16, simulated, sums in float32: {half['label_flips']} of 200 labels differ" in table.out
    assert result["float16"] == half
    exact, narrow = found.json["arithmetic"]
    assert [exact["executed"], narrow["executed"]] == ["float32", "float16"]
    assert exact["max_difference"] < 1e-5 < narrow["max_difference"]  # float32 is the model's, but for rounding
    assert result["arithmetic"] == [exact, narrow]
    rows = [line.split() for line in table.out.splitlines()]
    assert ["val,", "200", "images,", "against", "the", "model", "float32", "float16,", "simulated"] in rows
    told = [f"{part['max_difference']:.1e}" for part in (exact, narrow)]
    assert ["probability", "moved,", "at", "most", *told] in rows
    page = Path(folder, result["page"]).read_text()
    assert '<th scope="col">float32</th><th scope="col">float16, simulated</th>' in page
    assert f"at most</td><td>{told[0]}</td><td>{told[1]}</td>" in page


def _one_label_less(spec: Any) -> None:
    del spec.neuralNetworkClassifier.stringClassLabels.vector[-1]


def _other_size(spec: Any) -> None:
    spec.description.input[0].type.imageType.height = 29


@pytest.mark.parametrize("mutate", [_one_label_less, _other_size], ids=lambda mutate: mutate.__name__.strip("_"))
def test_a_file_that_cannot_take_the_images_differs(
    mutate, promoted: Promoted, tmp_path: Path, command: Command
) -> None:
    folder, result = promoted.folder, promoted.result
    spec = coremltools.utils.load_spec(str(folder / DEFAULT_OUTPUT))
    mutate(spec)
    wrong = tmp_path / "wrong.mlmodel"
    wrong.write_bytes(spec.SerializeToString())
    found = command("conversion.verify", wrong, "--run", result["run_id"], cwd=folder)
    assert found.code == 1, found
    assert found.err.startswith("error: ")


def test_an_unknown_layer_is_not_checkable(promoted: Promoted, tmp_path: Path, command: Command) -> None:
    folder, result = promoted.folder, promoted.result
    spec = coremltools.utils.load_spec(str(folder / DEFAULT_OUTPUT))
    layer = spec.neuralNetworkClassifier.layers[1]
    layer.ClearField(layer.WhichOneof("layer"))
    layer.custom.className = "Secret"
    odd = tmp_path / "odd.mlmodel"
    odd.write_bytes(spec.SerializeToString())
    found = command("conversion.verify", odd, "--run", result["run_id"], cwd=folder)
    assert found.code == 3
    assert "custom" in found.error


@pytest.mark.parametrize("content", [b"", b"not a model", os.urandom(1 << 16)])
def test_a_damaged_file(content: bytes, promoted: Promoted, tmp_path: Path, command: Command) -> None:
    folder, result = promoted.folder, promoted.result
    file = tmp_path / "damaged.mlmodel"
    file.write_bytes(content)
    found: Outcome = command("conversion.verify", file, "--run", result["run_id"], cwd=folder)
    assert found.code in {1, 3}
    assert str(file) in found.error


def test_the_file_of_another_run(promoted: Promoted, swept: Swept, command: Command) -> None:
    other = swept.result["leaderboard"][1]["run_id"]
    found = command("conversion.verify", DEFAULT_OUTPUT, "--run", other, cwd=promoted.folder)
    assert found.code == 1
    assert "probabilities differ" in found.err
