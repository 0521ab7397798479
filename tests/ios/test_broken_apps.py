"""`ios/check` catches what would break the app: copies of `ios/` with one fault each, in Swift or around it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.support.components import require

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
SWIFT = Path(os.environ.get("SWIFT_ROOT") or CACHE / "pocketnets/swift-trixie")
PROJECT = "Digits.xcodeproj/project.pbxproj"
KIT = "DigitKit/Sources/DigitKit"


@dataclass(frozen=True)
class Fault:
    """An edit, the part of the check that must refuse it, and what it must say in one line."""

    part: str
    file: str  # or a pattern: all that hold the old text are edited
    old: str
    new: str
    complaint: str
    beside: str = ""  # what else is in that line, where other faults of the same run are said likewise


FAULTS = {
    "a type named like one of Apple's": Fault(
        "types", "*.swift", "PadPoint", "Point", "'Point' is ambiguous for type lookup"
    ),
    "a signature that Apple does not have": Fault(
        "types", "Digits/Views/DrawView.swift", ".padding()", ".padding(edges: 3)", "extraneous argument label 'edges:'"
    ),
    "a data race": Fault(
        "types",
        "Digits/DigitsApp.swift",
        "private struct NoModel",
        "var launches = 0\n\nprivate struct NoModel",
        "'launches' is not concurrency-safe",
    ),
    "a model that crosses actors": Fault(
        "types",
        "Digits/Reading/ModelReader.swift",
        "private let model: MLModel",
        "nonisolated let model: MLModel",
        "non-'Sendable' type 'MLModel'",
    ),
    "a call without await": Fault(
        "types", "Digits/Camera/CameraFeed.swift", "await camera.level()", "camera.level()", "expression is 'async'"
    ),
    "a state without a screen": Fault(
        "types",
        "Digits/Views/RootView.swift",
        "case .missing:",
        "case .missing where 1 > 2:",
        "switch must be exhaustive",
        "RootView.swift",
    ),
    "a problem without a text": Fault(
        "types",
        f"{KIT}/ModelInterface.swift",
        "case noProbabilities\n  case labels",
        "case noProbabilities\n  case tooLarge\n  case labels",
        "switch must be exhaustive",
        "Texts.swift",
    ),
    "a preview that does not compile": Fault(
        "types",
        "Digits/Views/PhotoView.swift",
        "PhotoView(session: .preview())",
        "PhotoView()",
        "missing argument for parameter 'session'",
    ),
    "a test that does not compile": Fault(
        "types", "DigitsTests/BundledModelTests.swift", "model.facts", "model.fact", "has no member 'fact'"
    ),
    "a UI test off the main actor": Fault(
        "types",
        "DigitsUITests/DrawingUITests.swift",
        "@MainActor\nfinal class",
        "final class",
        "in a synchronous nonisolated context",
    ),
    "another pen": Fault("package", f"{KIT}/Preprocessing.swift", "pen = 2.2", "pen = 2.3", "pixels differ", "in hand"),
    "another filter": Fault(
        "package", f"{KIT}/Resampling.swift", "Int32(0.5 + ", "Int32(", "pixels differ, by up to 1"
    ),
    "two inferences a lift": Fault(
        "package",
        f"{KIT}/DrawingSession.swift",
        "if current == nil {\n      restart()",
        "if true {\n      restart()",
        "reader.asked",
    ),
    "an older photograph that is shown": Fault(
        "package",
        f"{KIT}/PhotoSession.swift",
        "guard turn == latest",
        "guard turn <= latest",
        "aPhotographThatComesLateDoesNotReplaceANewerOne",
    ),
    "a threshold that is not looked at": Fault(
        "package", f"{KIT}/Reading.swift", ">= threshold ?? 0", ">= 0", "belowTheThresholdItDoesNotKnow"
    ),
    "another median": Fault(
        "package",
        f"{KIT}/Stopwatch.swift",
        "each[each.count / 2]) / 2",
        "each[each.count - 1]) / 2",
        "loadFirstAnswerAndMedianOfAHundred",
    ),
    "a report that Python would not read": Fault(
        "package",
        f"{KIT}/DeviceReport.swift",
        'case median = "median_ms"',
        'case median = "median"',
        "theJSONIsWhatPythonReads",
    ),
    "processors without a text": Fault(
        "types",
        f"{KIT}/DeviceReport.swift",
        "  case all\n\n  public var id",
        "  case all\n  case gpu\n\n  public var id",
        "switch must be exhaustive",
        "SpeedSection.swift",
    ),
    "code in another form": Fault(
        "format", "Digits/Texts.swift", "  switch error {", "    switch error {", "[Indentation]"
    ),
    "a text without a translation": Fault(
        "sources", "Digits/Views/PhotoView.swift", '"Read along"', '"Read on"', "'Read on' is not in"
    ),
    "no sentence for the camera": Fault(
        "sources", "Config/Info.plist", "NSCameraUsageDescription", "NSCameraUsage", "has no NSCameraUsageDescription"
    ),
    "an id that leads nowhere": Fault(
        "project",
        PROJECT,
        "rootObject = D16175000000000000000001",
        "rootObject = D161750000000000000000FF",
        "not defined",
    ),
    "a plist without a launch screen": Fault(
        "project", "Config/Info.plist", "UILaunchScreen", "UILaunch", "Config/Info.plist has no UILaunchScreen"
    ),
    "a colour too pale for text": Fault(
        "project",
        "Digits/Assets.xcassets/AccentColor.colorset/Contents.json",
        '"blue": "0.847", "green": "0.357"',
        '"blue": "1", "green": "0.651"',
        "the light colour has a contrast of",
    ),
    "a package for a newer iOS than the app": Fault(
        "project", "DigitKit/Package.swift", ".iOS(.v17)", ".iOS(.v18)", "package DigitKit does not run on iOS 17.0"
    ),
    "the package linked twice": Fault(
        "project",
        PROJECT,
        "packageProductDependencies = (\n\t\t\t);\n\t\t\tproductName = DigitsTests;",
        "packageProductDependencies = (D1617500000000000000000E);\n\t\t\tproductName = DigitsTests;",
        "links DigitKit, which its host has already",
    ),
}
ALONE = {"a test that does not compile", "a UI test off the main actor"}  # once the app compiles, one after the other
# Parts that need Swift, and what a line says of a fault: all faults of one are in one copy, and one run says them all.
SAID = {"types": "error: ", "package": "recorded an issue at|↳", "format": r"\[\w+\]"}


def cases() -> Iterator[ParameterSet]:
    """The faults of one copy each."""
    together: dict[str, list[str]] = {}
    for name, fault in FAULTS.items():
        key = fault.part if fault.part in SAID and name not in ALONE else name
        together.setdefault(key, []).append(name)
    for key, names in together.items():
        slow = [pytest.mark.slow] * (FAULTS[names[0]].part in SAID)
        yield pytest.param(names, marks=slow, id=f"{len(names)} of {key}" if len(names) > 1 else names[0])


def test_there_are_enough() -> None:
    assert len(FAULTS) >= 15


@pytest.mark.parametrize("names", cases())
def test_a_broken_app_is_caught(tmp_path: Path, names: list[str]) -> None:
    faults = [FAULTS[name] for name in names]
    part = faults[0].part
    if part in SAID:
        require(SWIFT.is_dir() and os.geteuid() == 0, install="ios/check, as root on Debian or Ubuntu")
    ignored = shutil.ignore_patterns(".build", "DigitClassifier.*", "Classifier.*")
    ios = shutil.copytree(ROOT / "ios", tmp_path / "ios", ignore=ignored)
    for fault in faults:
        held = [file for file in ios.rglob(fault.file) if fault.old in file.read_text()]
        assert held, fault
        for file in held:
            file.write_text(file.read_text().replace(fault.old, fault.new))
    done = subprocess.run(
        [ios / "check", part],
        env=os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    said = [line for line in (done.stdout + done.stderr).splitlines() if re.search(SAID.get(part, ""), line)]
    passed = [one for one in faults if not any(one.complaint in line and one.beside in line for line in said)]
    assert not passed, done.stdout + done.stderr
