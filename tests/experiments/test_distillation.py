"""Learning from a teacher's answers: computed once, mixed and gathered as the labels are, the same bits each time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from architectures.errors import ProjectError, UsageError
from experiments import datasets
from experiments.config import ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset, Split, cache
from experiments.training import distillation
from experiments.training.epoch_graph import epoch_function
from experiments.training.loop import train

TAUGHT = {"temperature": 3.0, "distillation_weight": 0.5}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    digits = datasets.load("digits")
    return replace(digits, train=Split(digits.train.images[:200], digits.train.labels[:200]))


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def trained(dataset: Dataset, folder: Path, **values: object) -> RunResult:
    config = RunConfig("malireddi", "digits", 4, 0.0, batch_size=50, epochs=1, **values)
    return train(config, dataset, keras_file=folder / "model.keras", size=ModelSize(0, 0, 0))


@pytest.fixture(scope="module")
def teacher(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A kept model where training looks for a teacher's."""
    result = trained(dataset, tmp_path_factory.mktemp("teacher"), seed=1)
    named = f"{'a' * 32}#sha256={result.keras_sha256}"
    file = distillation.file_of(named)
    file.parent.mkdir(parents=True)
    shutil.copy(result.keras_file, file)
    return named


def bits(result: RunResult) -> tuple[str, float]:
    return result.weights_sha256, result.epochs[0].loss


def test_answers_are_computed_once_for_all_temperatures(
    dataset: Dataset, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = trained(dataset, tmp_path)
    first = trained(dataset, tmp_path, teacher=teacher, **TAUGHT)
    (kept,) = (cache.root() / "answers").glob("*.npy")
    with monkeypatch.context() as patch:
        patch.setattr(distillation, "load_classifier", None)  # nothing is asked of the teacher again
        softer = trained(dataset, tmp_path, teacher=teacher, temperature=9.0, distillation_weight=0.5)
    assert len({bits(each) for each in (alone, first, softer)}) == 3
    kept.unlink()
    assert bits(trained(dataset, tmp_path, teacher=teacher, **TAUGHT)) == bits(first)
    assert kept.exists()


@pytest.mark.slow
def test_images_that_stream_learn_the_same(
    dataset: Dataset, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With class weights and labels and answers mixed."""
    asked = TAUGHT | {"teacher": teacher, "mixup": 0.4, "class_weight": "balanced", "label_smoothing": 0.1}
    held = trained(dataset, tmp_path, **asked)
    monkeypatch.setattr(cache, "IN_MEMORY_BYTES", 0)
    assert bits(trained(dataset, tmp_path, **asked)) == bits(held)


def test_the_loss_is_hintons() -> None:
    def softmax(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits)
        return powers / powers.sum(axis=1, keepdims=True)

    logits, wanted = np.random.default_rng(0).normal(size=(2, 5, 3))
    label = np.eye(3)[[0, 1, 2, 0, 1]]
    config = RunConfig("malireddi", "digits", 4, 0.0, temperature=2.0, distillation_weight=0.3)
    loss = distillation.taught(lambda target, found: keras.losses.categorical_crossentropy(target, found), config)
    answers = distillation.softened(softmax(wanted), 2.0)
    np.testing.assert_allclose(answers, softmax(wanted / 2), rtol=1e-5)
    found = loss(
        tf.constant(np.concatenate([label, answers], axis=1), tf.float32), tf.constant(softmax(logits), tf.float32)
    )
    of_label = -(label * np.log(softmax(logits))).sum(axis=1)
    of_answers = -(answers * np.log(softmax(logits / 2))).sum(axis=1)
    np.testing.assert_allclose(found, 0.7 * of_label + 0.3 * 4 * of_answers, rtol=1e-4)


def test_each_view_of_an_image_is_taught_by_its_answer() -> None:
    """Where answers are as certain as the labels next to nothing is lost, in the second view as in the first."""
    labels = np.arange(4) % 2
    config = RunConfig("malireddi", "digits", 4, 0.0, batch_size=2, views=2, learning_rate=1e-7, **TAUGHT)
    features = np.tile(np.eye(2, dtype=np.float32)[labels] * 100, (2, 1))
    head = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(2, activation="softmax", kernel_initializer="identity")]
    )
    run_epoch = epoch_function(
        head, config, Split(features, np.tile(labels, 2)), 4, answers=np.eye(2, dtype=np.float32)[labels]
    )
    for view in (0, 1):
        loss, accuracy = (float(value) for value in run_epoch(np.array([3, 0, 1, 2]) + 4 * view, 1))
        assert loss < 0.1
        assert accuracy == 1


def test_what_cannot_be_taught_is_refused(dataset: Dataset, teacher: str) -> None:
    fewer = replace(
        dataset, class_names=dataset.class_names[:9], train=Split(dataset.train.images, dataset.train.labels % 9)
    )
    smaller = replace(dataset, train=Split(dataset.train.images[:, ::2, ::2], dataset.train.labels))
    for other, told in (
        (fewer, "10 classes of 28x28x1 images; digits has 9 of 28x28x1"),
        (smaller, "digits has 10 of 14x14x1"),
    ):
        with pytest.raises(UsageError, match=told):
            distillation.answers(config_of(teacher, **TAUGHT), other)
    with pytest.raises(UsageError, match="--temperature needs a --teacher"):
        distillation.answers(config_of("", temperature=2.0), dataset)
    with pytest.raises(UsageError, match="distillation_weight is 0: it has to be larger with a teacher"):
        distillation.answers(config_of(teacher, temperature=2.0), dataset)
    with pytest.raises(ProjectError, match=f"{'b' * 64}.keras is not on this host"):
        distillation.answers(config_of(f"x#sha256={'b' * 64}", **TAUGHT), dataset)
    for unnamed in ("x", "x#sha256=.."):
        with pytest.raises(UsageError, match="has no digest: a run's is recorded as ID#sha256=DIGEST"):
            distillation.answers(config_of(unnamed, **TAUGHT), dataset)


def config_of(teacher: str, **values: float) -> RunConfig:
    return RunConfig("malireddi", "digits", 4, 0.0, teacher=teacher, **values)
