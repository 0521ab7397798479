"""Compressed files of a trained model: what they hold, what they need, and that they are the same every time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

from architectures.errors import UsageError
from conversion import runtime
from conversion.coreml.compress import BITS, SMALLEST_KERNEL, SPARSITY, palette
from conversion.coreml.convert import Converter, coreml_bytes
from conversion.coreml.file import CoreMLFile
from conversion.coreml.formats import COMPRESSIONS, FORMATS, IOS_OF_SPECIFICATION, MINIMUM_IOS
from conversion.coreml.writing import write
from conversion.promotion.candidate import Candidate, load_candidate
from experiments.classifier import as_classifier, network_of
from experiments.tracking import Tracker
from tests.conversion.test_convert import FACTS, randomized
from tests.support.stores import Swept

CHOICES = list(MINIMUM_IOS)
File = Callable[[str, str], CoreMLFile]


@pytest.fixture(scope="module")
def candidate(swept: Swept) -> Candidate:
    """The best model of the small sweep."""
    return load_candidate(Tracker(swept.uri, create=False), command="test", name="mnist5k-classifier")


@pytest.fixture(scope="module")
def file(candidate: Candidate) -> File:
    converter = Converter(candidate.classifier, candidate.facts)
    return cache(lambda format, compression: converter.file(format=format, compression=compression))


LOADED: dict[str, runtime.Executable] = {}


def executable(file: CoreMLFile) -> runtime.Executable:
    """The file as it is executed; loaded once."""
    if file.sha256 not in LOADED:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{file.suffix}"
            write(file, path)
            LOADED[file.sha256] = runtime.load(path)
    return LOADED[file.sha256]


def kernels(file: CoreMLFile) -> list[np.ndarray]:
    """All weights but biases, in the order of the layers."""
    found = [values for layer in executable(file).weights.values() for values in layer.values()]
    return [values for values in found if values.size > max(values.shape)]


@pytest.mark.parametrize(("format", "compression"), CHOICES)
def test_what_a_compressed_file_holds(format: str, compression: str, file: File, candidate: Candidate) -> None:
    compressed = file(format, compression)
    interface = executable(compressed).interface
    assert interface.metadata.user_defined["compression"] == compression
    assert interface.size_bytes == compressed.size_bytes
    assert IOS_OF_SPECIFICATION[interface.specification_version] == MINIMUM_IOS[format, compression]
    whole, stored = kernels(file(format, "none")), kernels(compressed)
    assert [values.shape for values in stored] == [values.shape for values in whole]
    assert any(values.size >= SMALLEST_KERNEL for values in whole)
    for before, after in zip(whole, stored, strict=True):
        half = before.astype(np.float16).astype(np.float32)
        if compression == "none":
            np.testing.assert_array_equal(after, before)
        elif compression == "float16" or before.size < SMALLEST_KERNEL:
            np.testing.assert_array_equal(after, half)
        elif compression in SPARSITY:
            np.testing.assert_array_equal(after[after != 0], half[after != 0])
            assert (after == 0).mean() == pytest.approx(SPARSITY[compression], abs=0.01)
            assert np.abs(half[after == 0]).max() <= np.abs(after[after != 0]).min()
        else:
            error = np.sqrt(((after - before) ** 2).mean() / before.var())  # measured .005, .03, .11, .35
            assert error < {"int8": 0.01, "palette6": 0.06, "palette4": 0.16, "palette2": 0.5}[compression]
            if compression != "int8":
                assert len(np.unique(after)) <= 2 ** BITS[compression]
    images = candidate.dataset.val.images
    answers = [executable(one).probabilities(images).argmax(axis=1) for one in (file(format, "none"), compressed)]
    if compression in ("none", "float16", "int8", "palette6"):
        assert (answers[0] != answers[1]).mean() <= 0.02


@pytest.mark.parametrize("format", FORMATS)
def test_fewer_bits_are_fewer_bytes(format: str, file: File) -> None:
    ladder = [file(format, compression).size_bytes for compression in ("none", "float16", *BITS)]
    assert ladder == sorted(ladder, reverse=True)
    if format == "mlpackage":
        pruned = [file(format, compression).size_bytes for compression in ("float16", *SPARSITY)]
        assert pruned == sorted(pruned, reverse=True)


@pytest.mark.parametrize(
    ("format", "compression"),
    [
        ("mlmodel", "int8"),
        ("mlmodel", "palette4"),
        ("mlpackage", "int8"),
        ("mlpackage", "palette2"),
        ("mlpackage", "prune75"),
    ],
)
def test_size_is_known_before_training(format: str, compression: str, file: File, candidate: Candidate) -> None:
    fresh = as_classifier(keras.models.clone_model(network_of(candidate.classifier)))
    known = coreml_bytes(fresh, candidate.facts, format=format, compression=compression)
    assert known == file(format, compression).size_bytes


def test_a_neuralnetwork_cannot_be_pruned() -> None:
    converter = Converter(randomized("malireddi", (28, 28, 1), filters=4), FACTS)
    for compression in SPARSITY:
        with pytest.raises(UsageError, match="needs --format mlpackage, for iOS 16 or later"):
            converter.file(format="mlmodel", compression=compression)


@pytest.mark.parametrize("compression", ["int8", "palette4"])
def test_every_kind_of_kernel_in_a_neuralnetwork(compression: str) -> None:
    """Also those whose outputs do not lie along the first axis; the decoded weights are close to the originals."""
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(32, 3, padding="same"),
            layers.BatchNormalization(),
            layers.PReLU(shared_axes=[1, 2]),
            layers.DepthwiseConv2D(5, padding="same"),
            layers.Conv2DTranspose(24, 2, strides=2),
            layers.Dense(40, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(20, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model = as_classifier(network)
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in model.weights])
    converter = Converter(model, FACTS)
    whole, stored = (kernels(converter.file(compression=name)) for name in ("none", compression))
    large = [(before, after) for before, after in zip(whole, stored, strict=True) if before.size >= SMALLEST_KERNEL]
    assert len(large) == 5
    for before, after in large:
        spread = before.max() - before.min()  # 255 steps of it round by 0.002 at most
        assert 0 < np.abs(after - before).max() < {"int8": 0.0021, "palette4": 0.15}[compression] * spread


def test_a_palette_is_the_best_of_its_size() -> None:
    values = np.random.default_rng(0).normal(0, 0.05, (40, 50)).astype(np.float32)
    table, codes = palette(values, 4)
    assert table.dtype == np.float32
    assert (np.diff(table) > 0).all()
    assert codes.shape == (2000,)
    nearest = np.abs(values.reshape(-1, 1) - table).argmin(axis=1)
    assert (codes == nearest).mean() > 0.99  # but for values on the border, which were rounded before
    uniform = np.linspace(values.min(), values.max(), 16)
    error = ((table[codes] - values.ravel()) ** 2).mean()
    assert error < 0.7 * (np.abs(values.reshape(-1, 1) - uniform).min(axis=1) ** 2).mean()


def test_a_palette_of_few_values_is_exact() -> None:
    values = np.array([[0.5, -1], [0.5, 2]], np.float16)
    table, codes = palette(values, 2)
    assert table.tolist() == [-1, 0.5, 2, 0]
    assert codes.tolist() == [1, 0, 1, 2]


def test_all_choices_are_listed() -> None:
    assert {compression for _, compression in CHOICES} == set(COMPRESSIONS)
    assert {format for format, _ in CHOICES} == set(FORMATS)
