"""Weights of PyTorch's files: what is read, and that nothing else is, least of all run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from architectures import torch_file
from architectures.errors import ProjectError
from tests.support import torch_files

ARRAYS = {
    "kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),  # as channels-last weights lie
    "mean": np.array([0.5, -1.0]),
    "count": np.array(7),
    "nothing": np.zeros((0, 3), np.float32),
}


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = torch_file.read(torch_files.write_torch_file(tmp_path / "w.pth", ARRAYS))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


class Hostile:
    """Unpickled in the ordinary way it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_a_command_is_not_run(protocol: int, tmp_path: Path) -> None:
    file, proof = tmp_path / "w.pth", tmp_path / "ran"
    hostile = pickle.dumps({"kernel": Hostile(proof)}, protocol)
    pickle.loads(hostile)
    proof.unlink()  # it does what it says
    for written in (hostile, torch_files.torch_file({"a": np.ones(2)}, pickled=hostile)):
        file.write_bytes(written)
        with pytest.raises(ProjectError, match=r"w\.pth is not read: it (asks for|uses|is truncated, or no)") as caught:
            torch_file.read(file)
        assert "\n" not in str(caught.value)
    assert not proof.exists()
    if protocol == 2:
        assert "posix.system, which is not run" in str(caught.value)


ONE = np.ones(3, np.float32)


def with_tensor(item: bytes) -> bytes:
    return torch_files.torch_file({"a": ONE}, pickled=torch_files.state({"a": item}))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "truncated, or not a PyTorch file"),
        (b"hello, world", "truncated, or not a PyTorch file"),
        (b"PK\x03\x04", "in the format that PyTorch writes since version 1.6; write it again there, by torch.save"),
        (pickle.dumps(1, 2), "truncated, or not a PyTorch file"),
        (pickle.dumps(torch_files.MAGIC, 2) + pickle.dumps(1002, 2), "its version is 1002, not 1001"),
        (torch_files.torch_file({"a": ONE}, pickled=pickle.dumps([1], 2)), "it holds no state dictionary"),
        (with_tensor(b"K\x01"), "it holds no state dictionary"),
        (with_tensor(torch_files.tensor("0", ONE, count=2)), "a tensor that is larger than its storage"),
        (with_tensor(torch_files.tensor("0", ONE, strides=(2,))), "a tensor that is larger than its storage"),
        (with_tensor(torch_files.tensor("0", ONE, strides=(-1,))), "a tensor of no size"),
        (with_tensor(torch_files.tensor("0", ONE, strides=())), "something other than tensors"),
        (with_tensor(torch_files.tensor("1", ONE)), "its storages are not those of its tensors"),
        (with_tensor(torch_files.tensor("0", ONE, count=4)), "truncated, or not a PyTorch file"),
        (with_tensor(torch_files.tensor("0", np.broadcast_to(ONE, (2**27, 3)), count=3)), "more than 134,217,728 val"),
        (with_tensor(b"r\xff\xff\xff\x7f"), "takes more than 200,000 steps"),  # a memo of two thousand million
    ],
)
def test_anything_else_is_one_line(written: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(written)
    with pytest.raises(ProjectError, match=r"w\.pth is not read: ") as caught:
        torch_file.read(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole, file = torch_files.torch_file({"a": ONE}), tmp_path / "w.pth"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(ProjectError, match="truncated"):
            torch_file.read(file)


def test_attributes_that_a_file_sets_are_dropped(tmp_path: Path) -> None:
    """A tensor that is changed once it was looked at would reach into memory beyond its storage."""
    widened = torch_files.tensor("0", ONE) + pickle.dumps({"shape": (1_000_000,)}, 2)[2:-1] + b"b"
    file = tmp_path / "w.pth"
    file.write_bytes(with_tensor(widened))
    assert torch_file.read(file)["a"].shape == (3,)
