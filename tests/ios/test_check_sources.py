"""The Linux check of the Swift sources finds what is put into them: copies of `ios/` with one fault each."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

IOS = Path(__file__).parents[2] / "ios"

_spec = importlib.util.spec_from_file_location("check_sources", IOS / "check_sources.py")
assert _spec
assert _spec.loader
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)


CATALOG = "Digits/Localizable.xcstrings"


def faults(ios: Path) -> list[str]:
    return [
        *check.faults_of_names(ios),
        *check.faults_of_tests(ios),
        *check.faults_of_colors(ios),
        *check.faults_of_texts(ios),
    ]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def retell(ios: Path, key: str, language: str, **unit: str) -> None:
    """Replace a translation."""
    catalog = json.loads((ios / CATALOG).read_text())
    catalog["strings"][key]["localizations"][language] = {"stringUnit": {"state": "translated", **unit}}
    (ios / CATALOG).write_text(json.dumps(catalog))


@pytest.fixture
def ios(tmp_path: Path) -> Path:
    return shutil.copytree(IOS, tmp_path / "ios", ignore=shutil.ignore_patterns("*.mlmodel", "*.mlpackage", ".build"))


def test_the_committed_sources_have_no_fault() -> None:
    assert faults(IOS) == []


@pytest.mark.parametrize(
    ("declaration", "name", "source"),
    [
        ("public struct Point: Sendable {}", "Point", "MacTypes.h"),
        ("@MainActor\nfinal class Rect {}", "Rect", "MacTypes.h"),
        ("enum Style { case plain }", "Style", "MacTypes.h"),
        ("typealias Component = Int", "Component", "https://developer.apple.com/documentation/coreservices"),
        ("extension Session {\n  enum State { case loading }\n}", "State", "Stubs/SwiftUI/SwiftUI.swift"),
        ("private actor MLModel {}", "MLModel", "Stubs/CoreML/CoreML.swift"),
    ],
)
def test_a_name_of_apples_is_found(ios: Path, declaration: str, name: str, source: str) -> None:
    (ios / "Digits/Added.swift").write_text(f"import Foundation\n\n{declaration}\n")
    (fault,) = faults(ios)
    assert f"Digits/Added.swift: type {name} is named like one of Apple's" in fault
    assert source in fault or name == "State"


def test_the_list_names_its_sources() -> None:
    for line in (IOS / "Stubs/apple-names.txt").read_text().splitlines():
        assert not line or line.startswith(("#", "https://developer.apple.com/"))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text in no catalog": (
        lambda ios: edit(ios / "Digits/Views/DrawView.swift", 'Button("Clear"', 'Button("Wipe"'),
        "Digits/Views/DrawView.swift: 'Wipe' is not in Digits/Localizable.xcstrings",
    ),
    "text of one small word in no catalog": (
        lambda ios: edit(ios / "Digits/Views/DrawView.swift", 'Text("Draw a digit")', 'Text("draw")'),
        "Digits/Views/DrawView.swift: 'draw' is not in Digits/Localizable.xcstrings",
    ),
    "text with a value in no catalog": (
        lambda ios: edit(
            ios / "Digits/Texts.swift", "The model has \\(count) inputs", "The model takes \\(count) inputs"
        ),
        "'The model takes … inputs. The app reads models with one image as their only input.' is not in",
    ),
    "text that is shown nowhere": (
        lambda ios: edit(ios / "Digits/Views/PadView.swift", '"Drawing pad"', '"pad"'),
        "'Drawing pad' is shown nowhere",
    ),
    "no translation": (lambda ios: retell(ios, "Done", "fr", value=""), "'Done' is not translated to fr"),
    "unfinished translation": (
        lambda ios: retell(ios, "Done", "de", state="needs_review", value="Fertig"),
        "'Done' is not translated to de",
    ),
    "value left out of a translation": (
        lambda ios: retell(ios, "%lld strokes", "de", value="Striche"),
        "'%lld strokes' has other values to fill in in de: 'Striche'",
    ),
    "no catalog": (lambda ios: (ios / CATALOG).unlink(), "Digits/Localizable.xcstrings is not a string catalog"),
    "broken catalog": (lambda ios: (ios / CATALOG).write_text("{"), "Digits/Localizable.xcstrings is not a string"),
    "unit tests of yesterday": (
        lambda ios: edit(ios / "DigitsTests/BundledModelTests.swift", "import Testing", "import XCTest"),
        "DigitsTests/BundledModelTests.swift imports XCTest: unit tests are Swift Testing's",
    ),
    "pale text": (
        lambda ios: edit(ios / "Digits/Views/ReadingView.swift", ".font(.caption)", ".foregroundStyle(.secondary)"),
        "Digits/Views/ReadingView.swift:96: foregroundStyle(.secondary) is too pale for text",
    ),
    "catalog of another language": (
        lambda ios: edit(ios / CATALOG, '"sourceLanguage" : "en"', '"sourceLanguage" : "de"'),
        "Digits/Localizable.xcstrings has the source language de, the code is in en",
    ),
    "catalog without a version": (
        lambda ios: edit(ios / CATALOG, '"version" : "1.0"', '"edition" : "1.0"'),
        "Digits/Localizable.xcstrings is not a string catalog: KeyError('version')",
    ),
    "app's name in English alone": (
        lambda ios: edit(ios / "Digits/InfoPlist.xcstrings", '"CFBundleDisplayName"', '"CFBundleName"'),
        "Digits/InfoPlist.xcstrings has no CFBundleDisplayName",
    ),
    "language unknown to the project": (
        lambda ios: edit(ios / "Digits.xcodeproj/project.pbxproj", "\t\t\t\tfr,\n", ""),
        "the project does not know the language fr",
    ),
    "no sentence for the camera": (
        lambda ios: edit(ios / "Config/Info.plist", "NSCameraUsageDescription", "NSMicrophoneUsageDescription"),
        "Config/Info.plist has no NSCameraUsageDescription, which AVFoundation needs",
    ),
    "sentence for the camera in English alone": (
        lambda ios: edit(ios / "Digits/InfoPlist.xcstrings", '"NSCameraUsageDescription"', '"CFBundleName"'),
        "Digits/InfoPlist.xcstrings has no NSCameraUsageDescription",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_is_found(ios: Path, name: str) -> None:
    change, complaint = CHANGES[name]
    change(ios)
    assert any(complaint in fault for fault in faults(ios)), faults(ios)
