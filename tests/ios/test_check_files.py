"""The Linux check of plists and asset catalogs finds what is put into them: copies of `ios/` with one fault each."""

from __future__ import annotations

import importlib.util
import json
import plistlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

IOS = Path(__file__).parents[2] / "ios"
ICON = "Digits/Assets.xcassets/AppIcon.appiconset"
ACCENT = "Digits/Assets.xcassets/AccentColor.colorset/Contents.json"

_spec = importlib.util.spec_from_file_location("check_files", IOS / "check_files.py")
assert _spec
assert _spec.loader
check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check)


def faults(ios: Path) -> list[str]:
    return [*check.faults_of_plists(ios), *check.faults_of_assets(ios)]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def take_an_icon(ios: Path, name: str) -> None:
    contents = json.loads((ios / ICON / "Contents.json").read_text())
    contents["images"] = [image for image in contents["images"] if image["filename"] != name]
    (ios / ICON / "Contents.json").write_text(json.dumps(contents))


def paint(ios: Path, number: int, **components: str) -> None:
    """Change one of the accent colours: the light one is the first."""
    contents = json.loads((ios / ACCENT).read_text())
    contents["colors"][number]["color"]["components"].update(components)
    (ios / ACCENT).write_text(json.dumps(contents))


@pytest.fixture
def ios(tmp_path: Path) -> Path:
    return shutil.copytree(IOS, tmp_path / "ios", ignore=shutil.ignore_patterns("*.mlmodel", "*.mlpackage", ".build"))


def test_the_committed_files_have_no_fault() -> None:
    assert faults(IOS) == []


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "broken plist": (
        lambda ios: edit(ios / "Config/Info.plist", "</dict>", "<dict>"),
        "Config/Info.plist is not a property list",
    ),
    "empty plist": (
        lambda ios: (ios / "Config/Info.plist").write_bytes(plistlib.dumps({})),
        "Config/Info.plist says nothing",
    ),
    "broken privacy manifest": (
        lambda ios: (ios / "Digits/PrivacyInfo.xcprivacy").write_text("{"),
        "PrivacyInfo.xcprivacy is not a property list",
    ),
    "missing icon": (
        lambda ios: (ios / ICON / "icon.png").unlink(),
        "icon.png is missing",
    ),
    "small icon": (
        lambda ios: shutil.copy(IOS.parent / "docs/images/draw.png", ios / ICON / "icon.png"),
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
    "icon that is seen through": (
        lambda ios: Image.open(ios / ICON / "icon.png").convert("RGBA").save(ios / ICON / "icon.png"),
        "icon.png has an alpha channel, which the App Store refuses",
    ),
    "no tinted icon": (lambda ios: take_an_icon(ios, "icon-tinted.png"), "Contents.json has no tinted icon"),
    "no dark icon": (lambda ios: take_an_icon(ios, "icon-dark.png"), "Contents.json has no dark icon"),
    "no icon for the light": (lambda ios: take_an_icon(ios, "icon.png"), "Contents.json has no light icon"),
    "pale accent": (
        lambda ios: paint(ios, 0, red="0.5", green="0.6"),
        "AccentColor.colorset/Contents.json: the light colour has a contrast of 2.8, text needs 4.5",
    ),
    "dark accent in the dark": (
        lambda ios: paint(ios, 1, red="0.2", green="0.2", blue="0.4"),
        "AccentColor.colorset/Contents.json: the dark colour has a contrast of 1.8, text needs 4.5",
    ),
    "privacy manifest without an answer": (
        lambda ios: edit(ios / "Digits/PrivacyInfo.xcprivacy", "NSPrivacyTracking</key>", "NSPrivacyTrack</key>"),
        "Digits/PrivacyInfo.xcprivacy has no NSPrivacyTracking",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_fault_is_found(ios: Path, name: str) -> None:
    change, complaint = CHANGES[name]
    change(ios)
    assert any(complaint in fault for fault in faults(ios)), faults(ios)


@pytest.mark.parametrize("key", sorted(check.PLIST_KEYS))
def test_a_plist_without_what_ios_asks_for_is_found(ios: Path, key: str) -> None:
    file = ios / "Config/Info.plist"
    content = plistlib.loads(file.read_bytes())
    del content[key]
    file.write_bytes(plistlib.dumps(content))
    assert faults(ios) == [f"Config/Info.plist has no {key}"]
