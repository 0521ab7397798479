"""Reads what Xcode would: project, scheme, plists, assets and the promoted model.  Run: python ios/check_project.py

Exit codes: 0 nothing wrong, 1 faults, one line each.
"""

from __future__ import annotations

import json
import plistlib
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import openstep_plist

IOS = Path(__file__).parent
PROJECT = "Digits.xcodeproj"
PACKAGE, STUBS = "DigitKit", "Stubs"  # Swift files that belong to no target of the project
SYNCHRONIZED = "PBXFileSystemSynchronizedRootGroup"
ID = re.compile("[0-9A-F]{24}")
ICON_SIDE = 1024  # pixels


def faults_of_project(ios: Path) -> Iterator[str]:
    """Dangling and unreachable ids, missing files, and Swift files that no target would build."""
    project = openstep_plist.loads((ios / PROJECT / "project.pbxproj").read_text(), use_numbers=False)
    objects = project["objects"]
    reached: set[str] = set()
    waiting = [project["rootObject"]]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        if name not in objects:
            yield f"id {name} is used and not defined"
            continue
        reached.add(name)
        waiting += _ids(objects[name])
    yield from (f"id {name} ({objects[name]['isa']}) is not reachable" for name in objects.keys() - reached)

    for name, parent in _folders(objects, project):
        entry = objects[name]
        if "path" in entry and entry.get("sourceTree") == "<group>" and not (ios / parent / entry["path"]).exists():
            yield f"{parent / entry['path']} is in the project and not on the disk"
    targets = [entry for entry in objects.values() if entry["isa"] == "PBXNativeTarget"]
    built = [objects[name]["path"] for target in targets for name in target.get("fileSystemSynchronizedGroups", [])]
    yield from (f"folder {path} is in several targets" for path in set(built) if built.count(path) > 1)
    groups = {entry["path"] for entry in objects.values() if entry["isa"] == SYNCHRONIZED}
    yield from (f"folder {path} is in no target" for path in groups - set(built))
    for file in ios.rglob("*.swift"):
        top = file.relative_to(ios).parts[0]
        if top not in {*built, PACKAGE, STUBS}:
            yield f"{file.relative_to(ios)} is in no target"
    for entry in objects.values():
        if (
            entry["isa"] == "XCLocalSwiftPackageReference"
            and not (ios / entry["relativePath"] / "Package.swift").exists()
        ):
            yield f"package {entry['relativePath']} is not on the disk"
        plist = entry.get("buildSettings", {}).get("INFOPLIST_FILE")
        if plist and not (ios / plist).exists():
            yield f"{plist} is a build setting and not on the disk"
    for scheme in (ios / PROJECT).rglob("*.xcscheme"):
        for reference in ElementTree.parse(scheme).iter("BuildableReference"):
            if objects.get(reference.get("BlueprintIdentifier"), {}).get("name") != reference.get("BlueprintName"):
                yield f"{scheme.name} names target {reference.get('BlueprintName')}, which the project does not have"
    if not list((ios / PROJECT).rglob("*.xcscheme")):
        yield "the project has no shared scheme"


def _ids(value: object) -> list[str]:
    """All ids inside a value; keys too, as target attributes have them."""
    if isinstance(value, str):
        return [value] if ID.fullmatch(value) else []
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return [name for item in items for name in _ids(item)]


def _folders(objects: dict, project: dict) -> Iterator[tuple[str, Path]]:
    """Every member of a group with the folder that its path starts from."""
    waiting = [(objects[project["rootObject"]]["mainGroup"], Path())]
    while waiting:
        name, parent = waiting.pop()
        if name in objects:
            yield name, parent
            below = parent / objects[name].get("path", "")
            waiting += [(child, below) for child in objects[name].get("children", [])]


def faults_of_files(ios: Path) -> Iterator[str]:
    """Plists and asset catalogs that cannot be read, and pictures that are missing or of another size."""
    for file in (*ios.rglob("*.plist"), *ios.rglob("*.xcprivacy")):
        try:
            plistlib.loads(file.read_bytes())
        except Exception as error:
            yield f"{file.relative_to(ios)} is not a property list: {error}"
    for file in ios.rglob("*.xcassets/**/Contents.json"):
        try:
            contents = json.loads(file.read_text())
        except ValueError as error:
            yield f"{file.relative_to(ios)} is not JSON: {error}"
            continue
        for image in contents.get("images", []):
            picture = file.with_name(image["filename"])
            if not picture.exists():
                yield f"{picture.relative_to(ios)} is missing"
            elif file.parent.name == "AppIcon.appiconset" and _size(picture) != (ICON_SIDE, ICON_SIDE):
                yield f"{picture.relative_to(ios)} is not a PNG of {ICON_SIDE}x{ICON_SIDE} pixels"
    team = re.search(r"^DEVELOPMENT_TEAM *= *(.*)$", (ios / "Config/Digits.xcconfig").read_text(), re.M)
    if team is None or team[1]:
        yield "Config/Digits.xcconfig must leave DEVELOPMENT_TEAM empty: it is each person's own"


def _size(picture: Path) -> tuple[int, int] | None:
    head = picture.read_bytes()[:24]
    return (int.from_bytes(head[16:20]), int.from_bytes(head[20:24])) if head[:4] == b"\x89PNG" else None


def expected_interface(ios: Path) -> dict[str, str]:
    """What the app's code expects of a model, read from the Swift sources."""
    sources = ios / PACKAGE / "Sources/DigitKit"
    text = "".join((sources / name).read_text() for name in ("ModelInterface.swift", "Preprocessing.swift"))
    held = dict(re.findall(r'static let (\w+) = "?([\w.]+)"?', text))
    return {
        "input": held["image"],
        "probabilities": held["probabilities"],
        "label": held["label"],
        "image": f"{held['side']}x{held['side']} GRAYSCALE",
        "preprocessing version": held["version"],
    }


def promoted_models(ios: Path) -> list[Path]:
    """The promoted model where there is one; two forms of it would collide in Xcode."""
    name = re.search(r'resource = "(\w+)"', (ios / PACKAGE / "Sources/DigitKit/ModelInterface.swift").read_text())
    assert name
    return sorted((ios / "Digits").rglob(f"{name[1]}.ml*"))


def faults_of_model(ios: Path) -> Iterator[str]:
    """Where the promoted model's interface is not what the app expects; the file is loaded and executed."""
    from conversion import runtime

    models = promoted_models(ios)
    if len(models) > 1:
        yield f"{', '.join(path.name for path in models)} collide: Xcode can hold one form of a model"
    for path in models:
        interface = runtime.load(path).interface
        image = interface.input
        found = {
            "input": image.name,
            "probabilities": interface.probabilities_name,
            "label": interface.label_name,
            "image": f"{image.width}x{image.height} {image.color}",
            "preprocessing version": interface.metadata.user_defined.get("preprocessing_version", "none"),
        }
        for name, expected in expected_interface(ios).items():
            if found[name] != expected:
                yield f"{path.name}: {name} is {found[name]}, the app expects {expected}"
        if not all(isinstance(label, str) for label in interface.labels):
            yield f"{path.name}: labels must be texts, the app shows them"


def main() -> int:
    faults = [*faults_of_project(IOS), *faults_of_files(IOS), *faults_of_model(IOS)]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if not promoted_models(IOS):
        print("The promoted model's interface was not checked: none is in Digits/.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
