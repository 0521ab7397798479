"""The Linux check of the Xcode project finds what is put into it: copies of `ios/` with one fault each."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

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
        *check.faults_of_bundled_model(ios),
        *check.faults_of_model(ios),
    ]


@pytest.fixture
def ios(tmp_path: Path) -> Path:
    return shutil.copytree(IOS, tmp_path / "ios", ignore=shutil.ignore_patterns(".build", "DigitClassifier.*"))


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


def take_out_the_ui_tests(ios: Path) -> None:
    scheme = (ios / SCHEME).read_text()
    reference = r"<TestableReference(?:(?!</TestableReference>).)*\"DigitsUITests\".*?</TestableReference>"
    (ios / SCHEME).write_text(re.sub(reference, "", scheme, flags=re.DOTALL))


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
    "no plist": (
        lambda ios: edit(ios / PBXPROJ, "\t\t\t\tINFOPLIST_FILE = Config/Info.plist;\n", ""),
        "INFOPLIST_FILE is not set in Digits",
    ),
    "no icon": (
        lambda ios: shutil.rmtree(ios / "Digits/Assets.xcassets/AppIcon.appiconset"),
        "AppIcon.appiconset is in none of the app's asset catalogs",
    ),
    "another accent colour": (
        lambda ios: edit(ios / PBXPROJ, "ACCENT_COLOR_NAME = AccentColor", "ACCENT_COLOR_NAME = Accent"),
        "Accent.colorset is in none of the app's asset catalogs",
    ),
    "for the Mac": (
        lambda ios: edit(ios / PBXPROJ, "SDKROOT = iphoneos", "SDKROOT = macosx"),
        "SDKROOT is macosx in Debug (D16175000000000000000029), it must be iphoneos",
    ),
    "no string catalogs": (
        lambda ios: edit(ios / PBXPROJ, "LOCALIZATION_PREFERS_STRING_CATALOGS = YES", "PREFERS = NO"),
        "LOCALIZATION_PREFERS_STRING_CATALOGS is not set in Debug of the project",
    ),
    "nothing to be seen by tests": (
        lambda ios: edit(ios / PBXPROJ, "ENABLE_TESTABILITY = YES;", ""),
        "ENABLE_TESTABILITY is not YES in Debug of the project",
    ),
    "no identifier": (
        lambda ios: edit(ios / PBXPROJ, 'IDENTIFIER = "$(PRODUCT_BUNDLE_IDENTIFIER_PREFIX).Digits"', "NAME = Digits"),
        "PRODUCT_BUNDLE_IDENTIFIER is not set in Digits",
    ),
    "one identifier for two": (
        lambda ios: edit(ios / PBXPROJ, "PREFIX).DigitsTests", "PREFIX).Digits"),
        "DigitsTests and Digits have the identifier $(PRODUCT_BUNDLE_IDENTIFIER_PREFIX).Digits",
    ),
    "variable that nobody sets": (
        lambda ios: edit(ios / "Config/Digits.xcconfig", "PRODUCT_BUNDLE_IDENTIFIER_PREFIX", "PREFIX"),
        "$(PRODUCT_BUNDLE_IDENTIFIER_PREFIX) is used in Debug (D1617500000000000000002C) and set nowhere",
    ),
    "variable of the plist that nobody sets": (
        lambda ios: edit(ios / "Config/Info.plist", "$(MARKETING_VERSION)", "$(VERSION)"),
        "$(VERSION) is used in Config/Info.plist and set nowhere",
    ),
    "tests of another app": (
        lambda ios: edit(ios / PBXPROJ, "Digits.app/$(BUNDLE_EXECUTABLE_FOLDER_PATH)/Digits", "Other.app/x/Other"),
        "DigitsTests tests Other, which is no app of the project",
    ),
    "UI tests of another app": (
        lambda ios: edit(ios / PBXPROJ, "TEST_TARGET_NAME = Digits", "TEST_TARGET_NAME = Digit"),
        "DigitsUITests tests Digit, which is no app of the project",
    ),
    "package for a newer iOS": (
        lambda ios: edit(ios / "DigitKit/Package.swift", ".iOS(.v17)", ".iOS(.v18)"),
        "package DigitKit does not run on iOS 17.0",
    ),
    "package of an older Swift": (
        lambda ios: edit(ios / "DigitKit/Package.swift", "tools-version: 6.0", "tools-version: 5.10"),
        "package DigitKit is not checked as Swift 6",
    ),
    "library of another name": (
        lambda ios: edit(ios / "DigitKit/Package.swift", '.library(name: "DigitKit"', '.library(name: "Kit"'),
        "package DigitKit has no library of that name",
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
    "UI tests not in the scheme": (take_out_the_ui_tests, "Digits.xcscheme does not test DigitsUITests"),
    "tests that are skipped": (
        lambda ios: edit(ios / SCHEME, 'skipped="NO"', 'skipped="YES"'),
        "Digits.xcscheme does not test DigitsTests",
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
    "wrong scheme": (
        lambda ios: edit(
            ios / SCHEME,
            'BlueprintName = "DigitsTests"',
            'BlueprintName = "Tests"',
        ),
        "names target Tests, which the project does not have",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_is_found(ios: Path, name: str) -> None:
    change, complaint = CHANGES[name]
    change(ios)
    assert any(complaint in fault for fault in faults(ios)), faults(ios)
