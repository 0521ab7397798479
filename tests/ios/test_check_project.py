"""The Linux check of the Xcode project finds what is put into it: copies of `ios/` with one fault each."""

from __future__ import annotations

import importlib.util
import plistlib
import shutil
from collections.abc import Callable
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
from experiments.classifier import as_classifier

IOS = Path(__file__).parents[2] / "ios"
PBXPROJ = "Digits.xcodeproj/project.pbxproj"
SCHEME = "Digits.xcodeproj/xcshareddata/xcschemes/Digits.xcscheme"

_spec = importlib.util.spec_from_file_location("check_project", IOS / "check_project.py")
assert _spec
assert _spec.loader
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)


def faults(ios: Path) -> list[str]:
    return [
        *check.faults_of_project(ios),
        *check.faults_of_files(ios),
        *check.faults_of_bundled_model(ios),
        *check.faults_of_model(ios),
    ]


@pytest.fixture
def ios(tmp_path: Path) -> Path:
    return shutil.copytree(IOS, tmp_path / "ios", ignore=shutil.ignore_patterns("DigitClassifier.*"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def move(ios: Path, old: str, new: str) -> None:
    (ios / old).rename(ios / new)


def take_out_a_view(ios: Path) -> None:
    """What Xcode writes where a file of a synchronized folder loses its target's tick."""
    folder = "/* Digits */ = {\n\t\t\tisa = PBXFileSystemSynchronizedRootGroup;\n"
    edit(ios / PBXPROJ, folder, folder + "\t\t\texceptions = (D161750000000000000000E0);\n")
    exception = """D161750000000000000000E0 = {
        isa = PBXFileSystemSynchronizedBuildFileExceptionSet;
        membershipExceptions = (Views/PadView.swift);
        target = D16175000000000000000014;
    };"""
    edit(ios / PBXPROJ, "/* Begin PBXGroup section */", exception)


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
    "assets in no target": (
        lambda ios: move(ios, "Digits/Assets.xcassets", "Config/Assets.xcassets"),
        "Config/Assets.xcassets is in no target",
    ),
    "privacy manifest in no target": (
        lambda ios: move(ios, "Digits/PrivacyInfo.xcprivacy", "Config/PrivacyInfo.xcprivacy"),
        "Config/PrivacyInfo.xcprivacy is in no target",
    ),
    "strings in no target": (
        lambda ios: (ios / "Localizable.xcstrings").write_text("{}"),
        "Localizable.xcstrings is in no target",
    ),
    "model in no target": (
        lambda ios: (ios / "Config/DigitClassifier.mlpackage").mkdir(),
        "Config/DigitClassifier.mlpackage is in no target",
    ),
    "no bundled model": (
        lambda ios: (ios / "Digits/Bundled/BundledDigits.mlmodel").unlink(),
        "BundledDigits.mlmodel is missing: an app built from a fresh clone would have no model",
    ),
    "another bundled model": (
        lambda ios: edit(ios / "Evidence/promotion.json", '"coreml_sha256": "', '"coreml_sha256": "0'),
        "BundledDigits.mlmodel is not the file that Evidence/promotion.json is of",
    ),
    "file taken out of its target": (take_out_a_view, "Digits/Views/PadView.swift is in no target"),
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
    "remote package": (
        lambda ios: edit(
            ios / PBXPROJ,
            "isa = XCLocalSwiftPackageReference;\n\t\t\trelativePath = DigitKit;",
            'isa = XCRemoteSwiftPackageReference;\n\t\t\trepositoryURL = "https://example.org/DigitKit";',
        ),
        "package https://example.org/DigitKit is third-party code",
    ),
    "package from elsewhere": (
        lambda ios: edit(ios / PBXPROJ, "relativePath = DigitKit;", "relativePath = ../DigitKit;"),
        "package ../DigitKit is third-party code",
    ),
    "another package's product": (
        lambda ios: edit(ios / PBXPROJ, "productName = DigitKit;", "productName = OtherKit;"),
        "product OtherKit is third-party code",
    ),
    "package that needs another": (
        lambda ios: edit(
            ios / "DigitKit/Package.swift",
            "  targets: [\n",
            '  dependencies: [.package(url: "https://example.org/OtherKit", from: "1.0.0")],\n  targets: [\n',
        ),
        "package DigitKit depends on third-party code",
    ),
    "older iOS": (
        lambda ios: edit(ios / PBXPROJ, "IPHONEOS_DEPLOYMENT_TARGET = 17.0", "IPHONEOS_DEPLOYMENT_TARGET = 16.4"),
        "IPHONEOS_DEPLOYMENT_TARGET is 16.4 in Release (D1617500000000000000002A), it must be 17.0 or later",
    ),
    "older Swift in a target": (
        lambda ios: edit(
            ios / PBXPROJ, "INFOPLIST_FILE = Config", '"SWIFT_VERSION[sdk=*]" = 5.0;\n\t\t\t\tINFOPLIST_FILE = Config'
        ),
        "SWIFT_VERSION is 5.0 in Debug (D1617500000000000000002C), it must be 6.0",
    ),
    "data races allowed": (
        lambda ios: edit(ios / PBXPROJ, "SWIFT_STRICT_CONCURRENCY = complete", "SWIFT_STRICT_CONCURRENCY = minimal"),
        "SWIFT_STRICT_CONCURRENCY is minimal in Debug (D16175000000000000000029), it must be complete",
    ),
    "data races allowed by default": (
        lambda ios: edit(ios / PBXPROJ, "\t\t\t\tSWIFT_STRICT_CONCURRENCY = complete;\n", ""),
        "SWIFT_STRICT_CONCURRENCY is not set in Release of the project",
    ),
    "older iOS in the signing's file": (
        lambda ios: edit(
            ios / "Config/Digits.xcconfig",
            "DEVELOPMENT_TEAM =",
            "IPHONEOS_DEPLOYMENT_TARGET[sdk=iphoneos*] = 16.0 // older phones\nDEVELOPMENT_TEAM =",
        ),
        "IPHONEOS_DEPLOYMENT_TARGET is 16.0 in Config/Digits.xcconfig, it must be 17.0 or later",
    ),
    "missing plist": (
        lambda ios: (ios / "Config/Info.plist").unlink(),
        "Config/Info.plist is a build setting and not on the disk",
    ),
    "broken plist": (
        lambda ios: edit(ios / "Config/Info.plist", "</dict>", "<dict>"),
        "Config/Info.plist is not a property list",
    ),
    "empty plist": (
        lambda ios: (ios / "Config/Info.plist").write_bytes(plistlib.dumps({})),
        "Config/Info.plist says nothing",
    ),
    "no plist": (
        lambda ios: edit(ios / PBXPROJ, "\t\t\t\tINFOPLIST_FILE = Config/Info.plist;\n", ""),
        "INFOPLIST_FILE is not set in Digits",
    ),
    "no icon": (
        lambda ios: shutil.rmtree(ios / "Digits/Assets.xcassets/AppIcon.appiconset"),
        "the app's icon AppIcon is in none of its asset catalogs",
    ),
    "model's code generated": (
        lambda ios: edit(ios / PBXPROJ, "COREML_CODEGEN_LANGUAGE = None", "COREML_CODEGEN_LANGUAGE = Swift"),
        "COREML_CODEGEN_LANGUAGE is Swift in Release",
    ),
    "package not linked": (
        lambda ios: edit(ios / PBXPROJ, "\t\t\t\tD1617500000000000000000E /* DigitKit */,\n", ""),
        "target Digits imports DigitKit and does not link it",
    ),
    "file in no target of the package": (
        lambda ios: (ios / "DigitKit/Lost.swift").write_text(""),
        "DigitKit/Lost.swift is in no target of DigitKit",
    ),
    "package linked twice": (
        lambda ios: edit(
            ios / PBXPROJ,
            "packageProductDependencies = (\n\t\t\t);\n\t\t\tproductName = DigitsTests",
            "packageProductDependencies = (D1617500000000000000000E);\n\t\t\tproductName = DigitsTests",
        ),
        "target DigitsTests links DigitKit, which its host has already",
    ),
    "package's tests not in the scheme": (
        lambda ios: edit(ios / SCHEME, "DigitKitTests", "DigitsTests"),
        "Digits.xcscheme does not test DigitKitTests",
    ),
    "broken project": (lambda ios: (ios / PBXPROJ).write_text("{"), "project.pbxproj cannot be read"),
    "id defined twice": (
        lambda ios: edit(
            ios / PBXPROJ,
            "D16175000000000000000015 /* DigitsTests */ = {\n\t\t\tisa",
            "D16175000000000000000014 = {\n\t\t\tisa",
        ),
        "id D16175000000000000000014 is defined more than once",
    ),
    "broken scheme": (
        lambda ios: (ios / SCHEME).write_text("<"),
        "Digits.xcscheme cannot be read",
    ),
    "broken privacy manifest": (
        lambda ios: (ios / "Digits/PrivacyInfo.xcprivacy").write_text("{"),
        "PrivacyInfo.xcprivacy is not a property list",
    ),
    "wrong scheme": (
        lambda ios: edit(
            ios / SCHEME,
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
    folder.mkdir(exist_ok=True)  # it is there in a clone that has run `make sweep`
    shutil.copy(digits_file, folder / "DigitClassifier.mlmodel")
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


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_any_classifier_of_images_has_no_fault(ios: Path, name: str, format: Format) -> None:
    assert faults_of(MODELS[name](format), ios) == []


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_the_app_cannot_use_is_found(ios: Path, name: str, format: Format) -> None:
    make, complaint = FAULTS[name]
    assert faults_of(make(format), ios) == [complaint]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("key", check.expected_metadata(IOS))
def test_metadata_that_vanished_is_found(ios: Path, key: str, format: Format) -> None:
    assert f"the metadata has no {key}, the app reads it" in faults_of(renamed(converted(format), key), ios)
