"""Classes that share a name are told apart wherever they are shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.attempts import Attempts
from experiments.evaluation.labels import told_apart
from experiments.evaluation.metrics import evaluate
from experiments.evaluation.pictures import short_names
from experiments.evaluation.report import write_report


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (("cat", "dog"), ("cat", "dog")),
        (("crane", "dog", "crane"), ("crane [0]", "dog", "crane [2]")),
        ((7, 7, 8), ("7 [0]", "7 [1]", "8")),
        ((1, "1"), ("1 [0]", "1 [1]")),
        ((), ()),
    ],
)
def test_each_has_a_text_of_its_own(labels: tuple, shown: tuple[str, ...]) -> None:
    assert told_apart(labels) == shown


def test_a_name_that_looks_like_one_told_apart() -> None:
    shown = told_apart(("crane", "crane", "crane [1]", "crane [1]"))
    assert len(set(shown)) == 4
    assert all(text.startswith("crane") for text in shown)


def test_names_that_are_cut_to_the_same_text() -> None:
    assert short_names(("a sandhill crane, grey", "a sandhill crane, red", "dog")) == (
        "a sandhill cran… [0]",
        "a sandhill cran… [1]",
        "dog",
    )


def test_an_evaluation_shows_which_crane(tmp_path: Path) -> None:
    names = ("crane", "dog", "crane")
    labels = np.array([0, 1, 2, 2])
    found = evaluate(np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], labels, names)
    assert [each.name for each in found.classes] == ["crane [0]", "dog", "crane [2]"]
    write_report(found, np.zeros((4, 8, 8, 1), np.uint8), tmp_path, what="validation", attempts=Attempts())
    head = (tmp_path / "confusion_matrix.csv").read_text().splitlines()[0]
    assert head == "true\\predicted,crane [0],dog,crane [2]"
    assert "crane [2]" in (tmp_path / "classification_report.txt").read_text()
    assert json.loads((tmp_path / "evaluation.json").read_text())["mistakes"][0]["answer"] == 0
