"""Damaged and hostile `.keras` archives and weights: each ends in one clear line before Keras opens it."""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from mlflow import MlflowClient

from architectures.errors import ProjectError
from experiments import keras_file
from experiments.classifier import load_classifier
from tests.support.commands import Command
from tests.support.keras_files import CONFIG, METADATA, WEIGHTS, load, refusal, right, write


@pytest.fixture
def members() -> dict[str, bytes]:
    return right()


def test_a_right_file_loads(members: dict[str, bytes], tmp_path: Path) -> None:
    model = load(write(tmp_path / "model.keras", members))
    assert model.output_shape == (None, 10)


def test_every_truncation_is_noticed(members: dict[str, bytes], tmp_path: Path) -> None:
    content = write(tmp_path / "model.keras", members).read_bytes()
    for end in {int(end) for end in np.linspace(0, len(content) - 1, 40)}:
        (tmp_path / "model.keras").write_bytes(content[:end])
        refusal(tmp_path / "model.keras")


def test_flipped_bytes_never_end_otherwise(members: dict[str, bytes], tmp_path: Path) -> None:
    content = write(tmp_path / "model.keras", members).read_bytes()
    refused = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        (tmp_path / "model.keras").write_bytes(damaged)
        try:
            load(tmp_path / "model.keras")
        except ProjectError:
            refused += 1
    assert refused == 60, "the archive's checksums cover every byte of its members"


def test_only_keras_files_and_only_with_a_record(members: dict[str, bytes], tmp_path: Path) -> None:
    for name in ("model.h5", "model", "model.pkl"):
        assert ".keras files only" in refusal(write(tmp_path / name, members))
    with pytest.raises(ProjectError, match="its record says 000000000000"):
        load_classifier(write(tmp_path / "model.keras", members), "0" * 64)
    with pytest.raises(ProjectError, match="its record says"):
        load_classifier(tmp_path / "model.keras", "")
    os.mkfifo(tmp_path / "pipe.keras")
    for name in ("pipe.keras", "missing.keras"):
        with pytest.raises(ProjectError, match="no such file"):
            load_classifier(tmp_path / name, "0" * 64)


@pytest.mark.parametrize("tag", ["keras_sha256", "model_id"])
def test_a_version_without_a_record_is_not_promoted(tag: str, own_store: Path, command: Command) -> None:
    client = MlflowClient(f"sqlite:///{own_store / 'mlflow.db'}", f"sqlite:///{own_store / 'mlflow.db'}")
    version = client.get_model_version_by_alias("mnist5k-classifier", "candidate").version
    client.delete_model_version_tag("mnist5k-classifier", version, tag)
    found = command("conversion.promote", "--version", version)
    assert found.code == 1
    assert "was not registered by a sweep or a trial" in found.error
    assert not (own_store / "ios").exists()


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/tmp/outside.txt", "assets/vocabulary.txt", "C:\\outside", "a" * 300]
)
def test_other_members(name: str, members: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    assert f"holds the member {name[:80]!r}" in refusal(write(folder / "model.keras", {**members, name: b"x"}))
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, METADATA])
def test_missing_members(name: str, members: dict[str, bytes], tmp_path: Path) -> None:
    left = {known: content for known, content in members.items() if known != name}
    assert f"has no {name}" in refusal(write(tmp_path / "model.keras", left))


def test_members_of_one_name(members: dict[str, bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "model.keras", members)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(CONFIG, "{}")
    assert "two members with the same name" in refusal(path)


def test_linked_members(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            link = zipfile.ZipInfo(name)
            link.external_attr = (0o120777 if name == WEIGHTS else 0o600) << 16
            archive.writestr(link, "/etc/passwd" if name == WEIGHTS else content)
    assert f"{WEIGHTS} is a link" in refusal(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members(compression: int, members: dict[str, bytes], tmp_path: Path) -> None:
    bomb = {**members, WEIGHTS: bytes(2**26)}
    assert "is compressed" in refusal(write(tmp_path / "model.keras", bomb, compression))


def directory_entry(content: bytes, name: str) -> int:
    """Where the archive's list of members describes one of them."""
    place = content.rindex(name.encode()) - 46
    assert content[place : place + 4] == b"PK\x01\x02"
    return place


@pytest.mark.parametrize("size", [2**32 - 2, 2**31, 1])
def test_members_that_announce_another_size(size: int, members: dict[str, bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "model.keras", members)
    content = bytearray(path.read_bytes())
    struct.pack_into("<II", content, directory_entry(bytes(content), WEIGHTS) + 20, size, size)
    path.write_bytes(content)
    refusal(path)


def test_members_that_overlap(members: dict[str, bytes], tmp_path: Path) -> None:
    """Three entries for the bytes of one member, as in a bomb that holds its parts many times."""
    path = write(tmp_path / "model.keras", members)
    content = bytearray(path.read_bytes())
    size = len(members[WEIGHTS])
    struct.pack_into("<II", content, directory_entry(bytes(content), CONFIG) + 20, size, size)
    struct.pack_into("<II", content, directory_entry(bytes(content), METADATA) + 20, size, size)
    path.write_bytes(content)
    assert "overlap" in refusal(path)


def test_a_directory_of_many_members_is_not_read(members: dict[str, bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "model.keras", members | {f"{i}": b"" for i in range(2000)})
    assert "list of members" in refusal(path)
    content = path.read_bytes()
    path.write_bytes(content[:-22] + b"PK\x06\x07" + bytes(16) + content[-22:])  # another directory elsewhere
    assert "not a .keras archive" in refusal(path)


def test_other_archives_and_formats(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(members[WEIGHTS])  # an HDF5 file of older versions
    assert "not a .keras archive" in refusal(path)
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR." + bytes(100))  # a pickle
    assert "not a .keras archive" in refusal(path)
    path.write_bytes(b"")
    assert "not a .keras archive" in refusal(path)
    with path.open("wb") as file:
        file.truncate(keras_file.MAX_ARCHIVE_BYTES + 1)
    assert "beyond the limit" in refusal(path)


# Weights


def stored(change: Callable[[Any, Any, str], Any]) -> Callable[[dict[str, bytes], Path], bytes]:
    """The right weights after a change, given the file, a group of a layer and the name of a dataset in it."""

    def make(members: dict[str, bytes], folder: Path) -> bytes:
        buffer = io.BytesIO(members[WEIGHTS])
        with h5py.File(buffer, "r+") as file:
            change(file, file["layers/sequential/layers/dense/vars"], "0")
        return buffer.getvalue()

    return make


def external_data(file: Any, group: Any, name: str) -> None:
    shape = group[name].shape
    del group[name]
    group.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, 4 * int(np.prod(shape)))])


def link_outside(file: Any, group: Any, name: str) -> None:
    del group[name]
    group[name] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: Any, group: Any, name: str) -> None:
    del group[name]
    group[name] = h5py.SoftLink("/vars")


def virtual(file: Any, group: Any, name: str) -> None:
    layout = h5py.VirtualLayout(group[name].shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", group[name].shape)
    del group[name]
    group.create_virtual_dataset(name, layout)


def empty_bomb(file: Any, group: Any, name: str) -> None:
    del group[name]
    group.create_dataset(name, (2**20, 2**20), "f4")


def packed_bomb(file: Any, group: Any, name: str) -> None:
    del group[name]
    group.create_dataset(name, data=np.zeros(2**22, np.float32), compression="gzip")


def objects(file: Any, group: Any, name: str) -> None:
    del group[name]
    group.create_dataset(name, data=["text"] * 3, dtype=h5py.string_dtype())


def cycle(file: Any, group: Any, name: str) -> None:
    group["self"] = group


def aliases(file: Any, group: Any, name: str) -> None:
    for i in range(50):
        group[f"again{i}"] = file["layers/sequential/layers/conv2d_2/vars/0"]
        group[f"more{i}"] = group[name]
    for i in range(20):
        file[f"twice{i}"] = group


HOSTILE_WEIGHTS: dict[str, tuple[Callable[[Any, Any, str], Any], str]] = {
    "external_data": (external_data, "are in another file"),
    "external_link": (link_outside, "are a link to /etc/passwd"),
    "soft_link": (soft_link, "are a link to /vars"),
    "virtual": (virtual, "are in another file"),
    "empty_bomb": (empty_bomb, r"of shape \(1048576, 1048576\) are not stored as they are"),
    "packed_bomb": (packed_bomb, "are not stored as they are"),
    "objects": (objects, "are of the type object"),
    "cycle": (cycle, "objects, or groups that contain themselves"),
    "aliases": (aliases, "overlap"),
    "missing": (lambda file, group, name: group.__delitem__(name), "weights, and it stores"),
}


@pytest.mark.parametrize("name", HOSTILE_WEIGHTS)
def test_hostile_weights(name: str, members: dict[str, bytes], tmp_path: Path) -> None:
    change, text = HOSTILE_WEIGHTS[name]
    content = stored(change)(members, tmp_path)
    found = refusal(write(tmp_path / "model.keras", {**members, WEIGHTS: content}))
    assert re.search(text, found), found


@pytest.mark.slow
def test_damaged_weights(members: dict[str, bytes], tmp_path: Path) -> None:
    """Cut or overwritten inside an archive whose checksums are right again."""
    content, refused = members[WEIGHTS], 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content[: rng.integers(len(content))] if seed % 3 == 0 else content)
        for _ in range(0 if seed % 3 == 0 else 8):
            damaged[rng.integers(min(len(damaged), 4096))] = rng.integers(256)  # where most of the structure lies
        try:
            load(write(tmp_path / "model.keras", {**members, WEIGHTS: bytes(damaged)}))
        except ProjectError:
            refused += 1
    assert refused > 20
