"""The search for the smallest file: on a trained model, and on networks that only one executor or none knows."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from conversion import runtime
from conversion.coreml.convert import Converter
from conversion.coreml.formats import MINIMUM_IOS
from conversion.coreml.writing import write
from conversion.promotion.candidate import Candidate
from conversion.promotion.compression_search import CompressionChoice, Variant, choose_compression, draw_choice
from conversion.promotion.show import show_choice
from conversion.runtime import NotCheckable
from experiments.classifier import as_classifier
from experiments.datasets import Split
from tests.conversion.test_compress import candidate  # noqa: F401  # a fixture
from tests.conversion.test_convert import FACTS


@pytest.fixture(scope="module")
def choice(candidate: Candidate) -> CompressionChoice:  # noqa: F811
    return choose_compression(Converter(candidate.classifier, candidate.facts), candidate.dataset.val)


def test_the_smallest_file_that_is_accurate_enough(choice: CompressionChoice) -> None:
    assert {(variant.format, variant.compression) for variant in choice.variants} == MINIMUM_IOS.keys()
    assert [variant.chosen for variant in choice.variants].count(True) == 1
    before = {v.format: v.val_accuracy for v in choice.variants if v.compression == "none"}
    enough = [v for v in choice.variants if before[v.format] - v.val_accuracy <= 0.002 + 1e-9]
    assert choice.chosen.size_bytes == min(variant.size_bytes for variant in enough)
    assert (
        choice.chosen.size_bytes
        == choice.file.size_bytes
        < min(v.size_bytes for v in choice.variants if v.compression == "none")
    )


def test_figures_are_those_of_the_executed_file(
    choice: CompressionChoice,
    candidate: Candidate,  # noqa: F811
    tmp_path: Path,
) -> None:
    path = tmp_path / f"model{choice.file.suffix}"
    write(choice.file, path)
    split = candidate.dataset.val
    answers = runtime.load(path).probabilities(split.images).argmax(axis=1)
    assert choice.chosen.val_accuracy == (answers == split.labels).mean()
    for variant in choice.variants:
        assert variant.minimum_ios == MINIMUM_IOS[variant.format, variant.compression]
        assert variant.not_checkable is None
        assert (variant.flips == 0) or variant.compression != "none"


def test_the_allowed_loss_and_the_format_decide(candidate: Candidate) -> None:  # noqa: F811
    converter = Converter(candidate.classifier, candidate.facts)
    anything = choose_compression(converter, candidate.dataset.val, formats=["mlmodel"], max_accuracy_loss=100)
    assert {variant.format for variant in anything.variants} == {"mlmodel"}
    assert anything.chosen.size_bytes == min(variant.size_bytes for variant in anything.variants)
    strict = choose_compression(converter, candidate.dataset.val, formats=["mlmodel"], max_accuracy_loss=0)
    assert strict.chosen.val_accuracy >= strict.variants[0].val_accuracy
    assert strict.variants[0].compression == "none"


def test_table_json_and_picture(choice: CompressionChoice, capfd: pytest.CaptureFixture[str]) -> None:
    show_choice(choice)
    out, err = capfd.readouterr()
    assert err == ""
    for variant in choice.variants:
        (line,) = (line for line in out.splitlines() if f"{variant.size_bytes:,} " in line)
        assert f"{variant.val_accuracy:.4f}" in line
        assert ("->" in line) == variant.chosen
    told = json.loads(json.dumps(choice.as_json()))
    assert told["max_accuracy_loss_points"] == 0.2
    assert [Variant(**variant) for variant in told["variants"]] == list(choice.variants)
    picture = Image.open(io.BytesIO(draw_choice(choice)))
    assert (picture.format, picture.size) == ("PNG", (960, 600))
    worse = [replace(v, val_accuracy=0.1) if v.compression == "palette2" else v for v in choice.variants]
    assert draw_choice(replace(choice, variants=tuple(worse))) != draw_choice(choice)


def test_the_legend_of_the_picture_is_not_on_its_title(
    choice: CompressionChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    draw_choice(choice)
    (figure,) = drawn
    figure.draw_without_rendering()
    title = next(text for text in figure.texts if "is taken" in text.get_text())
    assert not title.get_window_extent().overlaps(figure.legends[0].get_window_extent())


def odd_network(operation: object) -> keras.Model:
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation=operation),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model = as_classifier(network)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, weight.shape) for weight in model.weights])
    return model


def pixels() -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (50, 8, 8, 1), dtype=np.uint8), rng.integers(0, 10, 50))


def test_what_cannot_be_executed_is_listed_and_never_chosen(capfd: pytest.CaptureFixture[str]) -> None:
    """A sum along an axis: the executor of ML Programs knows it, that of neuralnetworks does not."""
    found = choose_compression(
        Converter(odd_network(lambda x: keras.ops.cumsum(x, axis=-1)), FACTS), pixels(), max_accuracy_loss=100
    )
    unchecked = {variant.compression for variant in found.variants if variant.not_checkable}
    assert unchecked == {compression for format, compression in MINIMUM_IOS if format == "mlmodel"}
    assert found.chosen.format == "mlpackage"
    assert found.variants[0].size_bytes  # it was made, but not executed
    assert found.variants[0].not_checkable == "model.mlmodel: layer 'cumSum_3' is of the unknown kind cumSum."
    show_choice(found)
    assert "not checkable" in capfd.readouterr().out
    assert draw_choice(found).startswith(b"\x89PNG")


def test_a_model_that_nothing_can_execute() -> None:
    with pytest.raises(NotCheckable, match="No file of this model can be executed here: mlmodel: .*; mlpackage: "):
        choose_compression(Converter(odd_network(lambda x: keras.ops.sort(x, axis=-1)), FACTS), pixels())
