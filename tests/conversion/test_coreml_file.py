"""Files in memory and on disk: digests that a person can recompute, and replacements that are whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import coremltools
import pytest
from coremltools.proto.Model_pb2 import Model

from conversion.coreml.file import DATE_KEY, CoreMLFile, mlmodel, mlpackage, read
from conversion.coreml.writing import staged, write
from conversion.runtime import CorruptModel


def message(date: str, text: str = "") -> bytes:
    model = Model(specificationVersion=4)
    model.neuralNetworkClassifier.stringClassLabels.vector.append("a")
    model.description.metadata.userDefined[DATE_KEY] = date
    model.description.metadata.userDefined["text"] = text
    return model.SerializeToString(deterministic=True)


def package(date: str = "2026-01-01", text: str = "") -> CoreMLFile:
    return mlpackage(message(date, text), {"weight.bin": b"\0" * 100})


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_package_is_what_apples_reader_expects(tmp_path: Path) -> None:
    write(package(), tmp_path / "X.mlpackage")
    reader = coremltools.libmodelpackage.ModelPackage(str(tmp_path / "X.mlpackage"))
    assert Path(reader.getRootModel().path()).read_bytes() == message("2026-01-01")
    weights = Path(reader.findItemByNameAuthor("weights", "com.apple.CoreML").path())
    assert [file.name for file in weights.iterdir()] == ["weight.bin"]
    assert json.loads(package().members["Manifest.json"])["fileFormatVersion"] == "1.0.0"
    assert read(tmp_path / "X.mlpackage") == package()  # the reader writes the manifest again: the same


def test_digest_of_a_package_is_the_documented_command_s(tmp_path: Path) -> None:
    write(package(), tmp_path / "X.mlpackage")
    command = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    assert command in CoreMLFile.sha256.__doc__
    done = subprocess.run(command, shell=True, cwd=tmp_path / "X.mlpackage", capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == package().sha256


def test_digests_of_an_mlmodel() -> None:
    file = mlmodel(message("2026-01-01"))
    assert file.sha256 == hashlib.sha256(message("2026-01-01")).hexdigest()
    model = Model.FromString(message("2026-01-01"))
    del model.description.metadata.userDefined[DATE_KEY]
    assert file.reproducible_sha256 == hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


@pytest.mark.parametrize("make", [lambda *text: mlmodel(message(*text)), package])
def test_the_date_alone_does_not_count(make: object) -> None:
    first, later, other = make("2026-01-01"), make("2026-02-02"), make("2026-01-01", "other")
    assert first.reproducible_sha256 == later.reproducible_sha256 != other.reproducible_sha256
    assert first.sha256 != later.sha256


@pytest.mark.parametrize("file", [mlmodel(message("2026-01-01")), package()], ids=["mlmodel", "mlpackage"])
def test_a_file_is_read_back_as_it_was_written(file: CoreMLFile, tmp_path: Path) -> None:
    path = tmp_path / "deep" / f"model{file.suffix}"
    write(file, path)
    assert read(path) == file
    assert read(path).size_bytes == sum(map(len, tree(tmp_path).values()))
    assert [path.name for path in path.parent.iterdir()] == [path.name]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CorruptModel, match="cannot be read"):
        read(tmp_path / "missing.mlmodel")
    with pytest.raises(CorruptModel, match="not a model package"):
        read(tmp_path)
    write(package(), tmp_path / "X.mlpackage")
    (tmp_path / "X.mlpackage" / "link").symlink_to("/etc/hostname")
    with pytest.raises(CorruptModel, match="points outside"):
        read(tmp_path / "X.mlpackage")


@pytest.mark.parametrize("old", [mlmodel(b"old"), package(text="old")], ids=["mlmodel", "mlpackage"])
@pytest.mark.parametrize("new", [mlmodel(b"new"), package(text="new")], ids=["mlmodel", "mlpackage"])
def test_a_file_replaces_both_forms(old: CoreMLFile, new: CoreMLFile, tmp_path: Path) -> None:
    write(old, tmp_path / f"X{old.suffix}")
    write(new, tmp_path / f"X{new.suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"X{new.suffix}"]
    assert read(tmp_path / f"X{new.suffix}") == new


@pytest.mark.parametrize("new", [mlmodel(b"new"), package(text="new")], ids=["mlmodel", "mlpackage"])
def test_without_the_call_nothing_changes(new: CoreMLFile, tmp_path: Path) -> None:
    write(package(text="old"), tmp_path / "X.mlpackage")
    before = tree(tmp_path)
    with staged(new, tmp_path / f"X{new.suffix}"):
        assert len(tree(tmp_path)) > len(before)
    assert tree(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("old", ["X.mlmodel", "X.mlpackage"])
def test_a_failed_move_leaves_the_old_file(old: str, tmp_path: Path) -> None:
    write(package(text="old") if old.endswith("mlpackage") else mlmodel(b"old"), tmp_path / old)
    before = tree(tmp_path)
    with staged(package(text="new"), tmp_path / "X.mlpackage") as put:
        (beside,) = (path for path in tmp_path.iterdir() if path.name.startswith("."))
        shutil.rmtree(beside)  # so that the last step has nothing to move
        with pytest.raises(FileNotFoundError):
            put()
        assert tree(tmp_path) == before
    assert os.listdir(tmp_path) == [old]


def test_a_folder_stands_where_the_file_should(tmp_path: Path) -> None:
    (tmp_path / "X.mlmodel").mkdir()
    with pytest.raises(IsADirectoryError, match="directory"):
        write(mlmodel(b"three"), tmp_path / "X.mlmodel")
    assert os.listdir(tmp_path) == ["X.mlmodel"]


def test_the_suffix_is_the_formats(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"of the format mlpackage is named \*\.mlpackage, not X\.mlmodel"):
        write(package(), tmp_path / "X.mlmodel")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A member's name that is too long for the file system, after others were written."""
    write(package(text="old"), tmp_path / "X.mlpackage")
    before = tree(tmp_path)
    broken = CoreMLFile("mlpackage", {**package().members, "x" * 300: b""})
    with pytest.raises(OSError, match="name too long"):
        write(broken, tmp_path / "X.mlpackage")
    assert tree(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 1
