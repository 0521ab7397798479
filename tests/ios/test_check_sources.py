"""The Linux check of the Swift sources finds what is put into them: copies of `ios/` with one fault each."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

IOS = Path(__file__).parents[2] / "ios"

_spec = importlib.util.spec_from_file_location("check_sources", IOS / "check_sources.py")
assert _spec
assert _spec.loader
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)


@pytest.fixture
def ios(tmp_path: Path) -> Path:
    return shutil.copytree(IOS, tmp_path / "ios", ignore=shutil.ignore_patterns("*.mlmodel", "*.mlpackage", ".build"))


def test_no_type_is_named_like_one_of_apples() -> None:
    assert [*check.faults_of_names(IOS)] == []


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
    (fault,) = check.faults_of_names(ios)
    assert f"Digits/Added.swift: type {name} is named like one of Apple's" in fault
    assert source in fault or name == "State"


def test_the_list_names_its_sources() -> None:
    for line in (IOS / "Stubs/apple-names.txt").read_text().splitlines():
        assert not line or line.startswith(("#", "https://developer.apple.com/"))
