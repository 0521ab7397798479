"""The model that a fresh clone's app reads with: what its evidence says of it holds, and promotions do not touch it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conversion import runtime
from conversion.draw.reader import open_reader
from conversion.draw.request import Drawing
from conversion.promotion.place import default_output
from conversion.verification.threshold import measure
from experiments import datasets
from tests.support.commands import Command
from tests.support.components import require

ROOT = Path(__file__).parents[2]
IOS = ROOT / "ios"
FILE = IOS / "Digits/Bundled/BundledDigits.mlmodel"
MOST_BYTES = 7_000
ONE = (((50.0, 10.0), (50.0, 90.0)),)
SEVEN = (((25.0, 20.0), (75.0, 20.0), (40.0, 85.0)),)


@pytest.fixture(scope="module")
def evidence() -> dict:
    return json.loads((IOS / "Evidence/promotion.json").read_text())


def test_it_is_the_file_that_its_evidence_is_of(evidence: dict) -> None:
    content = FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == evidence["coreml_sha256"]
    assert len(content) == evidence["coreml_bytes"] < MOST_BYTES
    assert evidence["decision"] == "promoted"
    assert evidence["coreml_sha256"] in (IOS / "Evidence/promotion.html").read_text()


def test_it_reads_the_validation_images_as_well_as_it_says(evidence: dict) -> None:
    split = datasets.load("mnist5k").val
    file = runtime.load(FILE)
    measured = measure(file.probabilities(split.images), split.labels)
    user = file.interface.metadata.user_defined
    assert measured.val_accuracy == evidence["val_accuracy"] == float(user["val_accuracy"]) > 0.98
    assert measured.threshold == evidence["threshold"] == float(user["threshold"]) > 0


@pytest.mark.parametrize(("strokes", "label"), [(ONE, "1"), (SEVEN, "7")])
def test_it_reads_what_is_drawn(strokes: tuple, label: str) -> None:
    answer = open_reader(FILE).read(Drawing(strokes, 100.0))
    assert answer.guesses[0].label == label
    assert answer.sure


def test_the_app_prefers_a_promoted_model() -> None:
    source = (IOS / "DigitKit/Sources/DigitKit/ModelInterface.swift").read_text()
    (names,) = re.findall(r"resources = \[(.+)\]", source)
    assert re.findall(r"\w+", names) == ["Classifier", "DigitClassifier", "BundledDigits"]


def git(folder: Path, *arguments: str) -> str:
    require(shutil.which("git"), install="apt-get install git")
    done = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def test_git_status_stays_clean_where_models_are_promoted(command: Command, own_store: Path) -> None:
    (own_store / "printed.json").unlink(missing_ok=True)
    before = {path.name for path in own_store.iterdir()}
    (own_store / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    git(own_store, "init", "-q")
    git(own_store, "add", ".gitignore")
    kept = [name for name in before if name not in git(own_store, "status", "--porcelain")]
    assert kept
    status = git(own_store, "status", "--porcelain", "--untracked-files=all")
    done = command("conversion.promote", "--json", cwd=own_store)
    assert done.code == 0, done.err
    made = own_store / done.json["file"]
    assert made.exists()
    assert git(own_store, "status", "--porcelain", "--untracked-files=all") == status
    elsewhere = own_store / default_output("photos", image=(96, 96, 3), labels=("cat", "dog"))
    elsewhere.parent.mkdir(parents=True)
    made.rename(elsewhere)
    assert git(own_store, "status", "--porcelain", "--untracked-files=all") == status


def test_the_bundled_model_is_not_ignored() -> None:
    require((ROOT / ".git").exists(), install="git clone, instead of an archive")
    ignored = git(ROOT, "ls-files", "--cached", "--others", "--ignored", "--exclude-standard", "--", str(FILE))
    assert not ignored
