"""`conversion.predict`: a Core ML classifier executed on pictures, as a command and from Python."""

from __future__ import annotations

import csv
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from architectures.errors import ProjectError, UsageError
from conversion.coreml.file import mlmodel
from conversion.coreml.writing import write
from conversion.predictions import predict_pictures
from conversion.runtime import load
from conversion.runtime.reading import form_of
from conversion.runtime.schema import model_class
from experiments import datasets
from experiments.datasets import pixels
from experiments.evaluation.intervals import accuracy_interval
from tests.conversion.fuzz import sample
from tests.support.commands import Command

SEEDS = Path(__file__).parent / "fuzz" / "seeds"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A classifier of 28x28 gray digits."""
    (tmp_path / "model").mkdir()
    return sample.read(SEEDS / "network.zip").write(tmp_path / "model")


def with_metadata(path: Path, **told: str) -> Path:
    model = model_class().FromString(path.read_bytes())
    for name, text in told.items():
        model.description.metadata.userDefined[name] = text
    write(mlmodel(model.SerializeToString()), path)
    return path


def photograph(path: Path, seed: int = 0, size: tuple[int, int] = (40, 60)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def test_one_picture(command: Command, digits: Path, tmp_path: Path) -> None:
    path = photograph(tmp_path / "x.png")
    done = command("conversion.predict", digits, path, "--json", "--top", "2")
    assert (done.code, done.err) == (0, "")
    (answer,) = done.json["answers"]
    file = load(digits)
    image = pixels.read(path, form_of(file.interface))
    expected = file.probabilities(image[None, :, :, None])[0]
    order = np.argsort(-expected)[:2]
    assert answer["image"] == str(path)
    assert [one["label"] for one in answer["top"]] == [file.interface.labels[index] for index in order]
    assert [one["probability"] for one in answer["top"]] == expected[order].tolist()
    assert done.json["evaluation"] is None


def test_pictures_are_fitted_as_the_metadata_say(digits: Path, tmp_path: Path) -> None:
    path = photograph(tmp_path / "x.png")
    found = {fit: predict_pictures(digits, [str(path)], fit=fit).answers[0].top for fit in ("crop", "pad", "squash")}
    assert len(set(found.values())) == 3
    assert predict_pictures(digits, [str(path)]).answers[0].top == found["crop"]
    told = with_metadata(digits, fit="pad", background="black")
    assert predict_pictures(told, [str(path)]).form.background == "black"
    assert predict_pictures(told, [str(path)], background="white").answers[0].top == found["pad"]
    assert predict_pictures(told, [str(path)], fit="squash").answers[0].top == found["squash"]
    untold = with_metadata(digits, fit="none", background="none")
    assert predict_pictures(untold, [str(path)]).answers[0].top == found["crop"]


def test_a_data_set_is_judged_on_its_validation_images(command: Command, digits: Path) -> None:
    data = datasets.load("mnist5k")
    expected = load(digits).probabilities(data.val.images).argmax(axis=1)
    done = command("conversion.predict", digits, "mnist5k", "--json")
    right = int((expected == data.val.labels).sum())
    worth = done.json["evaluation"]
    assert (worth["correct"], worth["images"], done.json["images"]) == (right, 500, 500)
    assert (worth["accuracy_low"], worth["accuracy_high"]) == accuracy_interval(right, 500)
    assert sum(map(sum, worth["confusion_matrix"])) == 500
    assert len(done.json["mistakes"]) == 500 - right
    sure = [mistake["top"][0]["probability"] for mistake in done.json["mistakes"]]
    assert sure == sorted(sure, reverse=True)
    assert len(predict_pictures(digits, ["mnist5k"], split="train").answers) == 4000
    shown = command("conversion.predict", digits, "mnist5k").out
    assert f"{right:,} of 500 right: accuracy {right / 500:.4f}, 95 % interval" in shown


def test_a_folder_per_label_is_judged(command: Command, digits: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("3/a.png", "3/deep/b.png", "7/c.jpg", "cats/d.png", "e.png")):
        photograph(tmp_path / "photos" / name, number)
    (tmp_path / "photos" / "3" / "notes.txt").write_text("text")
    (tmp_path / "photos" / ".hidden.png").write_text("")
    done = command("conversion.predict", digits, tmp_path / "photos", "--json")
    truths = {Path(answer["image"]).name: answer["truth"] for answer in done.json["answers"]}
    assert truths == {"a.png": "3", "b.png": "3", "c.jpg": "7", "d.png": None, "e.png": None}
    assert done.json["evaluation"]["images"] == 3
    assert any("not read: 1 .txt" in note for note in done.json["notes"])
    assert any("cats (1)" in note for note in done.json["notes"])
    assert done.code == 0


@pytest.mark.parametrize("outer", ["", "archive"])
def test_a_folder_of_splits_is_a_data_set(digits: Path, tmp_path: Path, outer: str) -> None:
    root = tmp_path / "photos"
    for number, (split, label) in enumerate(itertools.product(("train", "val", "test"), "0123456789")):
        photograph(root / outer / split / label / "x.png", number)
    found = predict_pictures(digits, [str(root)])
    assert {Path(answer.picture.name).parts[-3] for answer in found.answers} == {"val"}
    assert len(found.answers) == 10
    assert found.form.size == (28, 28)


def test_what_cannot_be_read_is_named_and_the_rest_answered(command: Command, digits: Path, tmp_path: Path) -> None:
    photograph(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "b.png").write_bytes(b"no image")
    done = command("conversion.predict", digits, tmp_path / "photos", "--json")
    assert done.code == 1
    assert len(done.json["answers"]) == 1
    assert "b.png is not a readable image" in done.error


def test_wrong_sources_are_told(command: Command, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    images, labels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 10
    np.savez(tmp_path / "small.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for source, words in {
        "nowhere.jpg": "There is no file, folder or data set 'nowhere.jpg'",
        str(tmp_path / "empty"): "no images were found",
        f"npz:{tmp_path}/small.npz": "npz-small holds images of 8x8x1; the file takes 28x28x1",
    }.items():
        done = command("conversion.predict", digits, source)
        assert done.code == 2
        assert words in done.error
    assert "is not a colour" in command("conversion.predict", digits, "mnist5k", "--background", "mauvish").error
    assert command("conversion.predict", digits, "mnist5k", "--split", "test").code == 2


def test_labels_of_the_data_must_be_the_files(digits: Path) -> None:
    model = model_class().FromString(digits.read_bytes())
    model.neuralNetworkClassifier.stringClassLabels.vector[3] = "three"
    digits.write_bytes(model.SerializeToString())
    with pytest.raises(UsageError, match=r"has classes that are not labels of the file: 3\."):
        predict_pictures(digits, ["mnist5k"])


def test_tables_and_the_page(command: Command, digits: Path, tmp_path: Path) -> None:
    photograph(tmp_path / "photos" / "7" / "=1+<b>.png")
    photograph(tmp_path / "photos" / "3" / "b.png", 1)
    options = ("--csv", tmp_path / "x.csv", "--html", tmp_path / "x.html", "--top", "4", "--json")
    done = command("conversion.predict", digits, tmp_path / "photos", *options)
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label 1"] for row in rows] == [answer["top"][0]["label"] for answer in done.json["answers"]]
    assert {"probability 4", "truth"} <= rows[0].keys()
    page = (tmp_path / "x.html").read_text()
    assert page.count("<figure ") == 2
    assert page.index('class="verdict') < page.index("Next: ") < page.index("<table")
    assert "<b>.png" not in page
    assert not re.search(r'src="(?!data:)|<link|@import|url\(', page)
    assert "<script>" in page
    json.loads(done.out)


def test_from_python(digits: Path, tmp_path: Path) -> None:
    file = load(digits)
    paths = [photograph(tmp_path / f"{number}.png", number) for number in range(3)]
    images = np.stack([pixels.read(path, form_of(file.interface)) for path in paths])[..., None]
    expected = file.probabilities(images)
    for given, rows in (
        (paths, slice(None)),
        (list(map(str, paths)), slice(None)),
        (paths[0], slice(1)),
        (str(paths[0]), slice(1)),
        (images, slice(None)),
        (images[0], slice(1)),
        (images[0, :, :, 0], slice(1)),
        (list(images), slice(None)),
        ([image[:, :, 0] for image in images], slice(None)),
    ):
        np.testing.assert_array_equal(file.predict(given).probabilities, expected[rows])
    assert len(file.predict(images[:0]).labels) == 0


def test_from_python_what_is_no_picture_is_told(digits: Path, tmp_path: Path) -> None:
    file = load(digits)
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ProjectError, match="not a readable image"):
        file.predict(tmp_path / "x.png")
    with pytest.raises(UsageError, match="must be a NumPy array of uint8, not list"):
        file.predict([])
    with pytest.raises(UsageError, match="must have the shape"):
        file.predict(np.zeros((27, 28, 1), np.uint8))


def test_answers_as_a_phone_would_compute_them(command: Command, digits: Path, tmp_path: Path) -> None:
    path = photograph(tmp_path / "x.png")
    done = command("conversion.predict", digits, path, "--compute", "float16", "--json", "--top", "10")
    (answer,) = done.json["answers"]
    found = [one["probability"] for one in answer["top"]]
    assert found == [float(np.float16(probability)) for probability in found]
    plain = command("conversion.predict", digits, path, "--json", "--top", "10").json
    assert (plain["compute"], plain["float16"], done.json["compute"]) == ("float32", None, "float16")
    assert 0 < done.json["float16"]["max_difference"] < 0.01
    assert done.json["float16"]["images"] == 1
    shown = command("conversion.predict", digits, path, "--compute", "float16", "--accumulate", "float16").out
    assert "float16, simulated, sums in float16: 0 of 1 labels differ" in shown
    alone = command("conversion.predict", digits, path, "--accumulate", "float16")
    assert (alone.code, "--accumulate needs --compute float16." in alone.err) == (2, True)
