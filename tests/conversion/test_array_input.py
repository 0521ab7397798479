"""Images of other than 1 or 3 channels: a data set of them becomes a file that takes an array, checked like any other.

Core ML has no image of 2, 4 or 12 channels.
"""

from __future__ import annotations

import platform
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from architectures import build
from architectures.errors import UsageError
from conversion.coreml.convert import convert, randomize_trained
from conversion.coreml.facts import FileFacts
from conversion.coreml.file import CoreMLFile
from conversion.coreml.formats import FORMATS, Compression, Format
from conversion.coreml.writing import write
from conversion.runtime import CorruptModel, Executable, NotCheckable, load, load_model
from conversion.runtime.schema import model_class
from conversion.swift_code import swift_code
from conversion.verification import native
from experiments.classifier import PIXEL_SCALE, as_classifier
from tests.ios.test_check_models import check
from tests.support.commands import Command

FACTS = FileFacts(("a", "b", "c"), "bands", "0" * 64, "malireddi", "0" * 32, "", "unknown", 0.9)
SIDES = (20, 24)


@cache
def classifier(channels: int) -> Any:
    made = as_classifier(build("malireddi", (*SIDES, channels), 3, filters=4))
    randomize_trained(made)
    made.set_weights([weight - 0.75 for weight in made.get_weights()])  # noise about 0: no class has all of the answer
    return made


@cache
def converted(channels: int, format: Format = "mlmodel", compression: Compression = "none") -> CoreMLFile:
    return convert(classifier(channels), FACTS, format=format, compression=compression)


def saved(file: CoreMLFile, folder: Path) -> Path:
    path = folder / f"model{file.suffix}"
    write(file, path)
    return path


def noise(count: int, channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SIDES, channels), np.uint8)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("channels", [2, 4, 12])
def test_it_answers_as_the_model_does(channels: int, format: Format, tmp_path: Path) -> None:
    path = saved(converted(channels, format), tmp_path)
    file, images = load(path), noise(9, channels)
    expected = classifier(channels)(images.astype(np.float32)).numpy()
    assert np.abs(file.probabilities(images) - expected).max() < 1e-6
    assert np.ptp(expected, axis=0).max() > 1e-3  # they depend on the image
    image = file.interface.input
    assert (image.height, image.width, image.channels, image.color) == (*SIDES, channels, "ARRAY")
    assert image.scale == np.float32(PIXEL_SCALE)
    answer = load_model(path).predict({"image": images[:1].astype(np.float32)})  # as an app gives it: 1 x row x ...
    assert np.allclose(list(answer["output"].values()), expected[0], atol=1e-6)
    told = file.interface.metadata.user_defined
    assert told["pixels"] == "1 x row x column x channel, numbers from 0 to 255"
    assert "com.apple.coreml.model.preview.type" not in told  # Xcode would show it pictures


@pytest.mark.parametrize("compression", ["float16", "int8"])
@pytest.mark.parametrize("format", FORMATS)
def test_its_scale_stays_whole_where_weights_do_not(format: Format, compression: Compression, tmp_path: Path) -> None:
    image = load(saved(converted(4, format, compression), tmp_path)).interface.input
    assert image.scale == np.float32(PIXEL_SCALE)


def edited(path: Path, change: Any) -> Path:
    model = model_class().FromString(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_wrong_scale_shows(tmp_path: Path) -> None:
    def scaled(model: Any) -> None:
        model.neuralNetworkClassifier.layers[0].multiply.alpha = 1 / 256

    assert load(edited(saved(converted(4), tmp_path), scaled)).interface.input.scale == 1 / 256


def test_an_array_of_which_nobody_says_what_it_holds_is_not_checkable(tmp_path: Path) -> None:
    path = edited(saved(converted(4), tmp_path), lambda model: model.description.metadata.userDefined.pop("pixels"))
    with pytest.raises(NotCheckable, match="is of the type multiArrayType, not an image"):
        load(path)


def test_an_array_of_another_rank_is_damage(tmp_path: Path) -> None:
    path = edited(
        saved(converted(4), tmp_path), lambda model: model.description.input[0].type.multiArrayType.shape.pop()
    )
    with pytest.raises(CorruptModel, match=r"has the shape \(1, 20, 24\), not 1 x row"):
        load(path)


def test_pictures_are_refused_in_one_line(command: Command, tmp_path: Path) -> None:
    path = saved(converted(4), tmp_path)
    picture = tmp_path / "pictures" / "x.png"
    picture.parent.mkdir()
    picture.write_bytes(b"")
    expected = (
        "The file takes an array of 1x20x24x4 numbers, not pictures: give it a data set of such arrays, npz:FILE."
    )
    for source in (picture, picture.parent, f"folder:{picture.parent}"):
        done = command("conversion.predict", path, source)
        assert (done.code, done.error) == (2, f"error: {expected}")
    with pytest.raises(UsageError, match="not pictures: give it"):
        load(path).predict(picture)
    with pytest.raises(
        NotCheckable, match=r"takes an array of 1x20x24x4 numbers instead of an image: docs/own-app.md shows"
    ):
        swift_code(path)


def test_the_app_says_that_it_cannot_fill_one(tmp_path: Path) -> None:
    ios = tmp_path / "ios"
    shutil.copytree(check.IOS / "DigitKit/Sources", ios / "DigitKit/Sources")
    write(converted(4), ios / "Digits/Model/Classifier.mlmodel")
    (fault,) = [each for each in check.faults_of_model(ios) if "takes" in each]
    assert (
        fault == "Classifier.mlmodel: takes an array of 1x20x24x4 numbers, the app gives images of GRAYSCALE, RGB, BGR"
    )


class AppleModel:
    """Apple's runtime as far as it is asked here: it takes an array of float32."""

    executable: Executable

    def __init__(self, path: str, compute_units: object) -> None: ...

    def predict(self, given: dict[str, np.ndarray]) -> dict[str, Any]:
        array = given["image"]
        assert (array.dtype, array.shape) == (np.float32, (1, *SIDES, 4))
        row = self.executable.probabilities(array.astype(np.uint8))[0]
        return {"output": dict(zip(FACTS.class_names, row.tolist(), strict=True))}


def test_apples_runtime_is_given_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(converted(4), tmp_path)
    AppleModel.executable = load(path)
    fake = SimpleNamespace(models=SimpleNamespace(MLModel=AppleModel), ComputeUnit=SimpleNamespace(CPU_ONLY=0))
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(native, "coremltools", lambda: fake)
    assert native.compare(path, AppleModel.executable, noise(3, 4)).status == "agrees"


@pytest.mark.slow
def test_a_data_set_of_two_channels_is_trained_promoted_verified_and_predicted(
    command: Command, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 160), ("val", 40), ("test", 40)):
        labels = rng.integers(0, 2, count)
        images = rng.integers(0, 90, (count, *SIDES, 2), np.uint8)
        images[np.arange(count), :, 6:12, labels] = 220  # which channel is bright says which class it is
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
    np.savez(tmp_path / "bands.npz", **arrays)
    trial = ["--architecture", "malireddi", "--filters", "4", "--batch-size", "16", "--epochs", "4", "--json"]
    trained = command("search.trial", "--dataset", "npz:bands.npz", *trial).json
    promote = ["--model", "npz-bands-classifier", "--output", "bands.mlmodel", "--json"]
    promoted = command("conversion.promote", *promote).json
    assert promoted["decision"] == "promoted"
    assert promoted["coreml_bytes"] == trained["coreml_bytes"] == (tmp_path / "bands.mlmodel").stat().st_size
    assert command("conversion.verify", "bands.mlmodel", "--run", trained["run_id"]).code == 0
    told = command("conversion.predict", "bands.mlmodel", "npz:bands.npz", "--html", "page.html", "--json").json
    assert told["evaluation"]["accuracy"] == promoted["val_accuracy"]
    described = command("conversion.describe", "bands.mlmodel").out
    assert "array FLOAT32 1x20x24x2  An image of 24x20 pixels and 2 channels as an array: 1 x row x" in described
