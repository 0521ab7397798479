"""The Linux check of the app's models finds a file that the app could not use, and takes every one that it can."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from coremltools.proto.Model_pb2 import Model

from architectures import build
from conversion.coreml.convert import convert
from conversion.coreml.facts import FileFacts
from conversion.coreml.file import MODEL_MEMBER, ONLY_MEMBER, CoreMLFile
from conversion.coreml.formats import FORMATS, Format
from conversion.coreml.writing import write
from conversion.promotion.place import DEFAULT_OUTPUT
from experiments.classifier import as_classifier
from tests.support.stores import Promoted

IOS = Path(__file__).parents[2] / "ios"

_spec = importlib.util.spec_from_file_location("check_project", IOS / "check_project.py")
assert _spec
assert _spec.loader
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)


def faults(ios: Path) -> list[str]:
    return list(check.faults_of_model(ios))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def ios(tmp_path: Path) -> Path:
    return shutil.copytree(IOS, tmp_path / "ios", ignore=shutil.ignore_patterns(".build", "DigitClassifier.*"))


def test_the_promoted_model_is_held_to_the_app(ios: Path, promoted: Promoted) -> None:
    folder = ios / "Digits/Model"
    folder.mkdir(exist_ok=True)  # it is there in a clone that has run `make sweep`
    shutil.copy(promoted.folder / DEFAULT_OUTPUT, folder)
    assert faults(ios) == []
    edit(ios / "DigitKit/Sources/DigitKit/Preprocessing.swift", "version = 1", "version = 2")
    edit(ios / "DigitKit/Sources/DigitKit/ModelInterface.swift", '"DigitClassifier"', '"Digits"')
    assert faults(ios) == [
        "DigitClassifier.mlmodel is not read: the app looks for Classifier or Digits or BundledDigits",
        "BundledDigits.mlmodel: preprocessing version is 1, the app expects 2",
        "DigitClassifier.mlmodel: preprocessing version is 1, the app expects 2",
    ]
    (folder / "DigitClassifier.mlpackage").mkdir()
    with pytest.raises(Exception, match="mlpackage"):  # an empty package cannot be loaded
        faults(ios)
    assert next(iter(check.faults_of_model(ios))).startswith(
        "DigitClassifier.mlmodel, DigitClassifier.mlpackage collide"
    )


@cache
def converted(
    format: Format, *, shape: tuple[int, int, int] = (28, 28, 1), labels: tuple = tuple("0123456789")
) -> CoreMLFile:
    """An untrained network's file, with all that a promotion writes."""
    classifier = as_classifier(build("malireddi", shape, len(labels), filters=4))
    facts = FileFacts(labels, "mnist5k", "0" * 64, "malireddi", "0" * 32, "", "unknown", 0.9)
    return convert(classifier, facts, format=format)


def renamed(file: CoreMLFile, name: str) -> CoreMLFile:
    """The same file with a name, wherever it stands, spelt backwards: no length in the message changes."""
    old, new = (chr(len(name)).encode() + text.encode() for text in (name, name[::-1]))
    members = {path: content.replace(old, new) for path, content in file.members.items()}
    assert members != file.members
    return replace(file, members=members)


def faults_of(file: CoreMLFile, ios: Path) -> list[str]:
    """Faults of the project with this file as the promoted one, without its name."""
    write(file, ios / f"Digits/Model/DigitClassifier{file.suffix}")
    return [fault.removeprefix(f"DigitClassifier{file.suffix}: ") for fault in faults(ios)]


def told(file: CoreMLFile, **metadata: str) -> CoreMLFile:
    """The same file with other user metadata."""
    model = Model.FromString(file.members[message_of(file)])
    model.description.metadata.userDefined.update(metadata)
    return replace(file, members={**file.members, message_of(file): model.SerializeToString()})


def message_of(file: CoreMLFile) -> str:
    return ONLY_MEMBER if file.format == "mlmodel" else MODEL_MEMBER


CLOTHES = tuple(f"clothes {number}" for number in range(10))

MODELS: dict[str, Callable[[Format], CoreMLFile]] = {
    "digits": converted,
    "digits under other names": lambda format: renamed(renamed(converted(format), "image"), "output"),
    "larger digits": lambda format: converted(format, shape=(32, 32, 1)),
    "clothes": lambda format: told(converted(format, labels=CLOTHES), preprocessing_version="0"),
    "colors": lambda format: converted(format, shape=(48, 64, 3), labels=("cat", "dog")),
    "fit and threshold": lambda format: told(converted(format), fit="pad", background="1e90ff", threshold="0.4375"),
}
FAULTS: dict[str, tuple[Callable[[Format], CoreMLFile], str]] = {
    "label type": (
        lambda format: converted(format, labels=tuple(range(10))),
        "labels must be texts, the app shows them",
    ),
    "preprocessing": (
        lambda format: told(converted(format), preprocessing_version="0"),
        "preprocessing version is 0, the app expects 1",
    ),
    "fit": (
        lambda format: told(converted(format), fit="letterbox"),
        "fit is letterbox, the app knows crop, pad, squash",
    ),
    "background": (
        lambda format: told(converted(format), background="sky"),
        "background is sky, the app knows white, black and six hexadecimal digits",
    ),
    "threshold": (
        lambda format: told(converted(format), threshold="1.5"),
        "threshold is 1.5, it must be a number from 0 to 1",
    ),
}


IN_BOTH = ("digits", "digits under other names", "fit and threshold", "preprocessing", "fit", "background", "threshold")
ONCE: tuple[tuple[str, Format], ...] = (("larger digits", "mlmodel"), ("clothes", "mlmodel"), ("colors", "mlpackage"))


def kinds(names: Iterable[str], once: tuple[tuple[str, Format], ...]) -> list[tuple[str, Format]]:
    """Each name in each format, and what takes a conversion of its own in one of them."""
    return [(name, format) for name in names if name in IN_BOTH for format in FORMATS] + list(once)


@pytest.mark.parametrize(("name", "format"), kinds(MODELS, ONCE))
def test_any_classifier_of_images_has_no_fault(ios: Path, name: str, format: Format) -> None:
    assert faults_of(MODELS[name](format), ios) == []


@pytest.mark.parametrize(("name", "format"), kinds(FAULTS, (("label type", "mlpackage"),)))
def test_a_file_that_the_app_cannot_use_is_found(ios: Path, name: str, format: Format) -> None:
    make, complaint = FAULTS[name]
    assert faults_of(make(format), ios) == [complaint]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("key", check.expected_metadata(IOS))
def test_metadata_that_vanished_is_found(ios: Path, key: str, format: Format) -> None:
    assert f"the metadata has no {key}, the app reads it" in faults_of(renamed(converted(format), key), ios)
