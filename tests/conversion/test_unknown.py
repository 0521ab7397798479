"""The answer "I do not know": its threshold is measured, of a length that is promised, shown, checked, and optional."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conversion import runtime
from conversion.coreml.convert import Converter
from conversion.coreml.file import CoreMLFile, mlmodel
from conversion.coreml.writing import write
from conversion.promotion.candidate import Candidate, load_candidate
from conversion.promotion.compression_search import measured_on
from conversion.promotion.place import DEFAULT_OUTPUT
from conversion.runtime.schema import model_class
from conversion.verification.evidence import verify
from conversion.verification.threshold import (
    REFUSED_SHARE,
    Measured,
    is_unknown,
    measure,
    refusals,
    threshold_in,
    threshold_of,
)
from experiments import datasets
from experiments.tracking import Tracker
from tests.conversion.test_convert import FACTS, randomized
from tests.support.commands import Command
from tests.support.promotions import artifacts
from tests.support.stores import Promoted


def confidences(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).beta(5, 1, count).astype(np.float32)


@pytest.mark.parametrize("count", [19, 20, 39, 100, 495])
def test_the_next_image_like_them_is_refused_at_most_so_often(count: int) -> None:
    """The promise itself: over many draws of validation images and of one more, no more than the share is refused."""
    refused = [
        is_unknown(drawn[-1:], threshold_of(drawn[:-1]))[0]
        for drawn in (confidences(count + 1, seed) for seed in range(4_000))
    ]
    assert 0 < np.mean(refused) <= REFUSED_SHARE + 3 * np.sqrt(REFUSED_SHARE / len(refused))


def test_few_images_refuse_nothing() -> None:
    for count in range(round(1 / REFUSED_SHARE) - 1):
        assert threshold_of(confidences(count, count)) == 0
    assert threshold_of(confidences(round(1 / REFUSED_SHARE) - 1, 0)) > 0


def test_equal_confidences_are_all_answered() -> None:
    assert threshold_of(np.full(500, 0.98765, np.float32)) == 0.9876
    assert threshold_of(np.ones(500, np.float32)) == 1
    assert not is_unknown(np.ones(1, np.float32), 1.0)[0]
    assert threshold_of(np.full(500, np.nan, np.float32)) == 0


def test_wrong_answers_do_not_count() -> None:
    right = np.linspace(0.7, 0.99, 100, dtype=np.float32)
    both = np.concatenate([right, np.full(900, 0.51, np.float32)])
    labels = np.concatenate([np.zeros(100, np.int64), np.ones(900, np.int64)])
    measured = measure(np.stack([both, 1 - both], axis=1), labels)
    assert measured == Measured(0.1, threshold_of(right))
    found = refusals("val", np.stack([both, 1 - both], axis=1), labels, measured.threshold)
    assert (found.right_refused, found.wrong_refused) == (4, 900)
    assert (found.answered, found.answered_right) == (96, 96)


def test_what_is_no_number_is_never_an_answer() -> None:
    assert is_unknown(np.array([np.nan, 0.2, 0.9], np.float32), 0.5).tolist() == [True, True, False]
    assert [threshold_in({"threshold": text}) for text in ("0.5000", "0", "1.0", "1.5", "0,5", "nan", "")] == [
        *(0.5, 0, 1),
        *[None] * 4,
    ]
    assert threshold_in({}) is None


@pytest.mark.parametrize("format", ["mlmodel", "mlpackage"])
def test_the_bytes_are_known_before_the_threshold_is(format: str) -> None:
    converter = Converter(randomized("malireddi", (28, 28, 1), filters=4), FACTS)
    files = {
        value: converter.file(format=format, measured=Measured(accuracy, value))
        for value, accuracy in ((0.0, 0.0), (1.0, 1.0), (0.73265, 0.98765))
    }
    assert len({file.size_bytes for file in files.values()}) == 1
    assert len({file.sha256 for file in files.values()}) == 3


def test_a_promoted_file_says_what_was_measured_on_it(promoted: Promoted) -> None:
    split = datasets.load("mnist5k").val
    executable = runtime.load(promoted.folder / DEFAULT_OUTPUT)
    probabilities = executable.probabilities(split.images)
    user = executable.interface.metadata.user_defined
    expected = measure(probabilities, split.labels)
    assert user["threshold"] == f"{expected.threshold:.4f}"
    assert float(user["threshold"]) > 0
    evidence = json.loads((artifacts(promoted.folder, promoted.result["promotion"]) / "promotion.json").read_text())
    assert evidence["threshold"] == expected.threshold == promoted.result["threshold"]
    val, test = evidence["refusals"]
    assert (val["split"], test["split"], test["images"]) == ("val", "test", 500)
    low = probabilities.max(axis=1) < expected.threshold
    right = probabilities.argmax(axis=1) == split.labels
    assert (val["right"], val["right_refused"]) == (right.sum(), (right & low).sum())
    assert val["wrong_refused"] == (~right & low).sum()
    page = (artifacts(promoted.folder, promoted.result["promotion"]) / "promotion.html").read_text()
    assert f"Below a confidence of <b>{user['threshold']}</b>" in page
    assert f"{val['right_refused']:,} of {val['right']:,}" in page


def changed(path: Path, threshold: str | None) -> CoreMLFile:
    model = model_class().FromString(path.read_bytes())
    if threshold is None:
        del model.description.metadata.userDefined["threshold"]
    else:
        model.description.metadata.userDefined["threshold"] = threshold
    return mlmodel(model.SerializeToString())


@pytest.fixture(scope="module")
def candidate(promoted: Promoted) -> Candidate:
    tracker = Tracker(f"sqlite:///{promoted.folder / 'mlflow.db'}", create=False)
    return load_candidate(tracker, command="test", name="mnist5k-classifier")


@pytest.mark.parametrize(
    ("threshold", "found"),
    [
        (None, ""),  # promoted before there was one
        ("0.0000", ""),
        ("1.0000", "threshold: 1.0000, which refuses "),
        ("-1", "threshold: -1, not a plain number from 0 to 1"),
    ],
)
def test_a_threshold_that_breaks_the_rule_differs(
    candidate: Candidate, promoted: Promoted, tmp_path: Path, threshold: str | None, found: str
) -> None:
    path = tmp_path / "X.mlmodel"
    write(changed(promoted.folder / DEFAULT_OUTPUT, threshold), path)
    faults = verify(path, candidate, worth_a_look=lambda _: False, half_images=1).faults
    assert len(faults) == bool(found)
    assert "".join(faults).startswith(found)


def test_predict_counts_what_it_does_not_know(command: Command, own_promoted: Path) -> None:
    split = datasets.load("mnist5k").val
    low = runtime.load(own_promoted / DEFAULT_OUTPUT).probabilities(split.images).max(axis=1)
    write(changed(own_promoted / DEFAULT_OUTPUT, "0.9000"), own_promoted / "X.mlmodel")
    done = command("conversion.predict", "X.mlmodel", "mnist5k", "--json", "--html", "x.html", cwd=own_promoted)
    unknown = int((low < 0.9).sum())
    assert 0 < unknown < 500
    assert (done.json["threshold"], done.json["unknown"]) == (0.9, unknown)
    assert [answer["known"] for answer in done.json["answers"]] == (low >= 0.9).tolist()
    assert f"a confidence below 0.9000: {unknown:,}" in (own_promoted / "x.html").read_text()
    shown = command("conversion.predict", "X.mlmodel", "mnist5k", cwd=own_promoted).out
    assert f'"I do not know", with a confidence below 0.9000: {unknown:,} of 500' in shown
    write(changed(own_promoted / DEFAULT_OUTPUT, None), own_promoted / "X.mlmodel")
    done = command("conversion.predict", "X.mlmodel", "mnist5k", "--json", cwd=own_promoted)
    assert (done.json["threshold"], done.json["unknown"]) == (None, 0)
    assert all(answer["known"] for answer in done.json["answers"])


def test_describe_shows_it(command: Command, promoted: Promoted) -> None:
    shown = command("conversion.describe", promoted.folder / DEFAULT_OUTPUT).out
    assert re.search(r"^  threshold: 0\.\d{4}$", shown, re.M)


@pytest.mark.slow
def test_of_compressed_files_each_has_its_own(own_store: Path, command: Command) -> None:
    done = command(
        "conversion.promote", "--compress", "palette2", "--force", "--reason", "a test", "--json", cwd=own_store
    )
    assert done.code == 0, done.err
    path = own_store / done.json["file"]
    user = runtime.load(path).interface.metadata.user_defined
    split = datasets.load("mnist5k").val
    again = measured_on(mlmodel(path.read_bytes()), split)
    assert again == Measured(float(f"{again.val_accuracy}"), float(user["threshold"]))
    assert done.json["coreml_bytes"] == os.path.getsize(path)


def test_facts_hold_it() -> None:
    assert replace(FACTS, threshold=0.5).user_defined()["threshold"] == "0.5000"
