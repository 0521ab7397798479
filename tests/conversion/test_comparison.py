"""Right files are told from wrong ones wherever a converter has put the network's constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import KerasTensor, layers

from conversion import runtime
from conversion.coreml import writing
from conversion.coreml.convert import Converter
from conversion.coreml.formats import MINIMUM_IOS, Compression, Format
from conversion.promotion.candidate import Candidate
from conversion.runtime import CorruptModel, NotCheckable
from conversion.verification.comparison import Executed, ModelComparison, compare_with_model
from conversion.verification.parity import FILE, UNCOMPRESSED
from experiments.classifier import as_classifier
from experiments.datasets import Dataset, Split
from tests.conversion.test_convert import FACTS
from tests.support.drafts import Draft
from tests.support.mutations import wrong_files

SHAPE = (12, 12, 1)
IMAGES = 40


def hard_sigmoid(x: KerasTensor) -> KerasTensor:
    """As `keras.applications.MobileNetV3Small` writes it."""
    return layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)


def hard_swish(x: KerasTensor) -> KerasTensor:
    """As it does."""
    return layers.Activation("hard_swish")(x)


def written_out(x: KerasTensor) -> KerasTensor:
    x = conv(x)
    return layers.Multiply()([x, hard_sigmoid(x)])


def conv(x: KerasTensor, filters: int = 16, *, bias: bool = True) -> KerasTensor:
    return layers.Conv2D(filters, 3, padding="same", use_bias=bias)(x)


def norm(x: KerasTensor) -> KerasTensor:
    return layers.BatchNormalization()(x)


def mobilenet_v3(x: KerasTensor) -> KerasTensor:
    x = hard_swish(norm(conv(x, bias=False)))
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = hard_sigmoid(layers.Conv2D(16, 1)(layers.ReLU()(layers.Conv2D(8, 1)(squeezed))))
    return hard_swish(norm(conv(layers.Multiply()([x, gate]), 32, bias=False)))


def everything(x: KerasTensor) -> KerasTensor:
    """Constants wherever a converter may move them."""
    x = layers.Normalization(mean=[0.2], variance=[0.09])(x) * 2.0 - 1.0
    x = layers.ReLU()(norm(conv(x) * 2.0 + 1.0))
    x = conv(layers.ZeroPadding2D(1)((conv(x) - 0.5) / 3.0))
    x = layers.ReLU()(1.0 - norm(x - 0.3) * 0.5)
    x = layers.DepthwiseConv2D(3)(x) + 0.5
    x = layers.Multiply()([x, hard_sigmoid(x)])
    return layers.PReLU(shared_axes=[1, 2])(conv(x, 32) * np.linspace(0.5, 1.5, 32, dtype="float32") + 0.25)


BODIES: dict[str, Callable[[KerasTensor], KerasTensor]] = {
    "hard sigmoid": lambda x: hard_sigmoid(conv(x)),
    "hard swish": lambda x: hard_swish(conv(x)),
    "hard swish, written out": written_out,
    "added": lambda x: layers.ReLU()(conv(x) + 3.0),
    "subtracted": lambda x: layers.ReLU()(conv(x) - 0.3),
    "subtracted from": lambda x: layers.ReLU()(0.5 - conv(x)),
    "multiplied": lambda x: layers.ReLU()(conv(x) * 0.3),
    "divided": lambda x: layers.ReLU()(conv(x) / 2.5),
    "before a normalization": lambda x: layers.ReLU()(norm(conv(x) + 2.0)),
    "multiplied before a normalization": lambda x: layers.ReLU()(norm(conv(x) * 2.0)),
    "behind a normalization": lambda x: layers.ReLU()(norm(conv(x, bias=False)) + 2.0),
    "through padding": lambda x: layers.ReLU()(conv(layers.ZeroPadding2D(1)(conv(x) + 2.0))),
    "several in a row": lambda x: layers.ReLU()(((conv(x) + 1.0) * 2.0 - 0.7) / 3.0 + 0.25),
    "by channel": lambda x: layers.ReLU()(conv(x) * np.linspace(0.5, 1.5, 16, dtype="float32") + 0.1),
    "behind a transposed convolution": lambda x: layers.ReLU()(layers.Conv2DTranspose(8, 2, strides=2)(x) + 0.7),
    "mobilenet_v3": mobilenet_v3,
    "everything": everything,
}


def candidate_of(body: Callable[[KerasTensor], KerasTensor]) -> Candidate:
    """A network whose weights are as far from their beginnings as after training; all that a comparison reads."""
    image = keras.Input(SHAPE)
    features = layers.GlobalAveragePooling2D()(body(image))
    network = keras.Model(image, layers.Dense(10, activation="softmax")(features))
    rng = np.random.default_rng(1)
    for weight in network.weights:
        noise = rng.normal(0, 1, weight.shape)
        if weight.name == "moving_variance":
            weight.assign(0.5 + np.abs(noise))
        elif len(weight.shape) > 1:
            weight.assign(noise * np.sqrt(2 / np.prod(weight.shape[:-1])))
        elif weight.name == "gamma":
            weight.assign(1 + 0.2 * noise)
        elif "float" in weight.dtype:
            weight.assign(0.1 * noise)
    images = rng.integers(0, 256, (2 * IMAGES, *SHAPE), dtype=np.uint8)
    val, test = (Split(part, np.zeros(IMAGES, np.int64)) for part in np.split(images, 2))
    dataset = Dataset("noise", FACTS.class_names, val, val, test)
    return Candidate(None, None, as_classifier(network), dataset, FACTS, None, "test")


def splits_of(candidate: Candidate) -> Mapping[str, Split]:
    return {"val": candidate.dataset.val, "test": candidate.dataset.test}


def compared(path: Path, candidate: Candidate, compression: str) -> ModelComparison:
    executable, splits = runtime.load(path), splits_of(candidate)
    answers = {name: executable.probabilities(split.images) for name, split in splits.items()}
    return compare_with_model(Executed(executable, compression, answers), candidate, splits)


def saved(converter: Converter, format: Format, compression: Compression, folder: Path) -> Path:
    path = folder / f"right.{format}"
    writing.write(converter.file(format=format, compression=compression), path)
    return path


@pytest.mark.parametrize("body", BODIES)
def test_a_folded_constant_is_no_difference(body: str, tmp_path: Path) -> None:
    candidate = candidate_of(BODIES[body])
    comparison = compared(saved(candidate.converter, "mlmodel", "none", tmp_path), candidate, "none")
    assert comparison.faults == ()
    for part in comparison.parity:
        assert part.executed == FILE
        assert part.images == IMAGES
        assert part.max_difference <= part.allowance < 1e-5
    compressed = saved(candidate.converter, "mlmodel", "palette4", tmp_path)
    assert compared(compressed, candidate, "palette4").faults == ()


@pytest.fixture(scope="module")
def folded() -> Candidate:
    return candidate_of(BODIES["mobilenet_v3"])


@pytest.mark.parametrize(("format", "compression"), list(MINIMUM_IOS))
def test_in_every_format_and_compression(
    format: Format, compression: Compression, folded: Candidate, tmp_path: Path
) -> None:
    comparison = compared(saved(folded.converter, format, compression, tmp_path), folded, compression)
    assert comparison.faults == ()
    assert comparison.route == "conversion"
    assert compression in {weight.rule for weight in comparison.weights}
    assert {part.executed for part in comparison.parity} == {FILE if compression == "none" else UNCOMPRESSED}


def test_a_constant_in_an_unknown_place_is_not_checkable(tmp_path: Path) -> None:
    """coremltools folds once more when it compresses a package: this one has fewer operations than the uncompressed."""
    candidate = candidate_of(BODIES["everything"])
    path = saved(candidate.converter, "mlpackage", "palette4", tmp_path)
    with pytest.raises(NotCheckable, match="its operations are not those of the model's conversion here"):
        compared(path, candidate, "palette4")


OF_THE_INTERFACE = {  # what properties tell: `conversion.verification.checks`
    *("other_colour", "labels_rotated", "two_labels_swapped", "input_renamed", "output_renamed", "another_run"),
    "another_compression",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "compression"),
    [
        ("mlmodel", "none"),
        ("mlmodel", "palette4"),
        ("mlpackage", "int8"),
    ],
)
def test_wrong_files_are_caught_all_the_same(
    format: Format, compression: Compression, folded: Candidate, tmp_path: Path
) -> None:
    right = saved(folded.converter, format, compression, tmp_path)
    passed, made = set(), set()
    for wrong in wrong_files(right, tmp_path):
        if wrong.name in OF_THE_INTERFACE:
            continue
        made.add(wrong.name)
        try:
            if not compared(wrong.path, folded, compression).faults:
                passed.add(wrong.name)
        except (CorruptModel, NotCheckable):
            pass
    assert len(made) > 20
    # The scale of a neuralnetwork's image is no operation, and its property is checked besides.
    assert passed <= ({"scale_of_256", "no_scale", "bias_added"} if compression == "palette4" else set())


@pytest.mark.parametrize("compression", ["none", "palette4"])
def test_a_file_of_other_operations(compression: Compression, tmp_path: Path) -> None:
    """It differs where its weights can be put back into the model, else nothing can tell."""
    candidate = candidate_of(lambda x: layers.ReLU()(norm(conv(x, bias=False))))
    assert compared(without_softmax(candidate, compression, tmp_path), candidate, compression).faults
    candidate = candidate_of(BODIES["hard sigmoid"])
    with pytest.raises(NotCheckable, match="its operations are not those of the model's conversion here"):
        compared(without_softmax(candidate, compression, tmp_path), candidate, compression)


def without_softmax(candidate: Candidate, compression: Compression, folder: Path) -> Path:
    right = saved(candidate.converter, "mlmodel", compression, folder)
    return next(wrong.path for wrong in wrong_files(right, folder) if wrong.name == "no_softmax")


def test_a_reference_that_answers_otherwise_is_caught(tmp_path: Path) -> None:
    """The reference is not believed: here it is converted from other weights than the model has."""
    candidate = candidate_of(BODIES["added"])
    path = saved(candidate.converter, "mlmodel", "float16", tmp_path)
    candidate.converter.executable("mlmodel")
    head = candidate.classifier.weights[-2]
    head.assign(head.numpy() * 1.01)
    faults = compared(path, candidate, "float16").faults
    assert any("of the uncompressed conversion differ from the model's" in fault for fault in faults)


def test_layers_of_one_name_are_all_held_against_the_model(folded: Candidate, tmp_path: Path) -> None:
    """Core ML asks for no different names: the weights of the first one are read, too."""
    draft = Draft(saved(folded.converter, "mlmodel", "none", tmp_path))
    first, second, *_ = [layer for layer in draft.spec.neuralNetworkClassifier.layers if layer.HasField("convolution")]
    second.name = first.name
    assert compared(draft.save(tmp_path / "renamed.mlmodel"), folded, "none").faults == ()
    bias = first.convolution.bias.floatValue
    bias[0] += 0.5
    assert compared(draft.save(tmp_path / "wrong.mlmodel"), folded, "none").faults
