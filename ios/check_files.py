"""Check the plists, the asset catalogs and their colours and icons.  Run: python ios/check_files.py

Exit codes: 0 nothing wrong, 1 faults, one line each.
"""

from __future__ import annotations

import json
import plistlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

IOS = Path(__file__).parent
PLIST_KEYS = {  # required in the Info.plist, which is written by hand
    *("CFBundleDevelopmentRegion", "CFBundleExecutable", "CFBundleIdentifier", "CFBundleInfoDictionaryVersion"),
    *("CFBundleName", "CFBundlePackageType", "CFBundleShortVersionString", "CFBundleVersion", "LSRequiresIPhoneOS"),
    *("UILaunchScreen", "UISupportedInterfaceOrientations", "UISupportedInterfaceOrientations~ipad"),
}
PRIVACY_KEYS = {
    *("NSPrivacyAccessedAPITypes", "NSPrivacyCollectedDataTypes", "NSPrivacyTracking", "NSPrivacyTrackingDomains"),
}
NEEDED = {"Config/Info.plist": PLIST_KEYS, "Digits/PrivacyInfo.xcprivacy": PRIVACY_KEYS}
ICON_SIDE = 1024  # pixels
ICON_APPEARANCES = {"light", "dark", "tinted"}
ALPHA = (4, 6)  # PNG's colour types with it
CONTRAST = 4.5  # of text: WCAG 2.2, success criterion 1.4.3
BACKGROUNDS = {"light": 1.0, "dark": 0.0}  # luminance of the screen's background, and of a prominent button's text


def faults_of_plists(ios: Path) -> Iterator[str]:
    """Yield property lists that cannot be read, or lack required keys."""
    for file in (*ios.rglob("*.plist"), *ios.rglob("*.xcprivacy")):
        place = file.relative_to(ios)
        try:
            content = plistlib.loads(file.read_bytes())
        except Exception as error:
            yield f"{place} is not a property list: {error}"
            continue
        if not isinstance(content, dict) or not content:
            yield f"{place} says nothing"
            continue
        yield from (f"{place} has no {key}" for key in sorted(NEEDED.get(place.as_posix(), set()) - content.keys()))
    team = re.search(r"^DEVELOPMENT_TEAM *= *(.*)$", (ios / "Config/Digits.xcconfig").read_text(), re.M)
    if team is None or team[1]:
        yield "Config/Digits.xcconfig must leave DEVELOPMENT_TEAM empty: it is each person's own"


def faults_of_assets(ios: Path) -> Iterator[str]:
    """Yield unreadable catalogs; icons that are missing, of another size or transparent; colours with low contrast."""
    for file in ios.rglob("*.xcassets/**/Contents.json"):
        place = file.relative_to(ios)
        try:
            contents = json.loads(file.read_text())
        except ValueError as error:
            yield f"{place} is not JSON: {error}"
            continue
        if file.parent.suffix == ".appiconset":
            yield from _faults_of_icon(file, contents, ios)
        for color in contents.get("colors", []):
            appearance = _appearance(color)
            light = _luminance(color["color"]["components"])
            low, high = sorted((light, BACKGROUNDS[appearance]))
            contrast = (high + 0.05) / (low + 0.05)
            if contrast < CONTRAST:
                yield f"{place}: the {appearance} colour has a contrast of {contrast:.1f}, text needs {CONTRAST}"


def _faults_of_icon(file: Path, contents: dict, ios: Path) -> Iterator[str]:
    found = set()
    for image in contents.get("images", []):
        picture = file.with_name(image["filename"])
        found.add(_appearance(image))
        if not picture.exists():
            yield f"{picture.relative_to(ios)} is missing"
            continue
        head = picture.read_bytes()[:26]
        size = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
        if head[:4] != b"\x89PNG" or size != (ICON_SIDE, ICON_SIDE):
            yield f"{picture.relative_to(ios)} is not a PNG of {ICON_SIDE}x{ICON_SIDE} pixels"
        elif head[25] in ALPHA and _appearance(image) == "light":
            yield f"{picture.relative_to(ios)} has an alpha channel, which the App Store refuses"
    for appearance in sorted(ICON_APPEARANCES - found):
        yield f"{file.relative_to(ios)} has no {appearance} icon"


def _appearance(entry: dict) -> str:
    """Return the appearance of a catalog's picture or colour: light, dark or tinted."""
    return next((one["value"] for one in entry.get("appearances", []) if one["appearance"] == "luminosity"), "light")


def _luminance(components: dict[str, str]) -> float:
    """Return the relative luminance of an sRGB colour, as defined by WCAG 2.2."""
    shares = [float(components[name]) for name in ("red", "green", "blue")]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def main() -> int:
    faults = [*faults_of_plists(IOS), *faults_of_assets(IOS)]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
