"""Two objectives, a limit on bytes, and knobs: what a study and MLflow hold afterwards."""

from __future__ import annotations

import random
from pathlib import Path

import optuna
import pytest
from mlflow.entities import Run
from optuna.trial import FrozenTrial, TrialState

from benchmarks.no_training import NoTraining
from conversion.coreml.convert import convert
from conversion.promotion.candidate import load_candidate
from experiments.config import ModelSize
from experiments.tracking import Tracker
from search.config import SweepConfig
from search.engines.messages import Job
from search.orchestrate import sweep
from search.study.pruning import RANDOM_TRIALS, WARMUP_EPOCHS, Course, cannot_enter_front
from search.study.ranking import Scored, front, front_of_objectives, ranked
from tests.support.commands import Command, Outcome, invoke
from tests.support.stores import MadeOnce, Swept
from tests.support.sweeps import DIGITS, NO_FIGURES, children_of, study_of
from tests.support.warm import Program

KNOBBED = """
import keras
from architectures import register

@register(default_filters=4, knobs={"kernel_size": (5, 3), "activation": ("relu", "tanh")})
def knobbed(input_shape, num_classes, *, filters, dropout, kernel_size, activation):
    layers = [
        keras.layers.Conv2D(filters, kernel_size, strides=4, activation=activation),
        keras.layers.Flatten(),
        keras.layers.Dropout(dropout),
    ]
    return keras.Sequential(
        [keras.Input(input_shape), *layers, keras.layers.Dense(num_classes, activation="softmax")]
    )
"""
LIMIT = 15_000  # in half precision: malireddi with 8 filters fits, with 16 it does not
TRIALS = 6
OPTIONS = [
    *(
        "--objective",
        "val_accuracy,coreml_bytes",
        "--max-coreml-bytes",
        LIMIT,
        "--compress",
        "float16",
        "--epochs",
        "4",
    ),
    *("--plugin", "knobbed.py", "--architecture", "knobbed", "--architecture", "malireddi", "--filters", "4,8,16"),
    *DIGITS,
    *("--batch-size", "256", "--label-smoothing", "0:0.1", "--augment", "search", "--keep", "2"),
    *NO_FIGURES,
]


@pytest.fixture(scope="module")
def study(made_once: MadeOnce) -> Swept:
    """A sweep with everything at once, killed in the middle of its first trial and continued without its options."""

    def sweep(folder: Path) -> Outcome:
        (folder / "knobbed.py").write_text(KNOBBED)
        at = ["search.study.judge:Judge.report", "3", "after"]  # two epochs are in MLflow, three in the study
        options = ["--study", "front", "--trials", "4", *map(str, OPTIONS)]
        killed = Program("tests.support.killed_at", *at, *options, cwd=folder)
        assert killed.wait() == 9, killed.communicate()
        return invoke("search.sweep", "--study", "front", "--trials", TRIALS, *NO_FIGURES, "--json", cwd=folder)

    return Swept(*made_once("front", sweep))


@pytest.fixture(scope="module")
def trials(study: Swept) -> list[FrozenTrial]:
    loaded = optuna.load_study(study_name="front", storage=f"sqlite:///{study.folder / 'optuna.db'}")
    assert [direction.name for direction in loaded.directions] == ["MAXIMIZE", "MINIMIZE"]
    return loaded.trials


@pytest.fixture(scope="module")
def children(study: Swept) -> list[Run]:
    return children_of(study.folder, "front")


@pytest.mark.slow
def test_each_trial_ends_as_its_run_does(study: Swept, trials: list[FrozenTrial], children: list[Run]) -> None:
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert [int(run.data.tags["trial_number"]) for run in children] == list(range(TRIALS))
    ends = []
    for trial, run in zip(trials, children, strict=True):
        size = run.data.metrics["coreml_bytes"]
        assert trial.constraints == {"coreml_bytes": size - LIMIT}
        outcome = run.data.tags.get("outcome")
        ends.append(outcome or "complete")
        if size > LIMIT:
            assert (trial.state, run.info.status, outcome) == (TrialState.PRUNED, "KILLED", "infeasible")
            assert "val_accuracies" not in trial.user_attrs
            assert "val_accuracy" not in run.data.metrics
        elif outcome == "pruned":
            assert (trial.state, run.info.status) == (TrialState.PRUNED, "KILLED")
            assert WARMUP_EPOCHS < len(trial.user_attrs["val_accuracies"]) < 4
        else:
            assert (trial.state, run.info.status) == (TrialState.COMPLETE, "FINISHED")
            assert trial.values == [run.data.metrics["best_val_accuracy"], size]
            assert len(trial.user_attrs["val_accuracies"]) == 4
    counts = study.result["counts"]
    assert counts == {kind: ends.count(kind) for kind in ("complete", "pruned", "infeasible")} | {"fail": 0}
    assert counts["infeasible"] > 0


@pytest.mark.slow
def test_networks_of_the_same_widths_have_one_size_known_before_training(children: list[Run]) -> None:
    sizes: dict[object, set[float]] = {}
    for run in children:
        params = run.data.params
        network = (params["architecture"], params["filters"], params.get("kernel_size"), params.get("activation"))
        sizes.setdefault(network, set()).add(run.data.metrics["coreml_bytes"])
    assert all(len(found) == 1 for found in sizes.values())


def test_what_one_process_has_measured_the_next_one_does_not_convert_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs: list[Job] = []

    class Noting(NoTraining):
        def submit(self, job: Job) -> None:
            jobs.append(job)
            super().submit(job)

    def run(trials: int) -> list[Job]:
        """What a sweep trains that knows of two networks only what its study holds."""
        jobs.clear()
        config = SweepConfig("sqlite:///mlflow.db", "sizes", trials=trials, epochs=1, filters=(8,), figures=False)
        sweep(config, engine=lambda _: Noting())
        return [*jobs]

    assert [job.size for job in run(2)] == [None, None]
    assert {job.size for job in run(4)} == {ModelSize(800, 8_000, 4_000)}
    study = study_of(tmp_path, "sizes")
    for name in [name for name in study.user_attrs if name.startswith("size of ")]:
        study.set_user_attr(name, study.user_attrs[name] | {"code": "another"})
    assert None in {job.size for job in run(6)}


@pytest.mark.slow
def test_knobs_belong_to_their_architecture_and_read_back(
    study: Swept, trials: list[FrozenTrial], children: list[Run]
) -> None:
    tracker = Tracker(f"sqlite:///{study.folder / 'mlflow.db'}")
    for trial, run in zip(trials, children, strict=True):
        knobbed = trial.params["architecture"] == "knobbed"
        assert ("knobbed.kernel_size" in trial.params) == ("kernel_size" in run.data.params) == knobbed
        config = tracker.runs.get(run.info.run_id).config
        assert config.compress == run.data.params["compress"] == "float16"
        assert config.augment == trial.params["augment"]
        assert config.label_smoothing == trial.params["label_smoothing"]
        if knobbed:
            own = {name: trial.params[f"knobbed.{name}"] for name in ("activation", "kernel_size")}
            assert dict(config.knobs) == own
        else:
            assert config.knobs == ()
    assert children[0].data.params["kernel_size"] == "5"  # as published: the first choice


@pytest.mark.slow
def test_the_front_is_registered_and_its_files_have_the_bytes_that_were_known(study: Swept) -> None:
    folder, result = study.folder, study.result
    board = result["leaderboard"]
    leading = [row for row in board if row["pareto"]]
    assert {row["version"] for row in leading} <= set(result["registered"])
    assert any(row["knobs"] for row in board)
    (own,) = [row for row in board if row["run"] == "knobbed-0"]
    assert own["knobs"] == {"activation": "relu", "kernel_size": 5}
    row = next(row for row in board if row["version"] and row["knobs"])
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}")
    plugin = str(folder / "knobbed.py")
    candidate = load_candidate(
        tracker, command="test", name="digits-classifier", run_id=row["run_id"], plugins=(plugin,)
    )
    shipped = convert(candidate.classifier, candidate.facts, compression="float16")
    assert shipped.size_bytes == row["coreml_bytes"]  # known before training, knobs and all


def test_a_limit_that_nothing_meets(command: Command) -> None:
    options = ["--architecture", "malireddi", "--filters", "4", "--batch-size", "64", "--max-coreml-bytes", "1000"]
    found = command("search.sweep", "--study", "tight", "--trials", "3", *options)
    assert found.code == 1
    assert "No trial's file was within --max-coreml-bytes" in found.err
    assert found.err.count("infeasible: ") == 3
    again = command("search.sweep", "--study", "tight", "--max-coreml-bytes", "2000")
    assert again.code == 2
    assert "made with max_coreml_bytes 1000, not 2000" in again.error


COURSES = [Course((1_000 * number,), (0.5, 0.6, 0.7, 0.5 + 0.05 * number)) for number in range(4, 4 + RANDOM_TRIALS)]


def test_a_trial_is_pruned_when_no_finished_one_has_gained_what_it_lacks() -> None:
    behind = (0.1, 0.2, 0.3)
    assert cannot_enter_front(Course((9_000,), behind), COURSES)
    assert not cannot_enter_front(Course((3_999,), behind), COURSES)  # the smallest enters whatever it learns
    assert not cannot_enter_front(Course((9_000,), behind[:WARMUP_EPOCHS]), COURSES)
    assert not cannot_enter_front(Course((9_000,), behind), COURSES[:-1])
    # From 0.3 error to 0.15 after three epochs is the most that one has gained: half of 0.28 is better than 0.15.
    assert not cannot_enter_front(Course((9_000,), (0.1, 0.2, 0.72)), COURSES)
    assert cannot_enter_front(Course((9_000,), (0.1, 0.2, 0.69)), COURSES)


def test_a_model_that_was_not_worth_keeping_never_is_later() -> None:
    """What is kept holds the best of the ranking at any time, and only ever loses old members."""
    draw = random.Random(0)
    for _ in range(200):
        scored: list[Scored] = []
        kept: set[Scored] = set()
        for number in range(12):
            new = Scored(
                number, draw.randint(0, 9) / 10, draw.randint(1, 9), costs=(draw.randint(1, 9), draw.randint(1, 9))
            )
            scored.append(new)
            keepers = {*ranked(scored, front_first=False)[:3], *front(scored), *front_of_objectives(scored)}
            assert keepers <= kept | {new}
            kept = keepers
            assert set(ranked(scored, front_first=True)[:3]) <= kept
