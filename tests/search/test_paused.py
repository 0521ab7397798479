"""What a worker holds of paused trials, so that one which goes on need not be built and traced again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.config import ModelSize, RunConfig
from experiments.datasets import Dataset, Split
from experiments.training.preparation import Prepared, prepare
from search.engines import paused
from search.engines.messages import Job
from search.engines.paused import Paused
from search.trials.run import file_facts

CONFIG = RunConfig("malireddi", "grey", filters=4, dropout=0.0, batch_size=4, epochs=6)
SIZE = ModelSize(1_000, 1, 1)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    images, labels = np.zeros((8, 16, 16, 1), np.uint8), np.arange(8) % 2
    return Dataset("grey", ("a", "b"), *[Split(images, labels)] * 3)


@pytest.fixture(scope="module")
def prepared(dataset: Dataset) -> Prepared:
    return prepare(CONFIG, dataset, size=SIZE)


def job(number: int, dataset: Dataset, state: bytes | None = b"kept") -> Job:
    facts = file_facts(dataset, CONFIG, "0" * 32, "study")
    return Job(number, CONFIG, facts, SIZE, Path("model.keras"), None, None, state, Path("state"), (2,))


def test_a_job_that_goes_on_gets_what_was_held_once(dataset: Dataset, prepared: Prepared) -> None:
    held = Paused(dataset)
    held.add(job(0, dataset), prepared)
    assert held.pop(job(1, dataset)) is None
    assert held.pop(job(0, dataset)) is prepared
    assert held.pop(job(0, dataset)) is None


def test_nothing_is_held_for_a_job_that_begins_anew_or_is_another(dataset: Dataset, prepared: Prepared) -> None:
    held = Paused(dataset)
    held.add(job(0, dataset), prepared)
    assert held.pop(job(0, dataset, state=None)) is None
    held.add(job(0, dataset), prepared)
    assert held.pop(replace(job(0, dataset), config=replace(CONFIG, seed=1))) is None


def test_the_first_is_let_go_when_memory_is_full(
    dataset: Dataset, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paused, "PAUSED_BYTES", 2 * paused.TRACED_BYTES + 100_000)
    held = Paused(dataset)
    for number in range(3):
        held.add(job(number, dataset), prepared)
    assert [held.pop(job(number, dataset)) for number in range(3)] == [None, prepared, prepared]


def test_what_the_next_training_changes_is_not_held(dataset: Dataset, prepared: Prepared) -> None:
    held = Paused(dataset)
    held.add(job(0, dataset), replace(prepared, shared=True))
    assert held.pop(job(0, dataset)) is None
