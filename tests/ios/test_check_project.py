"""The Linux check of the Xcode project finds what is put into it: copies of `ios/` with one fault each."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

IOS = Path(__file__).parents[2] / "ios"
PBXPROJ = "Digits.xcodeproj/project.pbxproj"

_spec = importlib.util.spec_from_file_location("check_project", IOS / "check_project.py")
assert _spec
assert _spec.loader
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)


def faults(ios: Path) -> list[str]:
    return [*check.faults_of_project(ios), *check.faults_of_files(ios), *check.faults_of_model(ios)]


@pytest.fixture
def ios(tmp_path: Path) -> Path:
    return shutil.copytree(IOS, tmp_path / "ios", ignore=shutil.ignore_patterns("DigitClassifier.*"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_committed_project_has_no_fault() -> None:
    assert faults(IOS) == []


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "dangling id": (
        lambda ios: edit(ios / PBXPROJ, "mainGroup = D16175000000000000000002", "mainGroup = D161750000000000000000FF"),
        "id D161750000000000000000FF is used and not defined",
    ),
    "unreachable id": (
        lambda ios: edit(ios / PBXPROJ, "\t\t\t\tD16175000000000000000032 /* Debug */,\n", ""),
        "id D16175000000000000000032 (XCBuildConfiguration) is not reachable",
    ),
    "file in no target": (
        lambda ios: (ios / "Config/Lost.swift").write_text(""),
        "Config/Lost.swift is in no target",
    ),
    "folder in no target": (
        lambda ios: edit(
            ios / PBXPROJ,
            "\t\t\t\tD16175000000000000000006 /* DigitsUITests */,\n\t\t\t);\n\t\t\tname",
            "\t\t\t);\n\t\t\tname",
        ),
        "folder DigitsUITests is in no target",
    ),
    "missing folder": (
        lambda ios: shutil.rmtree(ios / "DigitsTests"),
        "DigitsTests is in the project and not on the disk",
    ),
    "missing package": (
        lambda ios: shutil.rmtree(ios / "DigitKit/Tests") or (ios / "DigitKit/Package.swift").unlink(),
        "package DigitKit is not on the disk",
    ),
    "missing plist": (
        lambda ios: (ios / "Config/Info.plist").unlink(),
        "Config/Info.plist is a build setting and not on the disk",
    ),
    "broken plist": (
        lambda ios: edit(ios / "Config/Info.plist", "</dict>", "<dict>"),
        "Config/Info.plist is not a property list",
    ),
    "broken privacy manifest": (
        lambda ios: (ios / "Digits/PrivacyInfo.xcprivacy").write_text("{"),
        "PrivacyInfo.xcprivacy is not a property list",
    ),
    "wrong scheme": (
        lambda ios: edit(
            ios / "Digits.xcodeproj/xcshareddata/xcschemes/Digits.xcscheme",
            'BlueprintName = "DigitsTests"',
            'BlueprintName = "Tests"',
        ),
        "names target Tests, which the project does not have",
    ),
    "missing icon": (
        lambda ios: (ios / "Digits/Assets.xcassets/AppIcon.appiconset/icon.png").unlink(),
        "icon.png is missing",
    ),
    "small icon": (
        lambda ios: shutil.copy(
            IOS.parent / "docs/images/draw.png", ios / "Digits/Assets.xcassets/AppIcon.appiconset/icon.png"
        ),
        "icon.png is not a PNG of 1024x1024 pixels",
    ),
    "broken catalog": (
        lambda ios: (ios / "Digits/Assets.xcassets/Contents.json").write_text("{"),
        "Contents.json is not JSON",
    ),
    "somebody's team": (
        lambda ios: edit(ios / "Config/Digits.xcconfig", "DEVELOPMENT_TEAM =", "DEVELOPMENT_TEAM = ABCDE12345"),
        "must leave DEVELOPMENT_TEAM empty",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_is_found(ios: Path, name: str) -> None:
    change, complaint = CHANGES[name]
    assert faults(ios) == []
    change(ios)
    assert any(complaint in fault for fault in faults(ios)), faults(ios)


def test_the_promoted_model_is_held_to_the_app(ios: Path, digits_file: Path) -> None:
    folder = ios / "Digits/Model"
    folder.mkdir()
    shutil.copy(digits_file, folder / "DigitClassifier.mlmodel")
    assert faults(ios) == []
    edit(ios / "DigitKit/Sources/DigitKit/Preprocessing.swift", "version = 1", "version = 2")
    edit(ios / "DigitKit/Sources/DigitKit/ModelInterface.swift", '"output"', '"probabilities"')
    assert faults(ios) == [
        "DigitClassifier.mlmodel: probabilities is output, the app expects probabilities",
        "DigitClassifier.mlmodel: preprocessing version is 1, the app expects 2",
    ]
    (folder / "DigitClassifier.mlpackage").mkdir()
    with pytest.raises(Exception, match="mlpackage"):  # an empty package cannot be loaded
        faults(ios)
    assert next(iter(check.faults_of_model(ios))).startswith(
        "DigitClassifier.mlmodel, DigitClassifier.mlpackage collide"
    )
