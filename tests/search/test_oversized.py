"""A network whose parameters alone make its file too large is told at once: not built, not converted, recorded so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState

from architectures import registry
from benchmarks.no_training import NoTraining
from conversion.coreml.facts import FileFacts
from experiments.config import Environment, RunConfig
from experiments.datasets import Dataset, Split
from search.config import SweepConfig
from search.engines import trainer
from search.engines.messages import LARGEST_UNASKED, Event, Job, KnownArchitecture, Oversized, Placed, WorkerSetup
from search.engines.trainer import Trainer
from search.orchestrate import sweep
from search.setup import within_memory
from tests.support.commands import Command
from tests.support.sweeps import children_of, study_of

FACTS = FileFacts(tuple("abcd"), "p", "0" * 64, "chollet", "0" * 32, "", "unknown", 0.9)


def job(limit: int | None, filters: int = 32) -> Job:
    config = RunConfig("chollet", "large", filters=filters, dropout=0.2, batch_size=2)
    return Job(0, config, FACTS, None, Path("none.keras"), limit, None if limit else LARGEST_UNASKED)


@pytest.fixture
def made() -> Trainer:
    made = Trainer.__new__(Trainer)
    images = np.zeros((4, 224, 224, 3), np.uint8)
    made._setup, made.gpu = WorkerSetup((), ("chollet", "pocket"), 1), None
    made.hold(Dataset("large", tuple("abcd"), *(Split(images, np.arange(4)),) * 3))
    return made


def test_a_network_that_is_too_large_is_neither_built_nor_converted(
    made: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "prepare", lambda *_, **__: pytest.fail("it was trained"))
    told: list[Event] = []
    for limit in (10_000_000, None):
        made.train(job(limit), told.append, lambda _: pytest.fail("it was built"))
    assert told == [Oversized(0, 99_143_236, 396_572_032)] * 2


def test_a_network_that_turns_out_large_once_it_is_built_is_not_converted(
    made: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "coreml_bytes", lambda *_, **__: pytest.fail("it was converted"))
    pocket = RunConfig("pocket", "large", filters=8, dropout=0.2, batch_size=2)
    told: list[Event] = []
    made.train(replace(job(None), config=pocket, max_parameters=1_000), told.append, lambda _: False)
    assert [(type(one), one.parameters > 1_000) for one in told if isinstance(one, Oversized)] == [(Oversized, True)]


def test_what_a_single_trial_asks_for_has_no_limit(made: Trainer) -> None:
    assert made._oversized(replace(job(None), max_parameters=None)) is None


@pytest.mark.parametrize(("limit", "filters"), [(None, 8), (400_000_000, 32), (100, 1)])
def test_what_may_fit_or_is_converted_in_no_time_is_measured_exactly(
    made: Trainer, limit: int | None, filters: int
) -> None:
    assert made._oversized(job(limit, filters)) is None


def test_small_networks_are_not_built_twice(made: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made._may_be_large == {"chollet"}
    monkeypatch.setattr(registry, "get", lambda _: pytest.fail("it is built"))
    small = job(None)
    assert made._oversized(replace(small, config=replace(small.config, architecture="pocket"))) is None


class Bounded(NoTraining):
    """Says of the widest networks that they are too large."""

    def submit(self, job: Job) -> None:
        self.limit = job.max_coreml_bytes
        if job.config.filters < 32:
            super().submit(job)
            return
        self._job = job
        self._events += [
            Placed(job.number, Environment("nowhere", "none", 1, "none", None)),
            Oversized(job.number, 5_000 if self.limit else LARGEST_UNASKED + 5, 20_000),
        ]

    def next_event(self, timeout: float | None = None) -> Event | None:
        event = super().next_event(timeout)
        if isinstance(event, Oversized):
            self._job = None
        return event


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "said", "parameters", "constraints"),
    [
        (10_000, "5,000 parameters make 20,000 bytes or more, not trained", 5_000, {"coreml_bytes": 10_000}),
        (
            None,
            "16,777,221 parameters, not trained; --max-coreml-bytes allows more than",
            LARGEST_UNASKED + 5,
            {"parameters": 5},
        ),
    ],
)
def test_its_trial_is_infeasible_and_its_run_says_what_is_known(
    limit: int | None,
    said: str,
    parameters: int,
    constraints: dict[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    command: Command,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(
        "sqlite:///mlflow.db", "bounded", trials=8, epochs=1, max_coreml_bytes=limit, keep=1, figures=False
    )
    engine = Bounded()
    result = sweep(config, engine=lambda _: engine)
    assert engine.limit == limit
    trials, runs = study_of(tmp_path, "bounded").trials, children_of(tmp_path, "bounded")
    large = [trial for trial in trials if trial.params["filters"] == 32]
    assert 2 <= len(large) == result.counts["infeasible"] < 8
    assert said in " ".join(capfd.readouterr().err.split())
    for trial in large:
        assert trial.state == TrialState.PRUNED
        assert trial.constraints == constraints  # what is over the limit
        assert "coreml_bytes" not in trial.user_attrs  # was not measured
        metrics = runs[trial.number].data.metrics
        assert metrics == {"parameters": parameters, "coreml_bytes_at_least": 20_000}
        assert runs[trial.number].data.tags["outcome"] == "infeasible"
    examined = command("search.doctor", "--study", "bounded", "--json")
    assert examined.code == 0, examined.out


def test_batch_sizes_follow_the_hungriest_network(capsys: pytest.CaptureFixture[str]) -> None:
    hungry, modest = (
        KnownArchitecture(name, 8, 0.0, None, image_bytes=size) for name, size in (("a", 2**31), ("b", 1))
    )
    assert within_memory((64, 128), [modest], say=print) == (64, 128)
    assert not capsys.readouterr().out
    assert within_memory((64, 128), [modest, hungry], say=print) == (1,)
    assert "2048 MiB for each image (a): batch size 1 in place of 64, 128" in capsys.readouterr().out
