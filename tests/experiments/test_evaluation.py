"""Evaluation: figures against scikit-learn and by hand, pictures of any size and colour, and what a run holds of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import classification_report, confusion_matrix

from experiments.attempts import Attempts
from experiments.evaluation import metrics
from experiments.evaluation.metrics import CALIBRATION_BINS, MISTAKES_SHOWN, Evaluation, evaluate
from experiments.evaluation.report import write_report
from tests.support.stores import Swept

FILES = {
    "evaluation.json",
    "classification_report.txt",
    "confusion_matrix.csv",
    "confusion_matrix.png",
    "reliability.png",
    "mistakes.png",
}


def drawn(images: int, classes: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that come true as often as these say: a calibrated model."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(classes, 0.3), images)
    labels = (random.random((images, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return probabilities.astype(np.float32), labels


def test_figures_are_those_of_scikit_learn() -> None:
    probabilities, labels = drawn(3_000, 4)
    names = ("a", "b", "c", "d")
    found = evaluate(probabilities, labels, names)
    answers = probabilities.argmax(axis=1)
    report = classification_report(labels, answers, target_names=names, output_dict=True)
    assert [each.name for each in found.classes] == list(names)
    for each in found.classes:
        theirs = report[each.name]
        assert (each.precision, each.recall, each.f1) == (theirs["precision"], theirs["recall"], theirs["f1-score"])
        assert each.images == theirs["support"]
    assert found.macro_precision == pytest.approx(report["macro avg"]["precision"])
    assert found.macro_recall == pytest.approx(report["macro avg"]["recall"])
    assert found.accuracy == report["accuracy"] == found.correct / found.images
    assert np.array_equal(found.confusion_matrix, confusion_matrix(labels, answers))
    assert found.accuracy_low < found.accuracy < found.accuracy_high


def test_calibration_by_hand() -> None:
    """Two bins: 4 images at 0.95, three right; 1 image at 0.55, right. (4 |0.75 - 0.95| + |1 - 0.55|) / 5."""
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.55, 0.45]])
    found = evaluate(probabilities, np.array([0, 0, 0, 1, 0]), ("a", "b"))
    assert found.expected_calibration_error == pytest.approx((4 * 0.2 + 0.45) / 5)
    assert [(each.images, each.accuracy) for each in found.calibration] == [(1, 1.0), (4, 0.75)]
    assert [each.confidence for each in found.calibration] == pytest.approx([0.55, 0.95])
    (one, four) = found.calibration
    assert (one.low, one.high) == pytest.approx((8 / CALIBRATION_BINS, 9 / CALIBRATION_BINS))
    assert (four.low, four.high) == pytest.approx((14 / CALIBRATION_BINS, 1))


def test_calibration_of_many_images() -> None:
    probabilities, labels = drawn(20_000, 5)
    found = evaluate(probabilities, labels, tuple("abcde"))
    right, confidence = probabilities.argmax(axis=1) == labels, probabilities.max(axis=1)
    accuracy, mean = calibration_curve(right, confidence, n_bins=CALIBRATION_BINS)
    assert [each.accuracy for each in found.calibration] == pytest.approx(accuracy)
    assert [each.confidence for each in found.calibration] == pytest.approx(mean, abs=1e-6)
    assert sum(each.images for each in found.calibration) == 20_000
    by_definition = 0.0
    for number in range(CALIBRATION_BINS):
        inside = (confidence > number / CALIBRATION_BINS) & (confidence <= (number + 1) / CALIBRATION_BINS)
        if inside.any():
            by_definition += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert found.expected_calibration_error == pytest.approx(by_definition, abs=1e-6)
    assert found.expected_calibration_error < 0.02  # it was drawn calibrated
    certain = evaluate(np.eye(5, dtype=np.float32)[probabilities.argmax(axis=1)], labels, tuple("abcde"))
    assert certain.expected_calibration_error == pytest.approx(1 - certain.accuracy)


def test_a_sigmoid_head_is_scaled_to_sum_one() -> None:
    found = evaluate(np.array([[0.9, 0.9], [0.3, 0.1]]), np.array([0, 0]), ("a", "b"))
    assert [each.confidence for each in found.calibration] == pytest.approx([0.5, 0.75])


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_answers_of_a_broken_file_are_no_error(value: float) -> None:
    found = evaluate(np.full((3, 2), value, np.float32), np.array([0, 1, 1]), ("a", "b"))
    assert (found.correct, found.images) == (1, 3)
    assert found.mistakes[0].confidence in (0.0, 0.5)


def test_the_most_confident_mistakes_come_first() -> None:
    probabilities, labels = drawn(2_000, 3)
    found = evaluate(probabilities, labels, ("a", "b", "c"))
    assert len(found.mistakes) == MISTAKES_SHOWN
    confidences = [each.confidence for each in found.mistakes]
    assert confidences == sorted(confidences, reverse=True)
    for each in found.mistakes:
        assert labels[each.index] == each.true_label != each.answer == probabilities[each.index].argmax()
    wrong = probabilities.argmax(axis=1) != labels
    assert confidences[0] == pytest.approx(probabilities[wrong].max())


def test_a_class_that_no_image_has() -> None:
    found = evaluate(np.array([[0.8, 0.1, 0.1]]), np.array([0]), ("a", "b", "c"))
    assert [(each.precision, each.recall, each.images) for each in found.classes] == [(1, 1, 1), (0, 0, 0), (0, 0, 0)]


def written(shape: tuple[int, ...], names: tuple[str, ...], folder: Path, *, right: bool = False) -> Evaluation:
    probabilities, labels = drawn(200, len(names))
    images = np.random.default_rng(0).integers(0, 256, (200, *shape), dtype=np.uint8)
    found = evaluate(probabilities, probabilities.argmax(axis=1) if right else labels, names)
    write_report(found, images, folder, what="validation", attempts=Attempts())
    assert {file.name for file in folder.iterdir()} == FILES
    return found


@pytest.mark.parametrize("shape", [(28, 28, 1), (24, 32, 3), (90, 7, 1), (300, 200, 3)])
def test_files_for_images_of_any_size_and_colour(shape: tuple[int, ...], tmp_path: Path) -> None:
    names = ('$x^2$, "quoted"', "犬", "a_{very long name of a class that no caption has room for")
    found = written(shape, names, tmp_path)
    with (tmp_path / "confusion_matrix.csv").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    assert head == ["true\\predicted", *names]
    assert [(row[0], [int(count) for count in row[1:]]) for row in rows] == [
        (name, list(counts)) for name, counts in zip(names, found.confusion_matrix, strict=True)
    ]
    stored = json.loads((tmp_path / "evaluation.json").read_text())
    assert stored["expected_calibration_error"] == found.expected_calibration_error
    assert len(stored["mistakes"]) == len(found.mistakes) == MISTAKES_SHOWN
    assert "expected calibration error" in (tmp_path / "classification_report.txt").read_text()


def test_the_picture_of_mistakes_holds_these_images_in_their_colours(tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.9, 0.1]])
    images = np.zeros((4, 20, 40, 3), np.uint8)
    images[:] = np.array([(250, 0, 0), (0, 200, 0), (0, 0, 250), (9, 99, 9)], np.uint8)[:, None, None]
    found = evaluate(probabilities, np.array([1, 0, 1, 1]), ("a", "b"))
    assert [each.index for each in found.mistakes] == [0, 3, 1]
    write_report(found, images, tmp_path, what="validation", attempts=Attempts())
    pixels = np.asarray(Image.open(tmp_path / "mistakes.png").convert("RGB")).reshape(-1, 3)

    def area(*color: int) -> int:
        return int((pixels == color).all(axis=1).sum())

    assert area(0, 0, 250) == 0  # that one is right
    areas = [area(250, 0, 0), area(0, 200, 0), area(9, 99, 9)]
    assert min(areas) == max(areas) > 5_000
    assert areas[0] == pytest.approx(143 * 72, rel=0.02)  # twice as wide as high


def test_without_a_mistake_the_picture_says_so(tmp_path: Path) -> None:
    found = written((8, 8, 1), ("a", "b"), tmp_path, right=True)
    assert found.mistakes == ()
    assert metrics.mistakes_title(found, "validation") == "No mistake on 200 validation images"
    some = written((8, 8, 1), ("a", "b"), tmp_path)
    assert metrics.mistakes_title(some, "test").startswith(f"{some.images - some.correct} mistakes on 200 test images")
    assert Image.open(tmp_path / "mistakes.png").height > 400


def test_a_hundred_classes(tmp_path: Path) -> None:
    written((8, 8, 1), tuple(f"class {number}" for number in range(100)), tmp_path)
    assert Image.open(tmp_path / "confusion_matrix.png").size <= (1600, 1600)


def test_what_a_kept_run_holds(swept: Swept) -> None:
    """The figures are those of the kept model, computed here again from its file."""
    from experiments import datasets
    from experiments.classifier import forward_function, load_classifier, predict
    from experiments.tracking import Tracker

    best = swept.result["leaderboard"][0]["run_id"]
    tracker = Tracker(swept.uri, create=False)
    model = tracker.models.kept_model(best)
    assert model is not None
    file = tracker.models.download_keras(model, swept.folder / "again")
    data = datasets.load("mnist5k")
    probabilities = predict(forward_function(load_classifier(file, model.keras_sha256)), data.val.images)
    found = evaluate(probabilities, data.val.labels, data.class_names)
    client = MlflowClient(swept.uri)
    run = client.get_run(best)
    for key, value in found.metrics().items():
        assert run.data.metrics[key] == pytest.approx(value, abs=1e-6)
        assert [point.step for point in client.get_metric_history(best, key)] == [0]
    stored = json.loads(Path(client.download_artifacts(best, "evaluation/evaluation.json")).read_text())
    assert stored["confusion_matrix"] == [list(row) for row in found.confusion_matrix]
    assert stored["mistakes"][0]["index"] == found.mistakes[0].index
