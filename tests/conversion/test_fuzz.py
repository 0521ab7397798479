"""The executors' readers against damage: what once broke them, and a short, seeded run of the fuzzer."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from tests.conversion.fuzz import interfaces
from tests.conversion.fuzz.fuzz import BROKE, SEEDS, damaged, outcome, seeds
from tests.conversion.fuzz.sample import read
from tests.support.commands import run_module

FILES = 200


@pytest.mark.parametrize("path", sorted(SEEDS.glob("*.zip")), ids=lambda path: path.stem)
def test_seeds_load(path: Path, tmp_path: Path) -> None:
    """As a classifier of images, or by its features."""
    classified, by_features, described = outcome(read(path).write(tmp_path)).split("; ")
    assert by_features.startswith("loaded")
    assert described.startswith("loaded")
    assert classified.startswith("loaded") or path.stem in interfaces.samples()


@pytest.mark.parametrize("path", sorted(BROKE.glob("*.zip")), ids=lambda path: path.stem)
def test_what_once_broke_ends_in_one_line(path: Path, tmp_path: Path) -> None:
    *executed, described = outcome(read(path).write(tmp_path)).split("; ")
    for found in executed:
        assert found.split()[0] in {"CorruptModel", "NotCheckable"}
    assert described.split()[0] in {"loaded", "CorruptModel", "NotCheckable"}


def test_damaged_files_end_in_one_line_or_an_answer(tmp_path: Path) -> None:
    found = Counter(outcome(sample.write(tmp_path)).split()[0] for sample in islice(damaged(seeds(), Random(0)), FILES))
    assert found["CorruptModel"] > FILES / 4
    assert found["NotCheckable"] > FILES / 20
    assert found["loaded"] > FILES / 20, "damage that is always noticed at once leads nowhere"


def test_the_fuzzer_itself(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = run_module("tests.conversion.fuzz.fuzz", "--seconds", 2, "--found", tmp_path / "found", cwd=root)
    assert done.code == 0, done.err
    assert " 0 found" in done.out
    assert not (tmp_path / "found").exists()
