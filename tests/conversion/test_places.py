"""A place belongs to one registered model: another one's promotion, or its rollback, does not take it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from conversion import runtime
from conversion.promotion.config import PromoteConfig
from conversion.promotion.in_place import taken
from conversion.promotion.pipeline import promote
from conversion.promotion.place import DEFAULT_OUTPUT, OutputPlace, default_output, output_path
from experiments.tracking import Tracker
from tests.support.commands import Command
from tests.support.promotions import NAME, REFUSAL_TAGS, History, shipped, snapshot
from tests.support.stores import Promoted, Swept

OTHER = "other-classifier"
DIGITS = tuple("0123456789")


def tracker_of(folder: Path) -> Tracker:
    return Tracker(f"sqlite:///{folder / 'mlflow.db'}", create=False)


def register_other(folder: Path) -> None:
    """Let another registered model hold the same kept model."""
    tracker = tracker_of(folder)
    tracker.registry.register(OTHER, tracker.registry.best(NAME))


@pytest.fixture
def two_models(own_promoted: Path) -> Path:
    """The promotion's folder, with another registered model."""
    register_other(own_promoted)
    return own_promoted


@pytest.mark.parametrize(
    ("name", "image", "labels", "found"),
    [
        (NAME, (28, 28, 1), DIGITS, DEFAULT_OUTPUT),
        ("night", (28, 28, 1), DIGITS, DEFAULT_OUTPUT),
        ("fashion_mnist-classifier", (28, 28, 1), ("shirt", *DIGITS[1:]), None),
        ("digits-classifier", (8, 8, 1), DIGITS, None),
        ("photos-classifier", (96, 96, 3), ("cat", "dog"), None),
        ("colour", (28, 28, 3), DIGITS, None),
    ],
)
def test_the_place_of_a_registered_model(
    name: str, image: tuple[int, int, int], labels: tuple[str, ...], found: Path | None
) -> None:
    expected = found or Path(f"ios/Models/{name}/Classifier.mlmodel")
    assert default_output(name, image=image, labels=labels) == expected


def test_no_name_leads_out_of_the_folder() -> None:
    for name in (".", ".."):
        assert ".." not in default_output(name, image=(9, 9, 1), labels="ab").parts
        assert len(default_output(name, image=(9, 9, 1), labels="ab").parts) == 4


@pytest.mark.slow
def test_colour_pictures_do_not_take_the_digits_place(own_promoted: Path, command: Command) -> None:
    """The line that the trial prints, as it stands."""
    random, labels = np.random.default_rng(0), np.arange(240) % 2
    images = random.integers(0, 90, (240, 16, 16, 3), dtype=np.uint8)
    images[labels == 1, :, :, 0] += 160
    splits = {"train": slice(160), "val": slice(160, 200), "test": slice(200, 240)}
    arrays = {
        f"{axis}_{name}": array[part] for name, part in splits.items() for axis, array in (("x", images), ("y", labels))
    }
    np.savez(own_promoted / "photos.npz", **arrays)
    digits = shipped(own_promoted)
    small = ("--architecture", "malireddi", "--filters", "4", "--epochs", "3", "--batch-size", "16")
    trial = command("search.trial", "--dataset", "npz:photos.npz", *small)
    assert trial.code == 0, trial.err
    _, module, *arguments = shlex.split(re.search(r"Next: python (-m .*)", trial.out)[1])
    done = command(module, *arguments, "--json")
    assert done.code == 0, done.err
    assert done.json["file"] == "ios/Models/npz-photos-classifier/Classifier.mlmodel"
    assert runtime.load(own_promoted / done.json["file"]).interface.input.channels == 3
    assert shipped(own_promoted) == digits
    assert output_path("made/", Path(done.json["file"])) == Path("made/Classifier.mlmodel")
    refused = command(module, *arguments, "--output", DEFAULT_OUTPUT)
    assert refused.code == 3
    assert f"{DEFAULT_OUTPUT} holds a promotion of {NAME}, not of npz-photos-classifier" in refused.error
    assert shipped(own_promoted) == digits


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DigitClassifier.mlmodel", ()),
        pytest.param("DigitClassifier.mlpackage", (), marks=pytest.mark.slow),
        pytest.param("DigitClassifier.mlpackage", ("--dry-run",), marks=pytest.mark.slow),
    ],
)
def test_the_place_of_another_model_is_refused(
    two_models: Path, name: str, options: tuple[str, ...], command: Command
) -> None:
    before = snapshot(two_models, but=REFUSAL_TAGS)
    format = name.rpartition(".")[2]
    arguments = ("conversion.promote", "--model", OTHER, "--output", DEFAULT_OUTPUT.with_name(name), "--format", format)
    found = command(*arguments, *options, "--json")
    assert found.code == 3
    assert found.json["test_look"] is None
    (reason,) = found.json["reasons"]
    assert reason.startswith(f"{DEFAULT_OUTPUT} holds a promotion of {NAME}, not of {OTHER}: move it, choose")
    assert snapshot(two_models, but=REFUSAL_TAGS) == before


@pytest.mark.slow
def test_elsewhere_both_stand_and_neither_goes_to_the_others_place(history: History, command: Command) -> None:
    folder, (_, (_, before_last), (_, last)) = history.folder, history.made
    register_other(folder)
    assert command("conversion.promote", "--model", OTHER, "--output", "night/").code == 0
    assert (folder / "night/DigitClassifier.mlmodel").is_file()
    assert shipped(folder) == last
    found = command("conversion.promote", "--output", "night/")
    assert found.code == 3
    assert f"holds a promotion of {OTHER}, not of {NAME}" in found.error

    before = snapshot(folder)
    found = command("conversion.rollback", "--output", "night/")
    assert found.code == 3
    assert f"holds a promotion of {OTHER}, not of {NAME}" in found.error
    assert snapshot(folder) == before
    assert command("conversion.rollback").code == 0
    assert shipped(folder) == before_last


def test_a_file_of_a_store_that_is_gone(promoted: Promoted, swept: Swept) -> None:
    """Its run and its digest tell nothing then, its data set does."""
    empty = Tracker(f"sqlite:///{swept.folder / 'mlflow.db'}", create=False)
    path = promoted.folder / DEFAULT_OUTPUT
    assert not empty.promotions.promoted_as(promoted.result["coreml_sha256"], path)
    assert taken(path, empty, name=NAME, dataset="mnist5k") is None
    assert f"of {NAME}, not of photos" in str(taken(path, empty, name="photos", dataset="mnist5k"))  # by its run


def test_a_file_that_no_store_knows(promoted: Promoted, tmp_path: Path) -> None:
    empty = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}")
    path = promoted.folder / DEFAULT_OUTPUT
    assert taken(path, empty, name="any", dataset="mnist5k") is None
    assert "a model of mnist5k that this store does not know" in str(taken(path, empty, name="any", dataset="photos"))


@pytest.mark.parametrize("given", ["Photos.onnx", "out/Digits.tflite", "Digits.MLMODEL", ""])
def test_other_files_are_refused(given: str, tmp_path: Path, command: Command) -> None:
    for module in ("conversion.promote", "conversion.rollback"):
        found = command(module, "--output", given)
        assert found.code == 2
        assert "--output" in found.error
    with pytest.raises(Exception, match="output: "):
        promote(PromoteConfig("sqlite:///none.db", output=given))


def test_folders_and_versions_are_no_endings(tmp_path: Path) -> None:
    (tmp_path / "models.d").mkdir()
    for given in ("v1.2", "build.d/", "Digits", "Digits.mlpackage", str(tmp_path / "models.d")):
        assert OutputPlace()(given) == given
