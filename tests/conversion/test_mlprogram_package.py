"""A package whose members are missing, lie outside, or store something else than the program declares."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversion.runtime import CorruptModel, NotCheckable, load
from conversion.runtime.package import Package
from tests.support.layers import (
    MODEL,
    WEIGHTS,
    block_of,
    build_program,
    change_program,
    fragile_network,
    op_of,
    outcome,
    spec_of,
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "whole.mlpackage"
    build_program(fragile_network).save(str(path))
    return path


@pytest.fixture
def package(saved: Path, tmp_path: Path) -> Path:
    """A package of one's own to damage."""
    return Path(shutil.copytree(saved, tmp_path / "m.mlpackage"))


def weights_of(spec: Any, name: str, parameter: str) -> Any:
    source = op_of(spec, op_of(spec, name).inputs[parameter].arguments[0].name)
    return source.attributes["val"].blobFileValue


def odd_offset(spec: Any) -> int:
    return int(op_of(spec, "odd").inputs["indices"].arguments[0].value.blobFileValue.offset)


def whole_file(spec: Any) -> int:
    return 0


# what: (header of a blob or of the file, bytes in it, their value, error)
HEADERS: dict[str, tuple[Callable[[Any], int], slice, int, str]] = {
    "version": (whole_file, slice(4, 8), 1, "in version 1, not 2"),
    "count": (whole_file, slice(0, 4), 1, "announces 1 blobs"),
    "type": (odd_offset, slice(4, 8), 11, "stored as type 11, not UINT3"),
    "size": (odd_offset, slice(8, 16), 6, "stores 6 bytes of weights where its shape needs 5"),
    "huge": (odd_offset, slice(8, 16), 2**63, "bytes of weights where its shape needs 5"),
    "place": (odd_offset, slice(16, 24), 2**62, "should reach to byte"),
    "place_before": (odd_offset, slice(16, 24), 64, "not a valid offset"),
    "place_between": (odd_offset, slice(16, 24), 2**20 + 1, "not a valid offset"),
    "unused_bits": (odd_offset, slice(24, 32), 3, "leave 3 bits unused where its shape leaves 7"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_weights(name: str, package: Path) -> None:
    header, place, value, text = HEADERS[name]
    content, start = bytearray((package / WEIGHTS).read_bytes()), header(spec_of(package))
    content[start + place.start : start + place.stop] = value.to_bytes(place.stop - place.start, "little")
    (package / WEIGHTS).write_bytes(content)
    with pytest.raises(CorruptModel, match=text):
        load(package)


def test_overlapping_weights(package: Path) -> None:
    """A second blob's header is forged into the data of the first."""
    spec = spec_of(package)
    offset = weights_of(spec, "conv", "weight").offset
    content = bytearray((package / WEIGHTS).read_bytes())
    bias = offset + 128
    content[bias : bias + 24] = content[offset : offset + 24]
    content[bias + 16 : bias + 24] = (bias + 64).to_bytes(8, "little")
    (package / WEIGHTS).write_bytes(content + bytes(1000))
    extra = block_of(spec).operations.add()
    extra.CopyFrom(op_of(spec, op_of(spec, "conv").inputs["weight"].arguments[0].name))
    extra.outputs[0].name = "extra"
    extra.attributes["val"].blobFileValue.offset = bias
    operations = list(block_of(spec).operations)
    del block_of(spec).operations[:]
    block_of(spec).operations.extend([operations[-1], *operations[:-1]])
    (package / MODEL).write_bytes(spec.SerializeToString())
    with pytest.raises(CorruptModel, match=r"overlap others\.$"):
        load(package)


def test_shared_weights(package: Path) -> None:
    """Two consts may name the same blob."""

    def share(spec: Any) -> None:
        extra = block_of(spec).operations.add()
        extra.CopyFrom(op_of(spec, op_of(spec, "conv").inputs["weight"].arguments[0].name))
        extra.outputs[0].name = "extra"
        operations = list(block_of(spec).operations)
        del block_of(spec).operations[:]
        block_of(spec).operations.extend([operations[-1], *operations[:-1]])

    assert outcome(change_program(package, share)) == "loaded"


Manifest = dict[str, Any]


def root_path(manifest: Manifest, path: Any) -> None:
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path


MANIFESTS: dict[str, tuple[Callable[[Manifest], Any], str]] = {
    "absolute": (lambda m: root_path(m, "/etc/hostname"), "does not stay in the package"),
    "upwards": (lambda m: root_path(m, "../../outside.mlmodel"), "does not stay in the package"),
    "upwards_inside": (lambda m: root_path(m, "com.apple.CoreML/../../../outside.mlmodel"), "does not stay"),
    "windows": (lambda m: root_path(m, "..\\..\\outside.mlmodel"), "does not stay"),
    "null_byte": (lambda m: root_path(m, "a\0b"), "does not stay"),
    "absent": (lambda m: root_path(m, "com.apple.CoreML/other.mlmodel"), "no file"),
    "folder": (lambda m: root_path(m, "com.apple.CoreML"), "is not a file"),
    "long": (lambda m: root_path(m, "x" * 100_000), "no file"),
    "number": (lambda m: root_path(m, 7), "names no file"),
    "empty": (lambda m: root_path(m, ""), "is not a file"),
    "no_root": (lambda m: m.pop("rootModelIdentifier"), "names no file"),
    "other_root": (lambda m: m.update(rootModelIdentifier="x"), "names no file"),
    "list_root": (lambda m: m.update(rootModelIdentifier=["x"]), "names no file"),
    "entries": (lambda m: m.update(itemInfoEntries=[]), "names no file"),
    "version": (lambda m: m.pop("fileFormatVersion"), "no version"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(name: str, package: Path) -> None:
    (package.parent / "outside.mlmodel").write_bytes((package / MODEL).read_bytes())
    manifest = json.loads((package / "Manifest.json").read_text())
    change, text = MANIFESTS[name]
    change(manifest)
    (package / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptModel, match=text):
        load(package)


def test_manifest_of_another_version(package: Path) -> None:
    text = (package / "Manifest.json").read_text().replace('"1.0.0"', '"2.0.0"')
    (package / "Manifest.json").write_text(text)
    with pytest.raises(NotCheckable, match="'2.0.0'"):
        load(package)


@pytest.mark.parametrize("member", [MODEL, WEIGHTS, WEIGHTS.parent, Path("Manifest.json"), Path("unused")])
def test_links_that_lead_outside(member: Path, package: Path) -> None:
    outside = package.parent / "outside"
    if (package / member).exists():
        shutil.move(package / member, outside)
    else:
        outside.touch()
    (package / member).symlink_to(outside)
    with pytest.raises(CorruptModel, match="points outside"):
        load(package)


def test_link_that_appears_later(package: Path) -> None:
    """Every member is looked at once more before it is opened."""
    opened = Package(package)
    outside = package.parent / "outside"
    shutil.move(package / WEIGHTS, outside)
    (package / WEIGHTS).symlink_to(outside)
    with pytest.raises(ValueError, match="is outside the package"):
        opened.member("weights/weight.bin", beside_model=True)


def test_links_inside(package: Path) -> None:
    (package / WEIGHTS).rename(package / "here.bin")
    (package / WEIGHTS).symlink_to(package / "here.bin")
    assert outcome(package) == "loaded"
    linked = package.parent / "linked.mlpackage"
    linked.symlink_to(package)
    assert outcome(linked) == "loaded"
    (package / WEIGHTS).unlink()
    (package / WEIGHTS).symlink_to(WEIGHTS.name)
    assert outcome(package) == "CorruptModel", "a link to itself"


@pytest.mark.parametrize("member", [MODEL, WEIGHTS])
def test_missing_and_special_members(member: Path, package: Path) -> None:
    (package / member).unlink()
    assert outcome(package) == "CorruptModel"
    os.mkfifo(package / member)  # reading it would wait for ever
    assert outcome(package) == "CorruptModel"
    (package / member).unlink()
    (package / member).mkdir()
    assert outcome(package) == "CorruptModel"


def test_folder_without_a_manifest(package: Path) -> None:
    (package / "Manifest.json").unlink()
    assert outcome(package) == "CorruptModel"
    renamed = package.rename(package.with_name("folder"))
    assert outcome(renamed) == "CorruptModel"


def test_package_of_any_name(package: Path) -> None:
    assert outcome(package.rename(package.with_name("folder"))) == "loaded"
