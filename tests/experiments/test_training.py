"""Training: the same seed gives the same bits, the best epoch is kept, divergence is an error."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import architectures
from architectures import register, registry
from architectures.errors import UsageError
from experiments import datasets
from experiments.classifier import (
    PIXEL_SCALE,
    as_classifier,
    build_classifier,
    forward_function,
    load_classifier,
    network_of,
    predict,
)
from experiments.config import EpochMetrics, ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset, Split
from experiments.training import epoch_graph, loop, preparation
from experiments.training.loop import TrainingDiverged, count_macs, train
from experiments.training.precision import Gpu, native_bfloat16, resolve_precision
from experiments.training.preparation import TrainingStopped

BFLOAT16 = pytest.param("mixed_bfloat16", marks=pytest.mark.slow)
CONFIG = RunConfig("malireddi", "mnist5k", filters=8, dropout=0.2, batch_size=100, epochs=3, learning_rate=3e-3)
DENSE = replace(CONFIG, architecture="dense")  # where it does not matter what is trained


@pytest.fixture(scope="module", autouse=True)
def dense() -> Iterator[None]:
    """The network whose training is built soonest."""

    @register(default_filters=8)
    def dense(input_shape, num_classes, *, filters, dropout):
        """One hidden layer."""
        hidden = [keras.layers.Flatten(), keras.layers.Dense(filters, "relu"), keras.layers.Dropout(dropout)]
        return keras.Sequential([keras.Input(input_shape), *hidden, keras.layers.Dense(num_classes, "softmax")])

    yield
    registry._registry.entries.pop("dense")


@pytest.fixture(scope="module")
def few() -> Dataset:
    """A thousand training and two hundred validation digits."""
    whole = datasets.load("mnist5k")
    return replace(
        whole,
        train=Split(whole.train.images[:1_000], whole.train.labels[:1_000]),
        val=Split(whole.val.images[:200], whole.val.labels[:200]),
    )


def size(classifier: keras.Model) -> ModelSize:
    return ModelSize(classifier.count_params(), count_macs(classifier), 1)


def trained(config: RunConfig, dataset: Dataset, folder: Path, **callbacks: object) -> RunResult:
    return train(config, dataset, keras_file=folder / "model.keras", size=size, **callbacks)


def comparable(result: RunResult) -> list[object]:
    """All of a result that time does not touch."""
    return [
        result.weights_sha256,
        result.val_probabilities.tobytes(),
        [replace(e, epoch_seconds=0) for e in result.epochs],
    ]


def test_a_training_leaves_no_graph_behind(few: Dataset, tmp_path: Path) -> None:
    def graphs() -> int:
        gc.collect()
        return sum(isinstance(one, tf.Graph) for one in gc.get_objects())

    trained(replace(DENSE, epochs=1), few, tmp_path)
    before = graphs()
    trained(replace(DENSE, epochs=1), few, tmp_path)
    assert graphs() == before


@pytest.mark.parametrize("precision", ["float32", BFLOAT16])
def test_the_same_seed_gives_the_same_bits_whatever_ran_before(precision: str, few: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, precision=precision)
    first = trained(config, few, tmp_path)
    trained(replace(config, architecture="chollet", epochs=1, seed=5), few, tmp_path)
    known = train(config, few, keras_file=tmp_path / "known.keras", size=first.size)  # which is not measured again
    assert comparable(known) == comparable(first)
    assert known.size == first.size
    assert comparable(trained(replace(config, seed=1), few, tmp_path)) != comparable(first)


def test_threads_do_not_decide_the_order_in_which_gradients_are_added(few: Dataset) -> None:
    """TensorFlow's AddN of three starts with the one whose memory is free first: of two, the order is no matter."""
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.BatchNormalization()(x)  # Keras' own uses what it is given three times
    x = keras.layers.Add()([keras.layers.Dense(4)(x) for _ in range(4)])
    network = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})  # whatever was trained before
    preparation._make_deterministic()
    epoch = epoch_graph.epoch_function(as_classifier(network), CONFIG, few.train).get_concrete_function()
    graph = epoch.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert {len(node.input) for node in nodes if node.op == "AddN"} == {2}
    assert tf.config.optimizer.get_experimental_options()["arithmetic_optimization"] is False  # it would join them


@pytest.mark.parametrize("kind", ["activity_regularizer", "kernel_regularizer"])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_penalties_that_layers_ask_for_count(policy: str, kind: str, few: Dataset) -> None:
    losses = []
    for penalty in (None, keras.regularizers.L2(10)):
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense(8, **{kind: penalty}, dtype=policy)
        head = keras.layers.Dense(10, "softmax")
        network = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), dense, head])
        run_epoch = epoch_graph.epoch_function(as_classifier(network), CONFIG, few.train)
        losses.append(float(run_epoch(np.arange(len(few.train)), 1)[0]))
    assert losses[1] > losses[0] + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "float32"},
        pytest.param({"precision": "mixed_bfloat16"}, marks=pytest.mark.slow),
        pytest.param({"augment": "digits", "label_smoothing": 0.1}, marks=pytest.mark.slow),
    ],
)
def test_the_kept_model_is_the_one_that_was_measured(changes: dict, few: Dataset, tmp_path: Path) -> None:
    result = trained(replace(CONFIG, epochs=6, **changes), few, tmp_path)
    assert max(epoch.val_accuracy for epoch in result.epochs) > 0.3  # it learns: chance is 0.1
    kept = load_classifier(result.keras_file, result.keras_sha256)
    assert {weight.dtype for weight in kept.weights} == {"float32"}
    assert {layer.compute_dtype for layer in network_of(kept).layers} == {"float32"}
    probabilities = predict(forward_function(kept), few.val.images)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(probabilities, result.val_probabilities)
    accuracy = float((probabilities.argmax(axis=1) == few.val.labels).mean())
    assert accuracy == result.best_val_accuracy
    assert result.latency_ms == float(f"{result.latency_ms:.4g}") > 0  # MLflow lists every digit
    loss = float(keras.losses.sparse_categorical_crossentropy(few.val.labels, probabilities).numpy().mean())
    assert loss == pytest.approx(result.best_val_loss, rel=1e-4)
    best = result.epochs[result.best_epoch - 1]
    assert (best.val_accuracy, best.val_loss) == (result.best_val_accuracy, result.best_val_loss)
    assert result.keras_bytes == result.keras_file.stat().st_size
    assert result.keras_bytes < 4 * result.size.parameters + 60_000  # no optimizer state


@pytest.mark.parametrize("name", ["pocket", "mobilenet", "mobilenet_v3", "convmixer"])
def test_depthwise_convolutions_are_slow_in_bfloat16_and_stay_in_float32(name: str) -> None:
    model = build_classifier(architectures.get(name), CONFIG, (28, 28, 1), 10, "mixed_bfloat16")
    kinds: dict[bool, set[str]] = {True: set(), False: set()}
    for layer in network_of(model).layers[1:-1]:
        kinds[isinstance(layer, keras.layers.DepthwiseConv2D)].add(layer.compute_dtype)
    assert kinds == {True: {"float32"}, False: {"bfloat16"}}


@pytest.mark.slow
def test_a_network_of_both_precisions_learns_as_in_float32(few: Dataset, tmp_path: Path) -> None:
    config = replace(CONFIG, architecture="pocket", epochs=1)
    mixed, whole = (trained(replace(config, precision=p), few, tmp_path) for p in ("mixed_bfloat16", "float32"))
    assert mixed.epochs[0].loss == pytest.approx(whole.epochs[0].loss, rel=0.05)
    assert mixed.weights_sha256 != whole.weights_sha256


def test_mixed_precision_computes_in_bfloat16_but_for_the_head() -> None:
    model = build_classifier(architectures.get("malireddi"), CONFIG, (28, 28, 1), 10, "mixed_bfloat16")
    layers = [layer for layer in network_of(model).layers if layer.weights]
    assert [layer.compute_dtype for layer in layers] == ["bfloat16"] * 4 + ["float32"]
    assert {layer.variable_dtype for layer in layers} == {"float32"}
    assert model(np.zeros((1, 28, 28, 1), np.float32)).dtype == "float32"


@pytest.mark.parametrize(
    ("schedule", "epochs"),
    [
        ("cosine", 3),
        *(pytest.param("constant", epochs, marks=pytest.mark.slow) for epochs in (1, 3)),
    ],
)
def test_agrees_with_keras_fit(schedule: str, epochs: int, few: Dataset, tmp_path: Path) -> None:
    """Epochs of one batch, without dropout: the loop takes the steps that Model.fit takes."""
    config = replace(CONFIG, dropout=0.0, batch_size=1_000, epochs=epochs, schedule=schedule)
    kept = trained(config, few, tmp_path)
    ours = load_classifier(kept.keras_file, kept.keras_sha256)
    keras.utils.set_random_seed(config.seed)
    theirs = build_classifier(architectures.get("malireddi"), config, (28, 28, 1), 10, "float32")
    rate = config.learning_rate
    decaying = keras.optimizers.schedules.CosineDecay(rate, decay_steps=epochs)
    optimizer = keras.optimizers.Adam(decaying if schedule == "cosine" else rate)
    theirs.compile(optimizer, "sparse_categorical_crossentropy")
    images = few.train.images.astype("float32")
    theirs.fit(images, few.train.labels, batch_size=1_000, epochs=epochs, shuffle=False, verbose=0)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        # Adam divides by the gradient's size: rounding may turn the step of a weight whose gradient is all but zero.
        assert np.mean(np.abs(mine - other) < 1e-5) > 0.99
        assert np.mean(np.abs(mine - other)) < 1e-5


def test_a_falling_rate_falls_to_nothing_and_its_run_is_never_ended_early(
    few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 10
    rate = epoch_graph._learning_rate(replace(CONFIG, epochs=4), steps)
    assert [float(rate(step * steps)) for step in (0, 2, 4)] == pytest.approx([3e-3, 1.5e-3, 0], abs=1e-9)
    assert epoch_graph._learning_rate(replace(CONFIG, schedule="constant"), steps) == 3e-3
    scripted(monkeypatch, [(1.0, 0.5)] + [(2.0, 0.4)] * (loop.PATIENCE + 2))
    result = trained(replace(DENSE, epochs=loop.PATIENCE + 3), few, tmp_path)
    assert (result.best_epoch, len(result.epochs)) == (1, loop.PATIENCE + 3)


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[tuple[float, float]]) -> None:
    """Let validation return these (loss, accuracy) pairs in turn."""
    pairs = iter(values)

    def validate(forward: object, split: Split) -> tuple[float, float, float, np.ndarray]:
        return *next(pairs), 0.5, np.zeros((len(split), 10), np.float32)

    monkeypatch.setattr(loop, "_validate", validate)


@pytest.mark.parametrize(
    ("values", "best", "length"),
    [
        ([(1.0, 0.5), (0.9, 0.6), (0.8, 0.4)], 2, 3),  # highest accuracy
        ([(1.0, 0.5), (0.9, 0.5), (0.95, 0.5)], 2, 3),  # then the lowest loss
        ([(1.0, 0.5), (1.0, 0.5), (1.0, 0.5)], 1, 3),  # then the first
        ([(1.0, 0.5)] + [(2.0, 0.4)] * 19, 1, 1 + loop.PATIENCE),  # patience
    ],
)
def test_which_epoch_is_kept(
    values: list, best: int, length: int, few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, values)
    result = trained(replace(DENSE, epochs=len(values), schedule="constant"), few, tmp_path)
    assert (result.best_epoch, len(result.epochs)) == (best, length)


def test_a_loss_that_is_not_finite_is_an_error(few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_graph, "_learning_rate", lambda config, steps: 1e30)
    with pytest.raises(TrainingDiverged, match="not finite after epoch 1.*lower the learning rate"):
        trained(CONFIG, few, tmp_path)
    assert not (tmp_path / "model.keras").exists()


def test_the_caller_may_stop(few: Dataset, tmp_path: Path) -> None:
    seen: list[EpochMetrics] = []
    with pytest.raises(TrainingStopped):
        trained(DENSE, few, tmp_path, on_epoch=lambda metrics: seen.append(metrics) or len(seen) < 2)
    assert [metrics.epoch for metrics in seen] == [1, 2]


def test_a_batch_larger_than_the_data(few: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch_size 2000 exceeds the 1000"):
        trained(replace(CONFIG, batch_size=2_000), few, tmp_path)


def test_scaling_is_inside_the_model() -> None:
    network = architectures.build("malireddi", (28, 28, 1), 10, filters=4)
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1)).astype(np.float32)
    assert np.allclose(as_classifier(network)(image), network(image * np.float32(PIXEL_SCALE)), atol=1e-7)


def test_macs_by_hand() -> None:
    chollet = 26 * 26 * 32 * 9 + 24 * 24 * 64 * 9 * 32 + 9_216 * 128 + 1_280
    assert count_macs(as_classifier(architectures.build("chollet", (28, 28, 1), 10))) == chollet
    layers = keras.layers
    separable = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.Conv2D(6, 1, strides=2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    assert count_macs(as_classifier(separable)) == 6 * 6 * 8 * 9 + 3 * 3 * 6 * 8 + 54 * 3


@pytest.mark.parametrize(
    ("flags", "gpu", "native", "expected"),
    [
        ("sse avx512_bf16 avx512_fp16", None, "avx512_bf16", "mixed_bfloat16"),
        ("avx512_bf16 amx_bf16", None, "amx_bf16 avx512_bf16", "mixed_bfloat16"),
        ("sse avx512f", None, "none", "float32"),
        ("sse", Gpu("A100", (8, 0)), "gpu", "mixed_bfloat16"),
        ("amx_bf16", Gpu("T4", (7, 5)), "none", "float32"),  # what computes decides
        ("amx_bf16", Gpu("another maker's", None), "none", "float32"),
    ],
)
def test_precision_auto_is_what_computes_natively(
    flags: str, gpu: Gpu | None, native: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: f"processor: 0\nflags\t\t: {flags}\nbugs: x\n")
    assert native_bfloat16(gpu) == native
    assert resolve_precision("auto", gpu) == expected
    for asked in ("float32", "mixed_bfloat16"):
        assert resolve_precision(asked, gpu) == asked


def test_float32_is_no_shorter_type_on_a_gpu() -> None:
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_augmentation_and_smoothing_change_training_and_the_same_seed_gives_the_same_bits(
    few: Dataset, tmp_path: Path
) -> None:
    plain, augmented, smoothed, again = (
        trained(replace(CONFIG, epochs=1, seed=2**32 - 1, **changes), few, tmp_path)
        for changes in ({}, {"augment": "digits"}, {"label_smoothing": 0.1}, {"augment": "digits"})
    )
    assert comparable(augmented) == comparable(again)
    assert len({result.weights_sha256 for result in (plain, augmented, smoothed)}) == 3
    assert smoothed.epochs[0].loss > plain.epochs[0].loss  # a certain answer costs, too


def test_validation_never_sees_augmented_images(few: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_graph, "AUGMENTATION_FUNCTIONS", {"digits": lambda images, *, seed: images[:, ::-1]})
    result = trained(replace(CONFIG, epochs=6, augment="digits"), few, tmp_path)
    kept = load_classifier(result.keras_file, result.keras_sha256)

    def loss(images: np.ndarray) -> float:
        answers = kept(images.astype("float32"), training=False)
        return float(tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(few.val.labels, answers)))

    assert result.best_val_loss == pytest.approx(loss(few.val.images), rel=1e-4)
    assert result.best_val_loss > 1.1 * loss(few.val.images[:, ::-1])  # it learned digits that stand on their heads


def test_a_run_can_be_ended_before_its_first_epoch(few: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="before the first epoch"):
        trained(DENSE, few, tmp_path, on_built=lambda _: False)
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.slow
def test_the_profile_of_a_step_tells_its_groups_apart(tmp_path: Path) -> None:
    """In a process of its own: TensorFlow has to be told of one thread before anything else."""
    program = Path(__file__).parents[2] / "benchmarks" / "training_step.py"
    small = ["--architecture", "malireddi", "--batch-size", "16", "--steps", "2"]
    done = subprocess.run(
        [sys.executable, program, *small], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=True
    )
    heading, *lines = done.stdout.splitlines()
    assert heading == "malireddi, float32, batch 16, one thread"
    shares = {line[:22].strip(): float(line.split()[-2]) for line in lines}
    assert shares.keys() >= {"convolution", "dense", "pooling", "dropout", "optimizer", "augmentation", "input"}
    assert sum(shares.values()) == pytest.approx(100, abs=1)
    assert shares["convolution"] > shares["the rest"]
