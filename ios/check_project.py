"""Check project, scheme, package and models, without Xcode.  Run: python ios/check_project.py

Exit codes: 0 nothing wrong, 1 faults, one line each.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import openstep_plist

IOS = Path(__file__).parent
PROJECT = "Digits.xcodeproj"
PACKAGE, STUBS = "DigitKit", "Stubs"  # folders whose files belong to no target of the project
SOURCES = {".swift", ".xcassets", ".xcprivacy", ".xcstrings", ".mlmodel", ".mlpackage"}
SOURCES |= {".metal", ".strings", ".stringsdict", ".storyboard", ".xib"}  # what a target must build
SYNCHRONIZED = "PBXFileSystemSynchronizedRootGroup"
SETTINGS = {  # required values as patterns, and in words
    "IPHONEOS_DEPLOYMENT_TARGET": (r"(1[7-9]|[2-9]\d)(\.\d+)*", "17.0 or later"),
    "SWIFT_VERSION": (r"6(\.0)?", "6.0"),
    "SWIFT_STRICT_CONCURRENCY": ("complete", "complete"),
    "COREML_CODEGEN_LANGUAGE": ("None", "None"),
    "SDKROOT": ("iphoneos", "iphoneos"),
    "LOCALIZATION_PREFERS_STRING_CATALOGS": ("YES", "YES"),
}
TESTABLE = "ENABLE_TESTABILITY"  # required where tests run, or they cannot access the app's code
ASSETS = {  # settings that name an asset, and the suffix of its folder
    "ASSETCATALOG_COMPILER_APPICON_NAME": ".appiconset",
    "ASSETCATALOG_COMPILER_GLOBAL_ACCENT_COLOR_NAME": ".colorset",
}
APP_SETTINGS = ("INFOPLIST_FILE", *ASSETS)  # set by the app's target itself
IDENTIFIER = "PRODUCT_BUNDLE_IDENTIFIER"
APP, TESTS = "com.apple.product-type.application", "com.apple.product-type.bundle."
XCODES = {  # variables that Xcode sets
    *("inherited", "TARGET_NAME", "BUILT_PRODUCTS_DIR", "BUNDLE_EXECUTABLE_FOLDER_PATH", "EXECUTABLE_NAME"),
    *("PRODUCT_BUNDLE_PACKAGE_TYPE",),
}
PACKAGED = re.compile(rf"{PACKAGE}/(Package\.swift|Sources/{PACKAGE}/.+|Tests/{PACKAGE}Tests/.+)")
ID = re.compile("[0-9A-F]{24}")
BUNDLED = "Digits/Bundled/BundledDigits.mlmodel"  # the app's model before a promotion
EVIDENCE = "Evidence/promotion.json"  # of its promotion
COLORS = ("GRAYSCALE", "RGB", "BGR")  # Core ML puts the channels in order
FITS = ("crop", "pad", "squash")
OPTIONAL = {"fit", "background", "threshold"}  # metadata that not every file has


def faults_of_project(ios: Path) -> Iterator[str]:
    """Yield undefined and unreachable ids, missing files, files in no target, and foreign packages and settings."""
    text = (ios / PROJECT / "project.pbxproj").read_text()
    try:
        project = openstep_plist.loads(text, use_numbers=False)
    except Exception as error:
        yield f"{PROJECT}/project.pbxproj cannot be read: {error}"
        return
    defined = re.findall(rf"^\s*({ID.pattern})\b[^=;]*= *{{\s*isa\b", text, re.M)
    if twice := {name for name in defined if defined.count(name) > 1}:
        yield from (f"id {name} is defined more than once" for name in sorted(twice))
        return
    objects = project["objects"]
    reached: set[str] = set()
    waiting = [project["rootObject"]]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _ids(objects.get(name))
    yield from (f"id {name} ({objects[name]['isa']}) is not reachable" for name in objects.keys() - reached)
    if undefined := reached - objects.keys():
        yield from (f"id {name} is used and not defined" for name in undefined)
        return  # everything else follows ids

    for name, parent in _folders(objects, project):
        entry = objects[name]
        if "path" in entry and entry.get("sourceTree") == "<group>" and not (ios / parent / entry["path"]).exists():
            yield f"{parent / entry['path']} is in the project and not on the disk"
    targets = [entry for entry in objects.values() if entry["isa"] == "PBXNativeTarget"]
    built = [objects[name]["path"] for target in targets for name in target.get("fileSystemSynchronizedGroups", [])]
    yield from (f"folder {path} is in several targets" for path in set(built) if built.count(path) > 1)
    groups = [entry for entry in objects.values() if entry["isa"] == SYNCHRONIZED]
    yield from (f"folder {path} is in no target" for path in {group["path"] for group in groups} - set(built))
    excepted = {
        Path(group["path"], file)
        for group in groups
        for name in group.get("exceptions", [])
        for file in objects[name].get("membershipExceptions", [])
    }
    for file in ios.rglob("*"):
        place = file.relative_to(ios)
        if file.suffix in SOURCES and (place in excepted or place.parts[0] not in {*built, PACKAGE, STUBS}):
            yield f"{place} is in no target"
        elif file.suffix == ".swift" and place.parts[0] == PACKAGE and not PACKAGED.fullmatch(place.as_posix()):
            yield f"{place} is in no target of {PACKAGE}"
    for target in targets:
        yield from _faults_of_target(target, objects, ios)
    yield from _faults_of_packages(objects, ios)
    yield from _faults_of_bundles(objects)
    yield from _faults_of_settings(objects, project, ios)
    for entry in objects.values():
        plist = entry.get("buildSettings", {}).get("INFOPLIST_FILE")
        if plist and not (ios / plist).exists():
            yield f"{plist} is a build setting and not on the disk"
    yield from _faults_of_schemes(objects, ios)


def _faults_of_schemes(objects: dict, ios: Path) -> Iterator[str]:
    """Yield schemes that cannot be read, name missing targets, or omit tests."""
    schemes = list((ios / PROJECT).rglob("*.xcscheme"))
    manifest = ios / PACKAGE / "Package.swift"
    packaged_tests = re.findall(r'\.testTarget\(\s*name: "(\w+)"', manifest.read_text()) if manifest.exists() else []
    tests = {entry["name"] for entry in objects.values() if entry.get("productType", "").startswith(TESTS)}
    for scheme in schemes:
        try:
            tree = ElementTree.parse(scheme)
        except ElementTree.ParseError as error:
            yield f"{scheme.name} cannot be read: {error}"
            continue
        for reference in tree.iter("BuildableReference"):
            name = reference.get("BlueprintName")
            packaged = reference.get("ReferencedContainer") == f"container:{PACKAGE}"
            target = objects.get(reference.get("BlueprintIdentifier"), {})
            if not (name in packaged_tests if packaged else target.get("name") == name):
                yield f"{scheme.name} names target {name}, which the project does not have"
        tested = {
            entry.get("BlueprintName")
            for entry in tree.iterfind(".//TestableReference[@skipped='NO']/BuildableReference")
        }
        yield from (f"{scheme.name} does not test {name}" for name in sorted({*tests, *packaged_tests} - tested))
    if not schemes:
        yield "the project has no shared scheme"


def _faults_of_target(target: dict, objects: dict, ios: Path) -> Iterator[str]:
    """Yield faults of a target: a package that is not linked, or linked twice, and a missing plist or assets."""
    folders = [ios / objects[name]["path"] for name in target.get("fileSystemSynchronizedGroups", [])]
    imports = any(f"import {PACKAGE}" in file.read_text() for folder in folders for file in folder.rglob("*.swift"))
    linked = [objects[name]["productName"] for name in target.get("packageProductDependencies", [])]
    configurations = objects[target["buildConfigurationList"]]["buildConfigurations"]
    hosted = any("TEST_HOST" in objects[name]["buildSettings"] for name in configurations)
    if imports and not linked and not hosted:
        yield f"target {target['name']} imports {PACKAGE} and does not link it"
    if linked and hosted:
        yield f"target {target['name']} links {PACKAGE}, which its host has already: there would be two of each type"
    if target["productType"] != APP:
        return
    for name in configurations:
        settings = objects[name]["buildSettings"]
        yield from (f"{key} is not set in {target['name']}" for key in APP_SETTINGS if key not in settings)
        for key, suffix in ASSETS.items():
            asset = settings.get(key)
            if asset and not any(list(folder.rglob(f"{asset}{suffix}/Contents.json")) for folder in folders):
                yield f"{asset}{suffix} is in none of the app's asset catalogs"


def _ids(value: object) -> list[str]:
    """Return all ids inside a value, including keys, because target attributes have them."""
    if isinstance(value, str):
        return [value] if ID.fullmatch(value) else []
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return [name for item in items for name in _ids(item)]


def _folders(objects: dict, project: dict) -> Iterator[tuple[str, Path]]:
    """Yield every member of a group with the folder that its path is relative to."""
    waiting = [(objects[project["rootObject"]]["mainGroup"], Path())]
    while waiting:
        name, parent = waiting.pop()
        yield name, parent
        below = parent / objects[name].get("path", "")
        waiting += [(child, below) for child in objects[name].get("children", [])]


def _faults_of_packages(objects: dict, ios: Path) -> Iterator[str]:
    """Yield packages that are missing or third-party code, which the app does not use."""
    for entry in objects.values():
        if entry["isa"] == "XCRemoteSwiftPackageReference":
            yield f"package {entry['repositoryURL']} is third-party code"
        elif entry["isa"] == "XCSwiftPackageProductDependency" and entry["productName"] != PACKAGE:
            yield f"product {entry['productName']} is third-party code"
        elif entry["isa"] == "XCLocalSwiftPackageReference":
            manifest = ios / entry["relativePath"] / "Package.swift"
            if Path(entry["relativePath"]) != Path(PACKAGE):
                yield f"package {entry['relativePath']} is third-party code"
            elif not manifest.exists():
                yield f"package {PACKAGE} is not on the disk"
            else:
                yield from _faults_of_manifest(manifest.read_text(), objects)


def _faults_of_manifest(manifest: str, objects: dict) -> Iterator[str]:
    """Yield faults of the package: third-party code, an older Swift, a newer iOS than the app's, or another name."""
    if re.search(r"\.(package|binaryTarget)\(", manifest):
        yield f"package {PACKAGE} depends on third-party code"
    if not re.match(r"// swift-tools-version: [6-9]", manifest):
        yield f"package {PACKAGE} is not checked as Swift 6"
    if f'.library(name: "{PACKAGE}"' not in manifest:
        yield f"package {PACKAGE} has no library of that name"
    oldest = re.search(r"\.iOS\(\.v(\d+)\)", manifest)
    for entry in objects.values():
        target = entry.get("buildSettings", {}).get("IPHONEOS_DEPLOYMENT_TARGET")
        if target and (oldest is None or int(oldest[1]) > float(target)):
            yield f"package {PACKAGE} does not run on iOS {target}, from which on the app does"


def _faults_of_settings(objects: dict, project: dict, ios: Path) -> Iterator[str]:
    """Yield required build settings that the project lacks, or that are overridden anywhere, even conditionally."""
    configurations = objects[objects[project["rootObject"]]["buildConfigurationList"]]["buildConfigurations"]
    for name in configurations:
        settings = objects[name]["buildSettings"]
        for key in SETTINGS.keys() - settings.keys():
            yield f"{key} is not set in {objects[name]['name']} of the project"
        if objects[name]["name"] == "Debug" and settings.get(TESTABLE) != "YES":
            yield f"{TESTABLE} is not YES in Debug of the project"
    made = [
        (f"{entry['name']} ({name})", key.partition("[")[0], value)
        for name, entry in objects.items()
        for key, value in entry.get("buildSettings", {}).items()
    ]
    for file in ios.rglob("*.xcconfig"):
        lines = re.findall(r"^(\w+)(?:\[.*?\])* *= *(.*?) *(?://.*)?$", file.read_text(), re.M)
        made += [(str(file.relative_to(ios)), key, value) for key, value in lines]
    for where, key, value in made:
        if key in SETTINGS and not re.fullmatch(SETTINGS[key][0], value):
            yield f"{key} is {value} in {where}, it must be {SETTINGS[key][1]}"
    used = [(where, name) for where, _, value in made for name in re.findall(r"\$\((\w+)\)", value)]
    for file in (ios / "Config").glob("*.plist"):
        used += [(str(file.relative_to(ios)), name) for name in re.findall(r"\$\((\w+)\)", file.read_text())]
    known = XCODES | {key for _, key, _ in made}
    yield from (f"$({name}) is used in {where} and set nowhere" for where, name in used if name not in known)


def _faults_of_bundles(objects: dict) -> Iterator[str]:
    """Yield targets without a unique identifier, and tests of a missing app."""
    targets = [entry for entry in objects.values() if entry["isa"] == "PBXNativeTarget"]
    apps = {target["name"] for target in targets if target["productType"] == APP}
    owner: dict[str, str] = {}
    for target in targets:
        for name in objects[target["buildConfigurationList"]]["buildConfigurations"]:
            settings = objects[name]["buildSettings"]
            identifier = settings.get(IDENTIFIER)
            if not identifier:
                yield f"{IDENTIFIER} is not set in {target['name']}"
            elif owner.setdefault(identifier, target["name"]) != target["name"]:
                yield f"{target['name']} and {owner[identifier]} have the identifier {identifier}"
            host = re.fullmatch(r".*/(.+)\.app/.*/\1", settings.get("TEST_HOST", ""))
            tested = host[1] if host else settings.get("TEST_TARGET_NAME")
            if target["productType"].startswith(TESTS) and tested not in apps:
                yield f"{target['name']} tests {tested}, which is no app of the project"


def swift_numbers(ios: Path) -> dict[str, str]:
    """Return constants of the preprocessing, read from the Swift source."""
    source = (ios / PACKAGE / "Sources/DigitKit/Preprocessing.swift").read_text()
    return dict(re.findall(r"static let (\w+) = ([\w.]+)", source))


def expected_metadata(ios: Path) -> list[str]:
    """Return the keys of a model's metadata that the app reads, from the Swift source."""
    keys = re.findall(r'metadata\["([\w.]+)"\]', (ios / PACKAGE / "Sources/DigitKit/ModelFacts.swift").read_text())
    assert keys
    return [key for key in keys if key not in OPTIONAL]


def faults_of_bundled_model(ios: Path) -> Iterator[str]:
    """Yield a fault if a fresh clone's model for the app is missing, or not the one in its evidence."""
    model, evidence = ios / BUNDLED, ios / EVIDENCE
    if not model.exists():
        yield f"{BUNDLED} is missing: an app built from a fresh clone would have no model"
    elif hashlib.sha256(model.read_bytes()).hexdigest() != json.loads(evidence.read_text())["coreml_sha256"]:
        yield f"{BUNDLED} is not the file that {EVIDENCE} is of"


def models_of(ios: Path) -> list[Path]:
    """Return the models in the app's folder; two with the same name would collide in Xcode."""
    found = [path for suffix in (".mlmodel", ".mlpackage") for path in (ios / "Digits").rglob(f"*{suffix}")]
    return sorted(path for path in found if ".mlpackage" not in str(path.parent))


def faults_of_model(ios: Path) -> Iterator[str]:
    """Yield what the app cannot use in a model's interface or metadata; the file is loaded and executed."""
    from conversion import runtime

    models = models_of(ios)
    source = (ios / PACKAGE / "Sources/DigitKit/ModelInterface.swift").read_text()
    names = re.findall(r'"(\w+)"', re.findall(r"resources = \[(.+)\]", source)[0])
    for stem in sorted({path.stem for path in models}):
        forms = [path.name for path in models if path.stem == stem]
        if len(forms) > 1:
            yield f"{', '.join(forms)} collide: Xcode can hold one form of a model"
        if stem not in names:
            yield f"{forms[0]} is not read: the app looks for {' or '.join(names)}"
    for path in models:
        interface = runtime.load(path).interface
        image, metadata = interface.input, interface.metadata.user_defined
        if image.color not in COLORS:
            yield f"{path.name}: takes {image.text}, the app gives images of {', '.join(COLORS)}"
        if not all(isinstance(label, str) for label in interface.labels):
            yield f"{path.name}: labels must be texts, the app shows them"
        numbers = swift_numbers(ios)
        side = int(numbers["side"])
        drawn = set(interface.labels) == set("0123456789") and image.color == "GRAYSCALE"
        made_for = metadata.get("preprocessing_version", "none")
        if drawn and (image.width, image.height) == (side, side) and made_for != numbers["version"]:
            yield f"{path.name}: preprocessing version is {made_for}, the app expects {numbers['version']}"
        for key in expected_metadata(ios):
            if not metadata.get(key):
                yield f"{path.name}: the metadata has no {key}, the app reads it"
        if metadata.get("fit", "crop") not in FITS:
            yield f"{path.name}: fit is {metadata['fit']}, the app knows {', '.join(FITS)}"
        background = metadata.get("background", "white")
        if not re.fullmatch("white|black|[0-9a-f]{6}", background):
            yield f"{path.name}: background is {background}, the app knows white, black and six hexadecimal digits"
        if not re.fullmatch(r"0(\.\d+)?|1(\.0+)?", metadata.get("threshold", "0")):
            yield f"{path.name}: threshold is {metadata['threshold']}, it must be a number from 0 to 1"


def main() -> int:
    faults = [
        *faults_of_project(IOS),
        *faults_of_bundled_model(IOS),
        *faults_of_model(IOS),
    ]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
