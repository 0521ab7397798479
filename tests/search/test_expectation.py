"""What a sweep says to expect of its best: of the network that it puts first, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from benchmarks.no_training import NoTraining
from experiments.config import EpochMetrics
from experiments.tracking.parents import EXPECTED, EXPECTED_OF
from experiments.views.leaderboard import Row
from search import doctor
from search.config import SweepConfig
from search.engines.messages import Event, Finished, Job
from search.orchestrate import SweepResult, sweep

TOLD_ON_PAGE = "expected on new images"


class Reaching(NoTraining):
    """Trials that reach the accuracies of their architecture by seed, with these counts in resamples or the usual."""

    def __init__(
        self,
        chollet: Sequence[float],
        malireddi: Sequence[float],
        resampled: tuple[tuple[int, ...], ...] | None = None,
    ) -> None:
        super().__init__()
        self._reached = {"chollet": chollet, "malireddi": malireddi}
        self._resampled = resampled

    def _metrics(self, job: Job, epoch: int) -> EpochMetrics:
        reached = self._reached[job.config.architecture][min(job.config.seed, 1)]
        return replace(super()._metrics(job, epoch), val_accuracy=reached)

    def next_event(self, timeout: float | None = None) -> Event | None:
        event = super().next_event(timeout)
        if isinstance(event, Finished) and self._resampled is not None:
            return replace(event, result=replace(event.result, resampled=self._resampled))
        return event


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepResult]:
    """A sweep of both networks that trains nothing, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(engine: NoTraining, **options: int) -> SweepResult:
        asked = {"trials": 2, "epochs": 1, "keep": 2} | options
        config = SweepConfig(
            *(uri(), "small"),
            dataset="digits",
            pruner="none",
            filters=(4,),
            figures=False,
            **asked,
        )
        return sweep(config, engine=lambda _: engine)

    return run


def uri() -> str:
    return f"sqlite:///{Path('mlflow.db').absolute()}"  # MLflow keeps one engine for a relative path


def client() -> MlflowClient:
    return MlflowClient(uri())


def report(result: SweepResult) -> str:
    assert result.report
    return Path(result.report).read_text()


@pytest.mark.parametrize(
    ("further", "moved"), [pytest.param((0.94, 0.8), False, marks=pytest.mark.slow), ((0.7, 0.92), True)]
)
def test_further_seeds_may_put_another_network_first(
    further: tuple[float, float], moved: bool, swept: Callable[..., SweepResult]
) -> None:
    """Then nothing is said: the luck that was measured is that of another network."""
    engine = Reaching((0.95, further[0]), (0.93, further[1]))
    result = swept(engine, replicates=1)
    first: Row = result.leaderboard[0]
    assert first.architecture == ("malireddi" if moved else "chollet")
    parent = client().get_run(result.parent_run_id).data
    assert (result.expected is None) is moved
    assert parent.tags.get(EXPECTED_OF, "") == ("" if moved else first.run_id)
    assert ({*EXPECTED} <= parent.metrics.keys()) is not moved
    assert result.leaderboard[0].val_accuracy == parent.metrics["best_val_accuracy"]
    assert (TOLD_ON_PAGE in report(result)) is not moved
    client().set_tag(result.parent_run_id, "not_drawn", "the page")  # so the doctor writes it anew
    Path(result.report or "").unlink()
    assert doctor.main(["--tracking-uri", uri()]) == 0
    assert (TOLD_ON_PAGE in report(result)) is not moved


def test_it_is_taken_back_when_a_further_seed_puts_another_network_first(swept: Callable[..., SweepResult]) -> None:
    """MLflow deletes no metric: they become NaN, once, and the tag empty."""
    engine = Reaching((0.95, 0.7), (0.93, 0.92))
    first = swept(engine)
    assert first.expected is not None
    for _ in range(2):
        again = swept(engine, replicates=1)
        assert again.expected is None
        assert again.parent_run_id == first.parent_run_id
    assert client().get_run(first.parent_run_id).data.tags[EXPECTED_OF] == ""
    for name in EXPECTED:
        held = [point.value for point in client().get_metric_history(first.parent_run_id, name)]
        assert len(held) == 2
        assert held[0] == getattr(first.expected, name)
        assert held[1] != held[1]


@pytest.mark.parametrize(
    ("resampled", "value"),
    [
        (((9,) * 100, (4,) * 100), 0.0),  # five of 179 images are luck, and two were right
        (((3, 1) * 50, (2,) * 100), 2 / 179),
    ],
)
def test_it_is_no_less_than_nothing(
    resampled: tuple[tuple[int, ...], ...], value: float, swept: Callable[..., SweepResult]
) -> None:
    result = swept(Reaching((2 / 179,) * 2, (1 / 179,) * 2, resampled))
    assert result.expected is not None
    assert result.expected.expected_accuracy == pytest.approx(value)
    assert result.expected.expected_accuracy_low >= 0


def test_a_record_that_cannot_be_read_costs_nothing_else(swept: Callable[..., SweepResult]) -> None:
    result = swept(Reaching((0.95, 0), (0.93, 0), ((9,), (4, 4))))
    parent = client().get_run(result.parent_run_id).data
    assert result.expected is None
    assert parent.metrics["best_val_accuracy"] == 0.95
    assert parent.tags["mlflow.note.content"].startswith("Best by accuracy on the validation images: [chollet-0]")
    assert "expected accuracy: ValueError" in parent.tags["not_drawn"]
    assert EXPECTED_OF not in parent.tags
