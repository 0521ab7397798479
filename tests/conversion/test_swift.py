"""`conversion.swift`: the Swift for a file says what the file says; `ios/check code` compiles it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from architectures import build
from conversion import runtime
from conversion.coreml.convert import FileFacts, convert
from conversion.coreml.file import Format
from conversion.coreml.writing import write
from conversion.promotion.place import DEFAULT_OUTPUT
from conversion.swift_code import literal, swift_code
from experiments.classifier import as_classifier
from tests.support.commands import Command
from tests.support.components import require
from tests.support.stores import Promoted

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
SWIFT = Path(os.environ.get("SWIFT_ROOT") or CACHE / "pocketnets/swift-trixie")

_spec = importlib.util.spec_from_file_location("make_code", ROOT / "ios/make_code.py")
assert _spec
assert _spec.loader
make_code = importlib.util.module_from_spec(_spec)
sys.modules["make_code"] = make_code  # dataclasses look their module up
_spec.loader.exec_module(make_code)


def photographs(folder: Path, format: Format = "mlmodel", **facts: str | float) -> Path:
    """An untrained network's file of 64x48 RGB, with the metadata of a promotion."""
    labels = ("cat", 'a "dog"')
    told = FileFacts(labels, "pets", "0" * 64, "malireddi", "0" * 32, "", "unknown", 0.9, **facts)
    path = folder / f"my pets.{format}"
    classifier = as_classifier(build("malireddi", (48, 64, 3), len(labels), filters=4))
    write(convert(classifier, told, format=format), path)
    return path


def test_of_promoted_digits(command: Command, promoted: Promoted) -> None:
    file = promoted.folder / DEFAULT_OUTPUT
    made = command("conversion.swift", file).out
    threshold = runtime.load(file).interface.metadata.user_defined["threshold"]
    assert made == swift_code(file).swift
    assert "actor DigitClassifierReader {" in made
    assert 'forResource: "DigitClassifier", withExtension: "mlmodelc"' in made
    assert f"static let threshold = {threshold}\n" in made
    assert 'static let labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]' in made
    assert "kCVPixelFormatType_OneComponent8" in made
    assert "`Preprocessing.render(strokes, pad: side).pixels`" in made
    assert 'inputDescriptionsByName["image"]' in made
    assert 'featureValue(for: "output")' in made


@pytest.mark.parametrize("format", ["mlmodel", "mlpackage"])
@pytest.mark.parametrize(
    ("fit", "background", "option", "color"),
    [
        ("crop", "white", "centerCrop", "red: 1, green: 1, blue: 1"),
        ("squash", "black", "scaleFill", "red: 0, green: 0, blue: 0"),
        ("pad", "1e90ff", "scaleFill", "red: 0.117647, green: 0.564706, blue: 1"),
    ],
)
def test_of_photographs(tmp_path: Path, format: Format, fit: str, background: str, option: str, color: str) -> None:
    made = swift_code(photographs(tmp_path, format, fit=fit, background=background, threshold=0.75)).swift
    assert made.count(f".{option}") == 2
    assert color in made
    assert ("canvasWidth = max(" in made) == (fit == "pad")
    assert "actor MyPetsReader {" in made
    assert 'forResource: "my pets"' in made
    assert r'static let labels = ["cat", "a \"dog\""]' in made
    assert (re.findall(r"static let (?:width|height) = (\d+)", made)) == ["64", "48"]
    assert "static let threshold = 0.7500\n" in made
    assert "kCVPixelFormatType_32BGRA" in made


def test_without_a_threshold_every_guess_is_an_answer(tmp_path: Path) -> None:
    made = swift_code(photographs(tmp_path)).swift
    assert "static let threshold = 0.0\n" in made
    assert "the file names no threshold" in made


def test_written_and_as_json(command: Command, promoted: Promoted, tmp_path: Path) -> None:
    file = promoted.folder / DEFAULT_OUTPUT
    done = command("conversion.swift", file, "--output", "Reader.swift", "--json")
    assert done.code == 0
    assert done.json == {"file": str(file), "type": "DigitClassifierReader", "swift": swift_code(file).swift}
    assert (tmp_path / "Reader.swift").read_text() == done.json["swift"]
    assert command("conversion.describe", file, "--swift").out == done.json["swift"]


def test_what_is_no_classifier_of_images_is_told(command: Command, tmp_path: Path) -> None:
    (tmp_path / "x.mlmodel").write_bytes(b"nothing")
    done = command("conversion.swift", "x.mlmodel")
    assert done.code != 0
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("text", ["\\(interpolated)", '"', "\n", "\u2028", "\x00", "ß"])
def test_no_label_ends_its_literal(text: str) -> None:
    made = literal(text)
    assert re.fullmatch(r'"([^"\\\n\r]|\\["\\nrt]|\\u\{[0-9a-f]+\})*"', made)
    assert "\\(" not in made.replace("\\\\", "")


@pytest.mark.slow
def test_a_wrong_signature_in_it_is_found(tmp_path: Path) -> None:
    require(SWIFT.is_dir() and os.geteuid() == 0, install="ios/check, as root on Debian or Ubuntu")
    ios = shutil.copytree(ROOT / "ios", tmp_path / "ios", ignore=shutil.ignore_patterns(".build"))
    make = ios / "make_code.py"
    make.write_text(make.read_text().replace("one.swift, enc", 'one.swift.replace("orientation: ", "turned: "), enc'))
    done = subprocess.run(
        [ios / "check", "code"],
        env=os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "turned" in done.stdout + done.stderr


def test_each_kind_of_file_that_a_promotion_makes_is_among_them() -> None:
    kinds = make_code.KINDS
    assert {kind.format for kind in kinds} == {"mlmodel", "mlpackage"}
    assert {kind.shape[2] for kind in kinds} == {1, 3}
    assert {kind.fit for kind in kinds} >= {"", "crop", "pad", "squash"}
    assert {bool(kind.threshold) for kind in kinds} == {True, False}
