"""The front of accuracy and bytes is kept and registered, and what is the smallest model that is as good is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from scipy.stats import binom

from benchmarks.no_training import NoTraining
from conversion.promotion.champion import SIGNIFICANCE
from conversion.promotion.preference import smallest
from experiments import datasets
from experiments.config import EpochMetrics
from experiments.tracking import Tracker
from search.config import SweepConfig
from search.engines.messages import Job
from search.orchestrate import SweepResult, sweep
from search.study.results import Results
from tests.support.promotions import client_of

WRONG = {4: 90, 8: 12, 16: 13, 32: 10}  # of the 500 validation images, by width: 8 and 32 are on the front, as 4 is
NAME = "mnist5k-classifier"


class Invented(NoTraining):
    """Gives each width the answers of a network that is wrong on so many images, from the first on."""

    def submit(self, job: Job) -> None:
        super().submit(job)
        labels = datasets.load("mnist5k").val.labels.copy()
        labels[: WRONG[job.config.filters]] = (labels[: WRONG[job.config.filters]] + 1) % 10
        self._probabilities = np.eye(10, dtype=np.float32)[labels]

    def _metrics(self, job: Job, epoch: int) -> EpochMetrics:
        accuracy = 1 - WRONG[job.config.filters] / 500
        return EpochMetrics(epoch, 1 - accuracy, accuracy, 1 - accuracy, accuracy, 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def result(folder: Path) -> SweepResult:
    config = SweepConfig(
        f"sqlite:///{folder / 'mlflow.db'}", "small", storage=f"sqlite:///{folder / 'optuna.db'}", epochs=1, keep=1,
        trials=len(WRONG), filters=tuple(WRONG), pruner="none", figures=False,
        enqueue=tuple({"architecture": "malireddi", "filters": width} for width in WRONG),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        return sweep(config, engine=lambda _: Invented())


def width_of(result: SweepResult, version: int) -> int:
    return next(row.filters for row in result.leaderboard if row.version == version)


@pytest.mark.parametrize("objectives", [("val_accuracy",), ("val_accuracy", "coreml_bytes")])
def test_the_best_and_the_front_are_kept(objectives: tuple[str, ...]) -> None:
    study = optuna.create_study(directions=["maximize", "minimize"][: len(objectives)])
    widths = optuna.distributions.CategoricalDistribution(tuple(range(5)))
    figures = [(0.984, 4_800), (0.986, 5_000), (0.982, 21), (0.980, 300), (0.500, 20)]
    for width, (accuracy, size) in enumerate(figures):
        study.add_trial(
            optuna.trial.create_trial(
                params={"filters": width},
                distributions={"filters": widths},
                values=[accuracy, size][: len(objectives)],
                user_attrs={"coreml_bytes": size, "run_id": str(width), "model_id": f"m-{width}"},
            )
        )
    standing = Results(study, SweepConfig("", "study", objectives=objectives, keep=1))
    assert standing.keepers() == {0, 1, 2, 4}
    assert [trial.number for trial in standing.to_register()] == [1, 0, 2, 4]
    assert standing.superseded(()) == {"m-3": "3"}
    more = Results(study, SweepConfig("", "study", objectives=objectives, keep=4))
    assert [trial.number for trial in more.to_register()] == [1, 0, 2, *([4, 3] if len(objectives) > 1 else [3, 4])]


def test_the_front_is_registered_beside_the_best(result: SweepResult, folder: Path) -> None:
    assert [width_of(result, version) for version in result.registered] == [32, 8, 4]
    client = client_of(folder)
    assert int(client.get_model_version_by_alias(NAME, "candidate").version) == result.registered[0]
    versions = client.search_model_versions(f"name = '{NAME}'")
    assert len(versions) == 3


def test_a_sweep_ends_with_what_promote_would_take_and_a_link(
    result: SweepResult, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", create=False)
    found = smallest(tracker, NAME, datasets.load("mnist5k"))
    assert found == result.preference
    assert [width_of(result, one.version) for one in (found.best, found.taken)] == [32, 8]
    tiny, small = found.smaller
    assert tiny.comparison
    assert small.comparison
    assert (tiny.as_good, small.as_good) == (False, True)
    assert (small.comparison.only_candidate_right, small.comparison.only_champion_right) == (0, 2)
    assert small.comparison.p_value == pytest.approx(binom.sf(1, 2, 0.5))
    assert tiny.comparison.p_value == pytest.approx(binom.sf(79, 80, 0.5))
    result.show()
    *_, last, link = capsys.readouterr().out.splitlines()
    assert link.startswith("View: ")
    assert last.startswith(f"python -m conversion.promote --prefer smallest would take version {found.taken.version} ")
    for figure in (
        "4,000 bytes",
        "16,000 bytes",
        "0.9760",
        "0.9800",
        "p = 0.25",
        f"level {SIGNIFICANCE:g}",
        "one-sided",
    ):
        assert figure in last
    assert result.as_json()["preference"]["taken"]["version"] == found.taken.version


def test_versions_of_other_data_are_left_out(result: SweepResult, folder: Path) -> None:
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", create=False)
    data = datasets.load("mnist5k")
    other = replace(data, class_names=tuple("abcdefghij"))  # another digest
    found = smallest(tracker, NAME, other)
    assert found.taken == found.best
    assert not found.smaller


def test_answers_that_were_not_kept_are_never_as_good(result: SweepResult, folder: Path) -> None:
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", create=False)
    versions = {one.version: one for one in tracker.registry.versions(NAME)}
    small, best = (versions[result.registered[index]] for index in (1, 0))
    place = Path(client_of(folder).get_logged_model(small.model_id).artifact_location.removeprefix("file://"))
    kept = place / "val_probabilities.npy"
    content = kept.read_bytes()
    try:
        kept.unlink()
        found = smallest(tracker, NAME, datasets.load("mnist5k"))
    finally:
        kept.write_bytes(content)
    assert found.taken.version == best.version
    assert "1 smaller version is significantly worse" in found.text
    assert f"version {small.version} cannot be compared: its predictions" in found.text
