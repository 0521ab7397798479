"""Folders for files that are being made: gone at the end or after a kill -9, never taken from a living process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from architectures import scratch
from architectures.scratch import scratch_beside, scratch_folder
from tests.support.commands import environment
from tests.support.scratch import holder, killed_in_a_scratch_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_goes_and_a_living_ones_stays(temporary: Path) -> None:
    dead = killed_in_a_scratch_folder(TMPDIR=str(temporary))
    living, held = holder(TMPDIR=str(temporary))  # has removed what the dead one left
    assert not dead.parent.exists()
    with scratch_folder() as folder:
        assert held.is_dir()
        assert sorted(temporary.iterdir()) == sorted([held.parent, folder.parent])
    living.communicate("")
    assert living.returncode == 0
    assert list(temporary.iterdir()) == []


def test_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "X.mlmodel"
    dead = killed_in_a_scratch_folder(path)
    assert dead.parent.parent == tmp_path
    with scratch_beside(tmp_path / "other") as folder:
        assert dead.is_dir()  # what belongs to another file
    with scratch_beside(path) as folder:
        assert not dead.exists()
        (folder / path.name).write_text("whole")
        (folder / path.name).rename(path)
    assert os.listdir(tmp_path) == ["X.mlmodel"]


def test_a_folder_is_held_by_whoever_of_its_processes_lives(tmp_path: Path) -> None:
    """A child that was forked goes on in it when its parent is gone."""
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom architectures.scratch import scratch_beside\n"
        "with scratch_beside(Path(sys.argv[1])) as folder:\n"
        "    if os.fork(): print(folder, flush=True); os._exit(0)\n"
        "    sys.stdin.read(); os._exit(0)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "X")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdin
    assert process.stdout
    held = Path(process.stdout.readline().strip())
    process.wait()
    with scratch_beside(tmp_path / "X"):
        assert held.is_dir()
    process.stdin.close()
    process.stdout.read()  # until the child is gone
    with scratch_beside(tmp_path / "X"):
        assert not held.exists()


def test_others_folders_stay(temporary: Path) -> None:
    for name in ("pocketnets-0", f"{scratch.PREFIX}abcdefgh", f"{scratch.PREFIX}abcdefg", "pocketnets-abcdefgh"):
        (temporary / name).mkdir()
        (temporary / name / "lock").touch()
        (temporary / name / "mine").touch()
    before = sorted(temporary.rglob("*"))
    with scratch_folder():
        pass
    assert sorted(temporary.rglob("*")) == before


def test_one_that_is_taken_for_abandoned_while_it_is_made(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may look between the making of a folder and its lock: then the next name is taken."""
    make, made = scratch.tempfile.mkdtemp, []

    def struck(**options: str) -> str:
        made.append(make(**options))
        if len(made) == 1:
            scratch.remove_abandoned(temporary, scratch.PREFIX)
        return made[-1]

    monkeypatch.setattr(scratch.tempfile, "mkdtemp", struck)
    with scratch_folder() as folder:
        assert folder.is_dir()
    assert len(made) == 2
    assert list(temporary.iterdir()) == []
