"""Heads on a frozen backbone: features are computed once, and a result is the same bits whoever computed them."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import architectures
from architectures.errors import UsageError
from experiments.classifier import build_classifier, forward_function, load_classifier, network_of
from experiments.config import ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset, Split, cache
from experiments.training import features, head_first, loop
from experiments.training.loop import train
from experiments.training.state import Keeping

PINNED = "imagenet#sha256=579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE, CLASSES = 32, 4
LITE0 = architectures.get("efficientnet_lite0")


def split(images: int, seed: int) -> Split:
    """Noise with a bright bar, whose place is the class."""
    noise = np.random.default_rng(seed)
    labels = np.arange(images) % CLASSES
    made = noise.integers(0, 120, (images, SIDE, SIDE, 3), dtype=np.uint8)
    for image, label in zip(made, labels, strict=True):
        image[label * 8 : label * 8 + 8] += 100
    return Split(made, labels.astype(np.int64))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset("bars", tuple("abcd"), split(48, 0), split(16, 1), split(8, 2))


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def run(
    dataset: Dataset,
    folder: Path,
    *,
    how: str = "head",
    weights: str = PINNED,
    taken: str = "last",
    keeping: Keeping | None = None,
    **values: object,
) -> RunResult:
    knobs = (("features", taken), ("hidden", 0), ("train", how), ("weights", weights))
    usual = {"filters": None, "dropout": 0.2, "batch_size": 16, "epochs": 3, "knobs": knobs}
    config = RunConfig("efficientnet_lite0", "bars", **(usual | values))
    return train(config, dataset, keras_file=folder / "model.keras", size=ModelSize(1, 1, 1), keeping=keeping)


def cached(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("*") if file.name != "lock"}


@pytest.fixture(scope="module")
def first(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    features._last.clear()
    return run(dataset, tmp_path_factory.mktemp("first"))


def bits(result: RunResult) -> tuple[object, ...]:
    courses = [(one.loss, one.val_loss, one.val_accuracy) for one in result.epochs]
    return result.weights_sha256, courses, result.val_probabilities.tobytes()


def test_a_second_trial_computes_no_features_and_gives_the_same_bits(
    dataset: Dataset, first: RunResult, tmp_path: Path
) -> None:
    folder = cache.root() / "features"
    before = cached(folder)
    assert len(before) == 2  # of the training and the validation images
    other = run(dataset, tmp_path, dropout=0.4)
    features._last.clear()  # as in another process
    built_anew = run(dataset, tmp_path)
    assert cached(folder) == before
    assert bits(built_anew) == bits(first)
    assert other.weights_sha256 != first.weights_sha256


def test_features_of_all_stages_are_cached_apart(dataset: Dataset, first: RunResult, tmp_path: Path) -> None:
    folder = cache.root() / "features"
    before = cached(folder).keys()
    found = run(dataset, tmp_path, taken="stages")  # three steps an epoch: its averages are renewed
    assert len(cached(folder).keys() - before) == 2
    kept = load_classifier(found.keras_file, found.keras_sha256)
    np.testing.assert_allclose(forward_function(kept)(dataset.val.images), found.val_probabilities, atol=1e-5)


@pytest.mark.slow
def test_the_whole_network_is_kept(dataset: Dataset, first: RunResult) -> None:
    kept = load_classifier(first.keras_file, first.keras_sha256)
    found = forward_function(kept)(dataset.val.images)
    np.testing.assert_allclose(found, first.val_probabilities, atol=1e-5)
    assert kept.input_shape == (None, SIDE, SIDE, 3)


@pytest.mark.slow
def test_damaged_features_are_computed_again(dataset: Dataset, first: RunResult, tmp_path: Path) -> None:
    for file in (cache.root() / "features").glob("*.npy"):
        file.write_bytes(file.read_bytes()[:-100])
    assert bits(run(dataset, tmp_path)) == bits(first)


@pytest.mark.slow
def test_augmented_views_are_cached_too(dataset: Dataset, first: RunResult, tmp_path: Path) -> None:
    folder = cache.root() / "features"
    before = cached(folder).keys()
    one, again = (run(dataset, tmp_path, augment="digits", views=2) for _ in range(2))
    assert len(cached(folder).keys() - before) == 2
    assert bits(one) == bits(again)
    assert one.weights_sha256 != first.weights_sha256
    for values in ({"views": 2}, {"views": 2, "augment": "digits", "how": "top"}):
        with pytest.raises(UsageError, match="views 2 caches the features of augmented images"):
            run(dataset, tmp_path, **values)


@pytest.mark.slow
def test_top_learns_on_and_the_rest_stays(dataset: Dataset, tmp_path: Path) -> None:
    result = run(dataset, tmp_path, how="top", epochs=1, learning_rate=3e-4)
    network = network_of(load_classifier(result.keras_file, result.keras_sha256))
    original = LITE0.build((SIDE, SIDE, 3), CLASSES, knobs={"weights": "imagenet", "train": "top"})
    changed = {
        layer.name
        for layer, before in zip(network.layers, original.layers, strict=True)
        if any(not np.array_equal(*pair) for pair in zip(layer.get_weights(), before.get_weights(), strict=True))
    }
    assert {"blocks.11.depthwise_conv", "conv_head"} <= changed
    assert not any(name.startswith(("conv_stem", "blocks.10.", "bn")) or ".bn" in name for name in changed)


def test_a_new_head_learns_before_the_backbone_does(dataset: Dataset) -> None:
    knobs = (("hidden", 0), ("train", "top"), ("weights", PINNED))
    config = RunConfig("efficientnet_lite0", "bars", None, 0.2, batch_size=16, learning_rate=3e-4, knobs=knobs)
    keras.utils.set_random_seed(0)
    classifier = build_classifier(LITE0, config, dataset.input_shape, CLASSES, "float32")

    def loss() -> float:
        probabilities = forward_function(classifier)(dataset.train.images)
        return -float(np.log(probabilities[np.arange(len(dataset.train)), dataset.train.labels]).mean())

    before, guessing = classifier.get_weights(), loss()
    head_first.learn_head(classifier, LITE0, config, dataset)
    assert loss() < guessing - 0.05
    pairs = zip(before, classifier.get_weights(), strict=True)
    changed = [place for place, pair in enumerate(pairs) if not np.array_equal(*pair)]
    assert changed == [len(before) - 2, len(before) - 1]  # the head's kernel and bias


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_one_that_learns_on_is_resumed_to_the_same_bits(
    precision: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[bytes] = []
    learned: list[np.ndarray] = []

    def learn_head(classifier: keras.Model, *rest: object) -> None:
        head_first.learn_head(classifier, *rest)
        learned.append(classifier.get_weights()[-1])

    def learn_nothing(*_: object) -> None:
        pytest.fail("the head is trained again")

    def result(found: bytes | None = None) -> RunResult:
        keeping = Keeping("key", states.append, found, always=(1, 2))
        return run(dataset, tmp_path, how="top", epochs=2, learning_rate=1e-6, precision=precision, keeping=keeping)

    monkeypatch.setattr(loop, "learn_head", learn_head)
    whole = result()
    kept = load_classifier(whole.keras_file, whole.keras_sha256).get_weights()[-1]
    np.testing.assert_allclose(kept, learned[0], atol=1e-5)  # and what learns on begins with it
    monkeypatch.setattr(loop, "learn_head", learn_nothing)
    assert bits(result(states[0])) == bits(whole)
