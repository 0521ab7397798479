"""The wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.test_structure import FLOORS, ROOT

# The dated log of findings lies in a package, and is for the repository alone.
SOURCES_AND_DATA = [
    file.relative_to(ROOT)
    for floor in FLOORS
    for file in (ROOT / floor).rglob("*")
    if file.is_file() and "__pycache__" not in file.parts and file.name != "LOG.md"
]


@pytest.mark.slow
def test_the_wheel_is_whole_and_needs_no_checkout(tmp_path: Path) -> None:
    project, unpacked, empty = (tmp_path / name for name in ("project", "unpacked", "empty"))
    for floor in FLOORS:
        shutil.copytree(ROOT / floor, project / floor, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    build = "from setuptools import build_meta; print(build_meta.build_wheel('made'))"
    subprocess.run([sys.executable, "-c", build], cwd=project, check=True, capture_output=True)
    (wheel,) = (project / "made").glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    assert not [name for name in SOURCES_AND_DATA if not (unpacked / name).is_file()]
    (entry_points,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "pocketnets = pocketnets.__main__:main" in entry_points.read_text()

    empty.mkdir()
    sweep = ["sweep", "--trials", "1", "--epochs", "1", "--architecture", "pocket", "--figures", "off", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "pocketnets", *sweep],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["complete"] == 1
    assert (empty / "mlflow.db").exists()
