"""What is given in place of a Core ML file is named, with what to do; an archive of one is opened."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conversion.coreml.file import read
from conversion.runtime import CorruptModel, NotCheckable, NotCoreML, archives, load
from tests.conversion.fuzz import sample
from tests.support.commands import Command

SEEDS = Path(__file__).parent / "fuzz" / "seeds"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return sample.read(SEEDS / "network.zip").write(tmp_path)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return sample.read(SEEDS / "program_FLOAT32.zip").write(tmp_path)


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def members(package: Path, prefix: str = "") -> dict[str, bytes]:
    return {
        f"{prefix}{file.relative_to(package).as_posix()}": file.read_bytes()
        for file in package.rglob("*")
        if file.is_file()
    }


def made(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return folder / Path(name).parts[0]

    return make


KERAS = {"metadata.json": b"{}", "config.json": b"{}", "model.weights.h5": HDF5}
OTHERS: dict[str, tuple[Callable[[Path], Path], type[CorruptModel], str]] = {
    "pointer": (made("x.mlmodel", POINTER), CorruptModel, "run git lfs pull"),
    "h5": (made("x.h5", HDF5), NotCoreML, "a Keras model in HDF5"),
    "h5 by its content": (made("x.mlmodel", HDF5), NotCoreML, "a Keras model in HDF5"),
    "keras": (lambda folder: zipped(folder / "x.keras", KERAS), NotCoreML, "a Keras model"),
    "tflite": (made("x.tflite", b"\x1c\0\0\0TFL3" + bytes(90)), NotCoreML, "a TensorFlow Lite model"),
    "onnx": (made("x.onnx", b"\x08\x07\x12\x07pytorch" + bytes(90)), NotCoreML, "an ONNX model"),
    "torch": (lambda folder: zipped(folder / "x.pt", {"x/data.pkl": b"\x80\x02."}), NotCoreML, "a PyTorch file"),
    "page": (made("x.mlmodel", b"\n<!DOCTYPE html><html>"), NotCoreML, "a web page"),
    "compiled": (made("x.mlmodelc/coremldata.bin", b"content"), NotCoreML, "compiled; give the .mlmodel or"),
    "file of a compiled one": (made("x.mlmodelc", b"content"), NotCoreML, "compiled; give the .mlmodel or"),
    "SavedModel": (made("x/saved_model.pb", b"content"), NotCoreML, "a TensorFlow SavedModel"),
    "folder": (made("x/y.txt", b"content"), CorruptModel, "folder without Manifest.json, which is not a model package"),
    "archive": (
        lambda folder: zipped(folder / "x.zip", {"a.txt": b""}),
        NotCoreML,
        "an archive without a Core ML file",
    ),
    "compiled in an archive": (
        lambda folder: zipped(folder / "x.zip", {"a.mlmodelc/coremldata.bin": b""}),
        NotCoreML,
        "compiled; give the .mlmodel or",
    ),
    "damaged archive": (made("x.zip", b"PK\x03\x04" + bytes(90)), CorruptModel, "a damaged archive"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_it_is_named(name: str, tmp_path: Path) -> None:
    make, error, words = OTHERS[name]
    path = make(tmp_path)
    for open_it in (load, read):
        with pytest.raises(CorruptModel) as raised:
            open_it(path)
        assert str(raised.value).startswith(f"{path}: ")
        assert words in str(raised.value)
        assert type(raised.value) is error


def test_every_command_that_takes_a_file_says_it(command: Command, tmp_path: Path) -> None:
    path = made("x.h5", HDF5)(tmp_path)
    for module, *options in (["conversion.draw"], ["conversion.verify", "--run", "0" * 32]):
        done = command(module, path, *options)
        assert (done.code, done.out) == (2, "")
        assert "a Keras model in HDF5, not a Core ML file (.mlmodel or .mlpackage)" in done.error


@pytest.mark.parametrize("member", ["Manifest.json", str(sample.MODEL), str(sample.WEIGHTS)])
def test_a_pointer_in_a_package_is_named(member: str, package: Path) -> None:
    (package / member).write_bytes(POINTER)
    with pytest.raises(CorruptModel, match="run git lfs pull") as raised:
        load(package)
    assert Path(member).name in str(raised.value)


@pytest.mark.parametrize("folder_too", [False, True])
def test_missing_weights_are_named(folder_too: bool, package: Path) -> None:
    (package / sample.WEIGHTS).unlink()
    if folder_too:
        (package / sample.WEIGHTS).parent.rmdir()
    with pytest.raises(CorruptModel, match=r"its weights are missing: .*weights/weight\.bin"):
        load(package)


def test_a_program_out_of_its_package_lacks_its_weights(package: Path) -> None:
    with pytest.raises(CorruptModel, match="this file is not in a package: give the package"):
        load(package / sample.MODEL)


def test_a_folder_in_a_folder_is_named(package: Path, network: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer" / package.name
    outer.mkdir(parents=True)
    shutil.move(package, outer / package.name)
    for path in (outer, outer.parent):
        with pytest.raises(NotCoreML, match=f"a folder that holds {package.name}: give ") as raised:
            load(path)
    shutil.copy(network, outer.parent / "also.mlmodel")
    with pytest.raises(NotCoreML, match=f"holds also.mlmodel and {package.name}: give one of them"):
        load(outer.parent)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("prefix", ["", "Photos.mlpackage/", "some/where/Photos.mlpackage/"])
def test_an_archive_of_a_package_is_opened(prefix: str, package: Path, tmp_path: Path) -> None:
    beside = {"__MACOSX/Photos.mlpackage/._Manifest.json": b"\0", ".DS_Store": b"\0"} if prefix else {}
    archive = zipped(tmp_path / "Photos.mlpackage.zip", members(package, prefix) | beside)
    assert load(archive).interface == load(package).interface
    assert read(archive) == read(package)


def test_an_archive_of_a_file_is_opened(network: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "Digits.zip", {"Digits.mlmodel": network.read_bytes(), "README.md": b"text"})
    assert load(archive).interface == load(network).interface
    assert read(archive) == read(network)


def test_errors_name_the_archive(package: Path, tmp_path: Path) -> None:
    content = members(package, "a.mlpackage/")
    del content[f"a.mlpackage/{sample.WEIGHTS.as_posix()}"]
    archive = zipped(tmp_path / "a.zip", content)
    with pytest.raises(CorruptModel, match="its weights are missing") as raised:
        load(archive)
    assert str(raised.value).startswith(f"{archive}: ")


def test_an_archive_of_several_says_which(network: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", dict.fromkeys(("a.mlmodel", "b/c.mlmodel"), network.read_bytes()))
    with pytest.raises(NotCoreML, match=r"holds a\.mlmodel and b/c\.mlmodel: unpack it and give one of them"):
        load(archive)


@pytest.mark.parametrize("name", ["../a.mlmodel", "/a.mlmodel", "x/../../a.mlmodel"])
def test_an_archive_leads_nowhere_else(name: str, network: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {name: network.read_bytes()})
    with pytest.raises(CorruptModel, match="leads out of it"):
        load(archive)


def test_an_archive_holds_no_links(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("a.mlmodel")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(CorruptModel, match="is a link"):
        load(tmp_path / "x.zip")


def test_an_archive_that_would_fill_the_disk_is_not_unpacked(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(tmp_path / "x.zip", {"a.mlmodel": network.read_bytes()})
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(NotCheckable, match="would unpack to"):
        load(archive)


def test_an_archive_with_a_damaged_member_is_damaged(network: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"a.mlmodel": network.read_bytes()})
    content = bytearray(archive.read_bytes())
    content[200] ^= 1
    archive.write_bytes(content)
    with pytest.raises(CorruptModel, match="a damaged archive"):
        load(archive)


def test_nothing_is_left_of_an_archive(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    load(zipped(tmp_path / "a.zip", members(package, "a.mlpackage/")))
    assert not list(scratch.iterdir())
