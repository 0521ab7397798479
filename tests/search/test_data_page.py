"""A trial and a sweep say which images to look at: the page of one's own data, mistakes, labels in doubt."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from experiments import datasets
from experiments.attempts import Attempts
from experiments.tracking import Tracker
from search.report import data_page
from tests.support import photographs
from tests.support.commands import Command
from tests.support.sweeps import NO_FIGURES

OPTIONS = (
    "--architecture",
    "chollet",
    "--filters",
    "2",
    "--batch-size",
    "16",
    "--epochs",
    "1",
    "--precision",
    "float32",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eighty pictures of two classes; one lies in the wrong folder."""
    photographs.write(tmp_path / "halves", 40)
    shutil.move(tmp_path / "halves/top/07.png", tmp_path / "halves/bottom/not a bottom.png")
    return tmp_path


def artifacts(folder: Path, run_id: str) -> set[str]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return {file.path for file in client.list_artifacts(run_id, data_page.FOLDER)}


@pytest.mark.slow
def test_a_trial_and_a_sweep_name_the_images_to_look_at(folder: Path, command: Command) -> None:
    trial = command("search.trial", "--dataset", "folder:halves", *OPTIONS, "--json")
    assert trial.code == 0, trial.err
    assert artifacts(folder, trial.json["run_id"]) == {"data/inspection.html"}
    swept = command("search.sweep", "--dataset", "folder:halves", *OPTIONS, "--trials", "1", *NO_FIGURES, "--json")
    assert swept.code == 0, swept.err
    assert artifacts(folder, swept.json["parent_run_id"]) == {"data/inspection.html"}
    doctor = command("search.doctor", "--dry-run")  # how a folder was read is no disagreement
    assert (doctor.code, doctor.out) == (0, "0 disagreements, 0 repaired.\n")
    for found in (trial.json, swept.json):
        assert [one["file"] for one in found["suspects"]] == ["bottom/not a bottom.png"]
        assert found["suspects"][0] | {"lead": 1, "row": 0, "split": ""} == {
            "split": "", "row": 0, "class": "bottom", "file": "bottom/not a bottom.png", "looks_like": "top", "lead": 1,
        }  # fmt: skip
    wrong = trial.json["mistakes"]
    assert len(wrong) == round((1 - trial.json["best_val_accuracy"]) * 8)
    assert all(one["file"].startswith(f"{one['class']}/") and one["answer"] != one["class"] for one in wrong)
    best = swept.json["leaderboard"][0]["run_id"]
    compared = command("experiments.compare", trial.json["run_id"], best, "--json")
    assert compared.json["runs"][0]["mistakes"] == wrong
    assert compared.json["runs"][1]["mistakes"] == swept.json["mistakes"]


def test_images_without_files_are_named_by_split_and_row_and_not_inspected(tmp_path: Path) -> None:
    digits = datasets.load("digits")
    answers = np.eye(10, dtype=np.float32)[digits.val.labels]
    answers[3] = np.roll(answers[3], 1)
    (mistake,) = data_page.mistakes(answers, digits)
    label = str(digits.val.labels[3])
    answer = str((digits.val.labels[3] + 1) % 10)
    assert mistake == {"split": "val", "row": 3, "class": label, "file": "", "answer": answer, "confidence": 1.0}
    assert data_page.mistakes(None, digits) == ()
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert data_page.write_data_page(tracker, "none", digits, "digits", Attempts()) is None


def test_a_page_that_cannot_be_made_costs_no_sweep(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(data_page, "write_page", fails)
    attempts = Attempts()
    dataset = photographs.load(folder / "halves")
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}")
    found = data_page.write_data_page(tracker, "none", dataset, f"folder:{folder / 'halves'}", attempts)
    assert [one["file"] for one in found or ()] == ["bottom/not a bottom.png"]
    assert str(attempts) == "inspection: OSError: full"
