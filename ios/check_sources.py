"""Check the Swift sources: names of types, tests, colours, texts and translations.  Run: python ios/check_sources.py

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
PALE = re.compile(r"foreground(?:Style|Color)\(\.(?:secondary|tertiary|quaternary|quinary|gray)")
UNIT_TESTS = ("DigitKit/Tests", "DigitsTests")
OURS = ("DigitKit/Sources", "DigitKit/Tests", "Digits", "DigitsTests", "DigitsUITests")
LANGUAGES = ("de", "fr")  # in addition to English
CATALOG, PLIST_CATALOG = "Digits/Localizable.xcstrings", "Digits/InfoPlist.xcstrings"
USAGE = {"AVFoundation": "NSCameraUsageDescription"}  # the key of iOS's permission prompt, by framework
INTERPOLATION = r"\\\((?:[^()]|\([^()]*\))*\)"
LITERAL = re.compile(rf'"((?:[^"\\\n]|\\[^(]|{INTERPOLATION})*)"')
SPECIFIER = re.compile(r"%(?:\d\$)?(@|lld|lf)")
SHOWING = re.compile(  # code that shows the literal after it
    r"(?:\b(?:Text|Button|Label|LabeledContent|Link|Menu|PhotosPicker|Picker|ProgressView|Section|ShareLink|Toggle)"
    r"|ContentUnavailableView|accessibility(?:Label|Value|Hint)|navigationTitle)\(\"$"
)
UNSHOWN = re.compile(r"#Preview\(|verbatim: |preconditionFailure\(|^\s*case \.?\w+: \"")  # before hidden literals
TOPMOST = re.compile(r"^(?:@\S+ |\w+ )*(?:class|enum|protocol|struct|typealias) (\w+)", re.M)
DECLARATION = re.compile(r"^\s*(?:[@\w()]+ )*(?:actor|class|enum|protocol|struct|typealias) (\w+)", re.M)


def apple_names(ios: Path) -> dict[str, str]:
    """Return the origin of each of Apple's type names: the list, the stubs, and the header of Foundation."""
    stubs = ios / "Stubs"
    found = {
        name: str(file.relative_to(ios))
        for file in stubs.rglob("*.swift")
        if ".build" not in file.parts
        for name in TOPMOST.findall(file.read_text())
    }
    for page, names in re.findall(r"^(https\S+) (.+)$", (stubs / "apple-names.txt").read_text(), re.M):
        found |= dict.fromkeys(names.split(), page)
    header = (stubs / "MacTypes/MacTypes.h").read_text()
    for line in header.splitlines():
        if line.startswith("typedef"):
            declared = re.sub(r"\{.*\}", "", line.removeprefix("typedef")).rstrip(";")
            pointers = re.findall(r"\(\*(\w+)\)", declared)
            names = [part.split()[-1].strip("* ") for part in re.sub(r"\[\d+\]", "", declared).split(",")]
            found |= dict.fromkeys(pointers or names, "MacTypes.h")
    return found


def faults_of_names(ios: Path) -> Iterator[str]:
    """Yield our types that are named like one of Apple's: ambiguous if both are imported, else misleading."""
    apple = apple_names(ios)
    for place in OURS:
        for file in sorted((ios / place).rglob("*.swift")):
            for name in DECLARATION.findall(file.read_text()):
                if name in apple:
                    yield f"{file.relative_to(ios)}: type {name} is named like one of Apple's ({apple[name]})"


def faults_of_tests(ios: Path) -> Iterator[str]:
    """Yield unit tests that use XCTest, which only the UI tests may."""
    for place in UNIT_TESTS:
        for file in sorted((ios / place).rglob("*.swift")):
            if re.search(r"^import XCTest$", file.read_text(), re.M):
                yield f"{file.relative_to(ios)} imports XCTest: unit tests are Swift Testing's"


def faults_of_colors(ios: Path) -> Iterator[str]:
    """Yield text in a colour with a contrast below 4.5:1: the secondary colour has 3.4 on white."""
    for file in sorted((ios / "Digits").rglob("*.swift")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if pale := PALE.search(line):
                yield f"{file.relative_to(ios)}:{number}: {pale[0]}) is too pale for text"


def shown_texts(ios: Path) -> dict[str, str]:
    """Return the literals of the app that a user may see, with the file of each.

    These are literals passed to code that shows them, and all literals with a space or an initial capital.
    """
    found = {}
    for file in sorted((ios / "Digits").rglob("*.swift")):
        if "Previews" in file.parts:
            continue
        for line in file.read_text().splitlines():
            code = re.sub(r"^\s*//.*|\s//.*$", "", line)
            for literal in LITERAL.finditer(code):
                plain = re.sub(INTERPOLATION, "", literal[1])
                before = code[: literal.start() + 1]
                shown = " " in plain or plain[:1].isupper() or SHOWING.search(before)
                if shown and ("String(localized:" in before or not UNSHOWN.search(before)):
                    found[literal[1]] = str(file.relative_to(ios))
    return found


def faults_of_texts(ios: Path) -> Iterator[str]:
    """Yield texts that no catalog has, unused catalog entries, and translations that are missing or do not fit."""
    strings = yield from _catalog(ios / CATALOG, ios)
    shown = {re.sub(INTERPOLATION, "\0", text): file for text, file in shown_texts(ios).items()}
    keys = {SPECIFIER.sub("\0", key): key for key in strings}
    for text, file in shown.items():
        if text not in keys:
            yield f"{file}: {text.replace(chr(0), '…')!r} is not in {CATALOG}"
    yield from (f"{CATALOG}: {key!r} is shown nowhere" for text, key in keys.items() if text not in shown)
    for key, entry in strings.items():
        yield from _faults_of_entry(key, entry, key)
    plist = plistlib.loads((ios / "Config/Info.plist").read_bytes())
    translated = yield from _catalog(ios / PLIST_CATALOG, ios)
    sources = "".join(file.read_text() for file in (ios / "Digits").rglob("*.swift"))
    for framework, key in USAGE.items():
        if f"import {framework}\n" in sources and not plist.get(key):
            yield f"Config/Info.plist has no {key}, which {framework} needs: iOS ends the app"
    for key, entry in translated.items():
        if key not in plist:
            yield f"{PLIST_CATALOG}: {key} is not in Config/Info.plist"
        yield from _faults_of_entry(key, entry, plist.get(key, ""))
    needed = {"CFBundleDisplayName", *USAGE.values()}
    yield from (f"{PLIST_CATALOG} has no {key}" for key in plist if key in needed and key not in translated)
    project = (ios / "Digits.xcodeproj/project.pbxproj").read_text()
    regions = re.findall(r"knownRegions = \((.*?)\)", project, re.S)
    for language in LANGUAGES:
        if not regions or language not in re.findall(r"\w+", regions[0]):
            yield f"the project does not know the language {language}"


def _catalog(file: Path, ios: Path) -> Iterator[str]:
    """Return the entries of a string catalog; yield a fault if it is missing, or not in the code's language."""
    try:
        catalog = json.loads(file.read_text())
        language, strings = catalog["sourceLanguage"], catalog["strings"]
        catalog["version"]
    except (OSError, ValueError, KeyError) as error:
        yield f"{file.relative_to(ios)} is not a string catalog: {error!r}"
        return {}
    if language != "en":
        yield f"{file.relative_to(ios)} has the source language {language}, the code is in en"
    return strings


def _faults_of_entry(key: str, entry: dict, english: str) -> Iterator[str]:
    """Yield translations that are missing, unfinished, or have other placeholders than the English text."""
    for language in LANGUAGES:
        found = entry.get("localizations", {}).get(language, {})
        plural = found.get("variations", {}).get("plural", {})
        units = [part.get("stringUnit", {}) for part in plural.values()] or [found.get("stringUnit", {})]
        if "other" not in plural and plural:
            yield f"{key!r} has no plural form `other` in {language}"
        for unit in units:
            value = unit.get("value", "")
            if not value or unit.get("state") != "translated":
                yield f"{key!r} is not translated to {language}"
            elif sorted(SPECIFIER.findall(value)) != sorted(SPECIFIER.findall(english)):
                yield f"{key!r} has other values to fill in in {language}: {value!r}"


def main() -> int:
    faults = [*faults_of_names(IOS), *faults_of_tests(IOS), *faults_of_colors(IOS), *faults_of_texts(IOS)]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
