"""A training that goes on from what was kept after an epoch comes to the bits of one that was never interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from experiments import datasets
from experiments.classifier import as_classifier, predict
from experiments.config import EpochMetrics, ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset, Split, cache
from experiments.training import epoch_graph, loop, state
from experiments.training.kernels import with_fast_kernels
from experiments.training.preparation import TrainingStopped, prepare
from experiments.training.state import Keeper, Keeping, State, Unusable, check_whole, unpack_state, write_whole
from tests.experiments.test_features import PINNED, split

EPOCHS = 3
PLAIN = RunConfig("malireddi", "mnist5k", filters=4, dropout=0.3, batch_size=64, epochs=EPOCHS, learning_rate=3e-3)
NORMALISED = replace(PLAIN, architecture="pocket")  # 7 steps an epoch: its averages are renewed
METRICS = EpochMetrics(1, 0.7, 0.5, 0.8, 0.4, 0.1, 0.45)
FULLEST = "momentum, batch normalisation, dropout, augmented, mixed"
QUICK = "adam, augmented"  # in `make test`
CASES = {
    FULLEST: replace(NORMALISED, optimizer="sgd", momentum=0.9, augment="digits", mixup=0.2),
    QUICK: replace(PLAIN, augment="digits"),
    "bfloat16": replace(NORMALISED, precision="mixed_bfloat16"),
    "a constant rate, decay, streamed": replace(PLAIN, schedule="constant", optimizer="adamw", weight_decay=0.01),
    "a head": RunConfig(
        *("efficientnet_lite0", "bars"),
        filters=None,
        dropout=0.3,
        batch_size=16,
        epochs=EPOCHS,
        knobs=(("hidden", 0), ("train", "head"), ("weights", PINNED)),
    ),
}


@pytest.fixture(scope="module")
def few() -> Dataset:
    whole = datasets.load("mnist5k")
    cut = [Split(part.images[:count], part.labels[:count]) for part, count in ((whole.train, 450), (whole.val, 60))]
    return replace(whole, train=cut[0], val=cut[1])


def trained(config: RunConfig, dataset: Dataset, folder: Path, **given: object) -> RunResult:
    return loop.train(config, dataset, keras_file=folder / "model.keras", size=ModelSize(1, 1, 1), **given)


def bits(result: RunResult) -> list[object]:
    """All of a result that time does not touch."""
    epochs = [replace(each, epoch_seconds=0) for each in result.epochs]
    return [result.weights_sha256, result.val_probabilities.tobytes(), result.best_epoch, epochs, result.resampled]


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case != QUICK else ()) for case in CASES]
)
def test_it_goes_on_to_the_same_bits(case: str, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(state, "SHARE", 1e9)  # whatever it costs
    if "streamed" in case:
        monkeypatch.setattr(cache, "IN_MEMORY_BYTES", 1_000)
    config = CASES[case]
    data = (
        few if config.dataset == "mnist5k" else Dataset("bars", tuple("abcd"), split(48, 0), split(16, 1), split(8, 2))
    )
    kept: list[bytes] = []
    whole = trained(config, data, tmp_path, keeping=Keeping("key", kept.append, on_not_kept=pytest.fail))
    assert len(kept) == EPOCHS
    if case == FULLEST:
        assert bits(trained(config, data, tmp_path)) == bits(whole)  # as if nothing were kept
    told: list[EpochMetrics] = []
    resumed: list[Sequence[EpochMetrics]] = []
    keeping = Keeping("key", kept.append, kept[1], resumed.append, on_refused=pytest.fail)
    again = trained(config, data, tmp_path, keeping=keeping, on_epoch=lambda one: told.append(one) or True)
    assert bits(again) == bits(whole)
    assert [list(each) for each in resumed] == [list(whole.epochs[:2])]
    assert told == list(again.epochs)  # those before, too: whoever listens may lack them
    assert told[:2] == list(whole.epochs[:2])  # with the seconds that they took
    assert unpack_state(kept[-1], "key").began == (1, 3)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case != QUICK else ()) for case in list(CASES)[:3]]
)
def test_what_is_still_prepared_goes_on_to_the_same_bits(case: str, few: Dataset, tmp_path: Path) -> None:
    config = CASES[case]
    whole = trained(config, few, tmp_path)
    prepared = prepare(config, few, size=whole.size)
    kept: list[bytes] = []
    keeping = Keeping("key", kept.append, always=(1,), on_not_kept=pytest.fail)
    with pytest.raises(TrainingStopped):
        loop.fit(prepared, keras_file=tmp_path / "model.keras", on_epoch=lambda _: False, keeping=keeping)
    trained(replace(config, filters=8, epochs=1), few, tmp_path)  # another one in between
    keeping = replace(keeping, found=kept[0], on_refused=pytest.fail)
    assert bits(loop.fit(prepared, keras_file=tmp_path / "model.keras", keeping=keeping)) == bits(whole)
    refused: list[str] = []
    keeping = replace(keeping, found=b"damaged", on_refused=refused.append)
    anew = loop.fit(prepared, keras_file=tmp_path / "model.keras", keeping=keeping)
    assert bits(anew) == bits(whole)  # from the start, not from the weights that are there
    images = prepared.val.images
    np.testing.assert_array_equal(predict(prepared.forward, images), anew.val_probabilities)  # those that are kept
    assert len(refused) == 1


@pytest.mark.slow
def test_a_frozen_backbone_is_shared_with_the_next_training_even_if_it_sees_augmented_images() -> None:
    data = Dataset("bars", tuple("abcd"), split(48, 0), split(16, 1), split(8, 2))
    assert prepare(replace(CASES["a head"], augment="photo"), data, size=ModelSize(1, 1, 1)).shared
    assert not prepare(replace(NORMALISED, dataset="bars", batch_size=16), data, size=ModelSize(1, 1, 1)).shared


def a_state(variables: Sequence[np.ndarray] = (np.arange(3, dtype=np.float32),)) -> State:
    shuffle = dict(np.random.default_rng(5).bit_generator.state)
    return State(
        (METRICS,),
        (1,),
        1,
        shuffle,
        [*variables],
        [np.ones((2, 2), np.float32)],
        np.zeros((4, 2), np.float32),
        np.zeros((2, 3), int),
    )


def test_what_is_kept_is_read_back_whole() -> None:
    found = unpack_state(a_state().packed("key"), "key")
    assert (found.epochs, found.began, found.best, found.shuffle) == ((METRICS,), (1,), METRICS, a_state().shuffle)
    for read, made in (
        (found.variables, a_state().variables),
        (found.best_weights, a_state().best_weights),
        ([found.best_probabilities, found.resampled], [a_state().best_probabilities, a_state().resampled]),
    ):
        assert all(map(np.array_equal, read, made))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[:-1], "it is damaged"),
        (lambda content: content[:200] + b"?" + content[201:], "it is damaged"),
        (lambda content: content.replace(b"state 2 ", b"state 1 "), "it is not a training state of this version"),
        (lambda _: b"", "it is not a training state of this version"),
        (lambda _: b"\0" * 5_000, "it is not a training state of this version"),
        (lambda _: signed(b"{}\n"), "it cannot be read: KeyError: 'key'"),
        (lambda _: signed(b"\xff"), "it cannot be read: UnicodeDecodeError"),
        (lambda _: a_state([np.array([{}])]).packed("key"), None),
        (lambda _: a_state().packed("another"), "it is of another configuration"),
    ],
)
def test_nothing_else_is_gone_on_with(damage, reason: str | None) -> None:
    if reason is None:
        with pytest.raises(ValueError, match="Object arrays cannot be saved"):  # as pickles
            damage(b"")
        return
    with pytest.raises(Unusable, match=reason):
        unpack_state(damage(a_state().packed("key")), "key")


def signed(rest: bytes) -> bytes:
    return state.NAME + b" " + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def keeper(variable: keras.Variable, found: bytes | None = None, **told: object) -> Keeper:
    keeping = Keeping("key", lambda _: None, found, **told)
    return Keeper(keeping, [variable], np.random.default_rng(0))


def test_variables_of_another_shape_are_left_alone_and_it_is_said() -> None:
    variable, said = keras.Variable(np.full(2, 7, np.float32)), list[str]()
    assert keeper(variable, a_state().packed("key"), on_refused=said.append).resume() is None
    assert said == ["its variables are different"]
    assert np.array_equal(variable, [7, 7])


def test_bfloat16_goes_through_the_file() -> None:
    before = keras.Variable(np.array([1.5, -2.25]), dtype="bfloat16")
    after = keras.Variable(np.zeros(2), dtype="bfloat16")
    assert keeper(after, a_state([before.numpy()]).packed("key")).resume()
    assert np.array_equal(after.numpy(), before.numpy())


def keep(held: Keeper) -> None:
    held._complete = True
    answers = {"best_probabilities": np.zeros((1, 2)), "resampled": np.zeros((2, 3), int)}
    held.keep(None, epochs=[METRICS], best_epoch=1, best_weights=[], **answers)


def test_keeping_takes_two_hundredths_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(state, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    seconds: list[float] = []
    for epoch, writing in ((0.05, 0.01), (1.0, 0.015), (1.0, 0.1), (30.0, 0.5)):

        def write(_: bytes, writing: float = writing) -> None:
            clock.now += writing
            seconds.append(writing)

        begun = clock.now
        held = Keeper(Keeping("key", write), [keras.Variable(np.zeros(3))], np.random.default_rng(0))
        seconds.clear()
        for _ in range(200):
            clock.now += epoch
            keep(held)
        assert 0 < sum(seconds) < 0.021 * (clock.now - begun)
        if writing < epoch / 60:
            assert len(seconds) == 200  # after each epoch, where an epoch pays for it


def test_a_disk_that_is_full_ends_the_keeping_and_not_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "SHARE", 1e9)
    said: list[str] = []

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    held = Keeper(Keeping("key", full, on_not_kept=said.append), [keras.Variable(0.0)], np.random.default_rng(0))
    keep(held)
    keep(held)
    assert said == ["[Errno 28] No space left on device"]


@pytest.mark.parametrize(
    ("draw", "kept"),
    [
        (lambda _: 0.0, True),
        (lambda shape: keras.random.normal(shape), False),  # from a state that all of Keras shares
        (lambda shape: tf.random.normal(shape), False),  # from one inside TensorFlow
    ],
)
def test_a_network_with_a_state_that_is_not_its_own_is_told(draw, kept: bool, few: Dataset) -> None:
    class Noisy(keras.layers.Layer):
        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            return inputs + draw(tf.shape(inputs))

    layers = [keras.layers.Flatten(), Noisy(), keras.layers.Dropout(0.5), keras.layers.Dense(10, "softmax")]
    network = with_fast_kernels(as_classifier(keras.Sequential([keras.Input((28, 28, 1)), *layers])))
    optimizer = epoch_graph.built_optimizer(network, PLAIN, 7)
    run_epoch = epoch_graph.epoch_function(network, PLAIN, few.train, None, optimizer)
    variables = [*network.variables, *optimizer.variables]
    assert state.holds_nothing_else(run_epoch.get_concrete_function(), variables) is kept
    assert not state.holds_nothing_else(run_epoch.get_concrete_function(), variables[:-1])


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "states" / "study" / "3.1"
    write_whole(path, b"before")
    with pytest.raises(TypeError):
        write_whole(path, None)
    assert path.read_bytes() == b"before"
    write_whole(path, a_state().packed("key"))
    check_whole(path.read_bytes())
    assert [one.name for one in (tmp_path / "states").rglob("*")] == ["study", "3.1"]
