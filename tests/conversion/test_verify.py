"""Verification on trained models: right files agree to float32's precision, and every wrong one is caught."""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from conversion.coreml import writing
from conversion.coreml.convert import Converter, convert
from conversion.promotion.candidate import Candidate, load_candidate
from conversion.promotion.gallery import draw_flips
from conversion.runtime import CorruptModel, NotCheckable, load
from conversion.verification.compression_bounds import RULES, violations
from conversion.verification.evidence import verify
from conversion.verification.parity import FILE
from conversion.verification.reference_model import ReferenceModel
from conversion.verification.show import show
from experiments.classifier import as_classifier, network_of
from experiments.datasets import Dataset, Split
from experiments.tracking import Tracker
from tests.support.commands import Command
from tests.support.mutations import MUTATIONS, wrong_files
from tests.support.stores import Swept

FEW = 100  # images of a split: enough to execute, and the rules for weights need none
FORMATS = ("mlmodel", "mlpackage")
QUICK = [("mlmodel", "none"), ("mlpackage", "float16"), ("mlmodel", "int8"), ("mlpackage", "palette4")]
FURTHER = [
    *(("mlpackage", "none"), ("mlmodel", "float16"), ("mlpackage", "int8"), ("mlmodel", "palette4")),
    *(("mlmodel", "palette6"), ("mlmodel", "palette2"), ("mlpackage", "palette2"), ("mlpackage", "prune50")),
]
ONE_AND_FURTHER = [  # each compression once, in a format; both formats as they are
    pytest.param(("mlpackage", "int8")),
    *(
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in (("mlmodel", "none"), ("mlpackage", "none"), ("mlpackage", "float16"), ("mlmodel", "palette4"))
    ),
]
PACKAGES_ARE_SLOW = ["mlmodel", pytest.param("mlpackage", marks=pytest.mark.slow)]


def few(split: Split) -> Split:
    return Split(split.images[:FEW], split.labels[:FEW])


def with_data(candidate: Candidate, dataset: Dataset, classifier: keras.Model | None = None) -> Candidate:
    facts = replace(candidate.facts, dataset_digest=dataset.digest)
    return replace(candidate, dataset=dataset, facts=facts, classifier=classifier or candidate.classifier)


@pytest.fixture(scope="module")
def tracker(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """Of a copy of the sweep's store: looks at test images are written to it."""
    file = shutil.copy(swept.folder / "mlflow.db", tmp_path_factory.mktemp("store"))
    return Tracker(f"sqlite:///{file}", create=False)


@pytest.fixture(scope="module")
def best(tracker: Tracker) -> Candidate:
    """The best model of the sweep."""
    return load_candidate(tracker, command="test", name="mnist5k-classifier")


@pytest.fixture(scope="module")
def converter(best: Candidate) -> Converter:
    return Converter(best.classifier, best.facts)


@pytest.fixture(scope="module")
def on_few(best: Candidate) -> tuple[Candidate, Converter]:
    """The best model, held against few images, and its converter."""
    data = best.dataset
    candidate = with_data(best, replace(data, val=few(data.val), test=few(data.test)))
    return candidate, Converter(candidate.classifier, candidate.facts)


@pytest.fixture(scope="module")
def colourful_converter(colourful: Candidate) -> Converter:
    return Converter(colourful.classifier, colourful.facts)


@pytest.fixture(scope="module")
def colourful(best: Candidate) -> Candidate:
    """A network of every kind of layer that a normalization is folded into, trained on red-green-blue images."""

    def coloured(split: Split) -> Split:
        grey = split.images[:, :, 2:-2]
        return Split(np.concatenate([grey, grey // 2, 255 - grey], axis=-1), split.labels)

    data = best.dataset
    dataset = Dataset(
        "coloured", data.class_names, coloured(data.train), *(coloured(few(s)) for s in (data.val, data.test))
    )
    layers = keras.layers
    image = keras.Input((28, 24, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, padding="same")(image)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.DepthwiseConv2D(3, use_bias=False, padding="same")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dropout(0.1)(layers.SeparableConv2D(16, 3, padding="same")(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, scale=False)(x))
    y = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(16, 1, activation="relu")(x))  # cannot be folded
    x = layers.BatchNormalization(momentum=0.9, center=False)(layers.Add()([x, y]))
    gate = layers.Dense(16, activation="hard_sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([layers.PReLU(shared_axes=[1, 2])(x), layers.Reshape((1, 1, 16))(gate)])
    x = layers.LeakyReLU()(layers.Conv2D(32, 3)(layers.MaxPooling2D()(x)))
    x = layers.BatchNormalization(momentum=0.9)(layers.Dense(32)(layers.GlobalAveragePooling2D()(x)))
    network = keras.Model(image, layers.Dense(10, activation="softmax")(layers.ReLU()(x)))
    classifier = as_classifier(network)
    classifier.compile("adam", "sparse_categorical_crossentropy")
    classifier.fit(dataset.train.images[:1280], dataset.train.labels[:1280], batch_size=64, epochs=2, verbose=0)
    return with_data(best, dataset, classifier)


def saved(converter: Converter, kind: tuple[str, str], folder: Path) -> Path:
    format, compression = kind
    path = folder / f"right.{format}"
    writing.write(converter.file(format=format, compression=compression), path)
    return path


def assert_agrees(path: Path, candidate: Candidate, compression: str) -> None:
    evidence = verify(path, candidate, compression=compression)
    assert evidence.faults == ()
    assert evidence.compression == compression
    assert {weight.rule for weight in evidence.weights} <= {"none", "float16", compression}
    assert compression in {weight.rule for weight in evidence.weights}
    for parity in evidence.parity:
        assert parity.max_difference <= parity.allowance < 1e-4
        assert parity.label_flips == 0
        original = evidence.against_original(parity.split)
        if parity.executed == FILE:
            assert original.file_accuracy == parity.file_accuracy
        if compression != "none":  # what compression costs is told, and is no fault
            assert original.max_difference > parity.allowance


@pytest.mark.parametrize(
    "kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in FURTHER)], ids="-".join
)
def test_a_right_file_agrees(kind: tuple[str, str], on_few: tuple[Candidate, Converter], tmp_path: Path) -> None:
    candidate, converter = on_few
    assert_agrees(saved(converter, kind, tmp_path), candidate, kind[1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*ONE_AND_FURTHER, ("mlpackage", "prune75")], ids="-".join)
def test_folded_normalizations_agree(
    kind: tuple[str, str], colourful: Candidate, colourful_converter: Converter, tmp_path: Path
) -> None:
    assert_agrees(saved(colourful_converter, kind, tmp_path), colourful, kind[1])


def assert_all_caught(right: Path, candidate: Candidate, folder: Path, *, but: set[str]) -> None:
    """The right file passes, and each wrong one of all mutations `but` those that do not apply is caught."""
    assert verify(right, candidate).verified
    made, passed = set(), []
    for wrong in wrong_files(right, folder):
        made.add(wrong.name)
        try:
            evidence = verify(wrong.path, candidate, worth_a_look=lambda found: found.verified, half_images=1)
        except (CorruptModel, NotCheckable):
            continue
        if evidence.verified:
            passed.append(wrong.name)
    assert passed == []
    assert made == set(MUTATIONS) - but


@pytest.mark.parametrize("kind", ONE_AND_FURTHER, ids="-".join)
def test_every_wrong_file_is_caught(kind: tuple[str, str], on_few: tuple[Candidate, Converter], tmp_path: Path) -> None:
    candidate, converter = on_few
    right = saved(converter, kind, tmp_path)
    table = set() if kind[1] == "palette4" else {"table_entry_changed"}
    assert_all_caught(
        right,
        candidate,
        tmp_path,
        but={"height_and_width_swapped", "red_and_blue_swapped_in_the_kernel"} | table,
    )


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_every_wrong_file_of_a_colour_network_is_caught(
    format: str, colourful: Candidate, colourful_converter: Converter, tmp_path: Path
) -> None:
    right = saved(colourful_converter, (format, "none"), tmp_path)
    assert_all_caught(right, colourful, tmp_path, but={"table_entry_changed"})


@pytest.mark.parametrize("format", PACKAGES_ARE_SLOW)
def test_another_runs_weights(format: str, best: Candidate, swept: Swept, tracker: Tracker, tmp_path: Path) -> None:
    other = swept.result["leaderboard"][1]["run_id"]
    stranger = load_candidate(tracker, command="test", name="", run_id=other)
    path = tmp_path / f"stranger.{format}"
    writing.write(convert(stranger.classifier, best.facts, format=format), path)
    assert any("weights" in fault or "model's" in fault for fault in verify(path, best).faults)


def test_a_compression_that_was_not_asked_for(best: Candidate, converter: Converter, tmp_path: Path) -> None:
    path = saved(converter, ("mlpackage", "palette4"), tmp_path)
    assert verify(path, best).verified
    assert verify(path, best, compression="int8").faults == ("compression: palette4, not int8",)


@keras.saving.register_keras_serializable(package="test")
class Exponential(keras.layers.Layer):
    """A weight that no file holds as it is."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.log_scale = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="log_scale")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x * keras.ops.exp(self.log_scale)


@pytest.mark.parametrize("kind", ONE_AND_FURTHER, ids="-".join)
def test_a_scale_of_256_is_seen_in_the_answers(
    kind: tuple[str, str], on_few: tuple[Candidate, Converter], tmp_path: Path
) -> None:
    """The property "image scale" tells it too; the difference is far beyond what is allowed."""
    candidate, converter = on_few
    right = saved(converter, kind, tmp_path)
    wrong = next(wrong for wrong in wrong_files(right, tmp_path) if wrong.name == "scale_of_256")
    evidence = verify(wrong.path, candidate)
    for part in evidence.parity:
        assert part.max_difference > 20 * part.allowance
        assert any(f"differ from the model's by up to {part.max_difference:.2e}" in fault for fault in evidence.faults)


@pytest.mark.parametrize("format", FORMATS)
def test_a_weight_in_an_unknown_form_is_compared_with_the_conversion(
    format: str, best: Candidate, tmp_path: Path
) -> None:
    layers = keras.layers
    head = layers.Dense(10, activation="softmax")
    network = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), Exponential(), head])
    candidate = with_data(best, best.dataset, as_classifier(network))
    right = saved(candidate.converter, (format, "none"), tmp_path)
    evidence = verify(right, candidate)
    assert evidence.route == "conversion"
    assert evidence.faults == ()
    wrong = next(wrong for wrong in wrong_files(right, tmp_path) if wrong.name == "one_weight_nudged")
    assert not verify(wrong.path, candidate).verified


def test_the_twin_gives_the_models_weights_back(best: Candidate, converter: Converter, tmp_path: Path) -> None:
    network = network_of(best.classifier)
    before = [weight.numpy() for weight in network.weights]
    twin = ReferenceModel(network, load(saved(converter, ("mlpackage", "palette2"), tmp_path)).weights, "palette2")
    with twin.weights_of_the_file():
        assert any(not np.array_equal(was, now) for was, now in zip(before, network.weights, strict=True))
    assert all(np.array_equal(was, now) for was, now in zip(before, network.weights, strict=True))


def test_the_gallery_of_flips(best: Candidate, converter: Converter, tmp_path: Path) -> None:
    evidence = verify(saved(converter, ("mlpackage", "palette2"), tmp_path), best)
    original = evidence.against_original("test")
    assert original.label_flips > 0
    assert original.flipped == tuple(flip.index for flip in original.flips)
    for flip in original.flips:
        assert flip.file_label == evidence.test_predictions[flip.index] != flip.model_label
        assert flip.true_label == best.dataset.test.labels[flip.index]
    picture = tmp_path / "flips.png"
    assert draw_flips(original, best.dataset.test, best.dataset.class_names, picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not draw_flips(evidence.on("test"), best.dataset.test, best.dataset.class_names, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_apples_runtime_is_asked_where_it_is(best: Candidate, converter: Converter, tmp_path: Path) -> None:
    native = verify(saved(converter, ("mlpackage", "none"), tmp_path), best).native
    if platform.system() == "Darwin":
        assert native.status == "agrees"
    else:
        assert native.status == "not run: needs macOS"
        assert native.max_difference is None


@pytest.mark.parametrize("format", PACKAGES_ARE_SLOW)
def test_the_command(
    format: str, best: Candidate, converter: Converter, tracker: Tracker, tmp_path: Path, command: Command
) -> None:
    path = saved(converter, (format, "int8"), tmp_path)
    arguments = (path, "--run", best.run.run_id, "--tracking-uri", tracker.uri)
    right = command("conversion.verify", *arguments, "--json")
    assert right.code == 0, right.err
    assert right.json["verified"] is True
    assert right.json["compression"] == "int8"
    assert right.json["minimum_ios"] == {"mlmodel": 13, "mlpackage": 16}[format]
    assert {weight["rule"] for weight in right.json["weights"]} <= set(RULES)
    wrong = next(wrong for wrong in wrong_files(path, tmp_path) if wrong.name == "filter_zeroed")
    found = command("conversion.verify", wrong.path, *arguments[1:])
    assert found.code == 1
    assert "is not the model's after" in found.error


def test_the_table(on_few: tuple[Candidate, Converter], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    candidate, converter = on_few
    evidence = verify(saved(converter, ("mlpackage", "int8"), tmp_path), candidate)
    show(evidence)
    table = capsys.readouterr().out
    assert "file against uncompressed model" in table
    row = next(line for line in table.splitlines() if "file against model with its weights   val" in line)
    part = evidence.on("val")
    assert row.split()[-3:] == [f"{part.max_difference:.1e}", f"{part.allowance:.1e}", "0"]
    assert "Apple's runtime" in table


@pytest.mark.parametrize(("changed", "violated"), [(0, 0), (1, 1)])
def test_the_codes_of_subnormal_weights_may_end_before_the_largest(changed: int, violated: int) -> None:
    """Their step is rounded to a multiple of 2^-24, as in a channel of a backbone that is always 0."""
    step = np.float32(2.0**-24)
    weights = np.linspace(-148, 148, 297, dtype=np.float32) * step  # 148 / 127 of a step is rounded to one
    stored = np.clip(weights, -127 * step, 127 * step)
    stored[0] += changed * step  # not the last code any more
    found = violations("int8", stored, weights, np.zeros_like(weights))
    assert found.sum() == violated
