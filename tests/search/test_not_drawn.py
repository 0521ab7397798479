"""What an evaluation, a figure or a report raises costs neither a trial nor the sweep: the run says what is missing."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mlflow import MlflowClient

from benchmarks.no_training import NoTraining
from experiments import datasets
from experiments.attempts import Attempts
from experiments.config import RunResult
from experiments.evaluation import report as evaluation_report
from experiments.evaluation.metrics import EVALUATED, evaluate
from experiments.evaluation.report import write_report
from experiments.tracking import Tracker
from search import doctor, ending
from search.config import SweepConfig
from search.engines import trainer
from search.engines.messages import Event, Finished
from search.orchestrate import SweepResult, sweep
from search.report import figures
from search.report import page as report_page
from search.trials.recovery import PREDICTIONS_LOST, evaluate_again


def full(path: Path, text: str, **options: str) -> None:
    """In place of Path.write_text: a disk that takes neither a report nor what would stand in its place."""
    if path.name in ("report.html", "not_drawn.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    path.write_bytes(text.encode())


class NeverRight(NoTraining):
    def provide(self, dataset_folder: Path) -> None:
        super().provide(dataset_folder)
        self._probabilities = np.roll(self._probabilities, 1, axis=1)

    def next_event(self, timeout: float | None = None) -> Event | None:
        event = super().next_event(timeout)
        if isinstance(event, Finished):
            return replace(event, result=replace(event.result, not_measured="drawn_accuracy: TypeError: no pen"))
        return event


def fails(*arguments: object, **named: object) -> None:
    raise TypeError("the pen is\nbroken")


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweepResult]:
    """A sweep of two trials that trains nothing, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(
        "sqlite:///mlflow.db", "small", dataset="digits", trials=2, epochs=2, pruner="none", filters=(4,), keep=2
    )
    return lambda engine=NoTraining: sweep(config, engine=lambda setup: engine())


def client() -> MlflowClient:
    return MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")  # MLflow keeps one engine for a relative path


def runs() -> tuple[list, object]:
    """Those of the trials, and the parent."""
    store = client()
    found = store.search_runs([store.get_experiment_by_name("digits").experiment_id])
    (parent,) = (run for run in found if run.data.tags.get("sweep") == "parent")
    return [run for run in found if run is not parent], parent


def artifacts(run) -> set[str]:
    return {
        Path(entry.path).name
        for place in ("evaluation", "study")
        for entry in client().list_artifacts(run.info.run_id, place)
    }


def test_no_right_answer_is_an_evaluation_like_any_other(tmp_path: Path) -> None:
    labels = np.arange(12) % 3
    found = evaluate(np.eye(3, dtype=np.float32)[(labels + 1) % 3], labels, ("a", "b", "c"))
    assert (found.correct, [each.images for each in found.classes]) == (0, [4, 4, 4])
    assert all(type(each.images) is int for each in found.classes)
    attempts = Attempts()
    write_report(found, np.zeros((12, 8, 8, 1), np.uint8), tmp_path, what="validation", attempts=attempts)
    assert not attempts.reasons
    assert "0.0000       4\n" in (tmp_path / "classification_report.txt").read_text()


def test_a_digit_that_cannot_be_drawn_costs_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "drawn_accuracy", fails)
    measured = RunResult(**dict.fromkeys(field.name for field in fields(RunResult) if field.default is MISSING))
    found = trainer.with_drawn_accuracy(measured, SimpleNamespace(forward=None, dataset=None))
    assert (found.drawn_accuracy, found.not_measured) == (None, "drawn_accuracy: TypeError: the pen is broken")


@pytest.mark.slow
def test_a_sweep_of_models_without_a_right_answer(
    swept: Callable[..., SweepResult], capfd: pytest.CaptureFixture[str]
) -> None:
    result = swept(NeverRight)
    assert result.counts["complete"] == 2
    assert "warning: trial 0: not measured: drawn_accuracy: TypeError: no pen" in capfd.readouterr().err
    trials, parent = runs()
    for run in trials:
        assert run.info.status == "FINISHED"
        assert run.data.metrics["macro_recall"] == 0
        assert run.data.tags["not_measured"] == "drawn_accuracy: TypeError: no pen"
        assert "not_drawn" not in run.data.tags
    assert parent.info.status == "FINISHED"
    assert doctor.main(["--study", "small"]) == 0


@pytest.mark.slow
def test_what_cannot_be_drawn_is_told(
    swept: Callable[..., SweepResult], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(evaluation_report, "draw_reliability", fails)
        broken.setattr(figures, "_courses", fails)
        result = swept()
        told = capfd.readouterr().err
    assert result.counts["complete"] == 2
    assert len(result.registered) == 2
    assert "warning: trial 0: not drawn: reliability.png: TypeError: the pen is broken" in told
    trials, parent = runs()
    for run in trials:
        assert run.data.tags["not_drawn"] == "reliability.png: TypeError: the pen is broken"
        assert EVALUATED in run.data.metrics
        assert {"mistakes.png", "confusion_matrix.png", "evaluation.json", "not_drawn.txt"} <= artifacts(run)
        assert "reliability.png" not in artifacts(run)
    assert "intermediate_values: TypeError: the pen is broken" in parent.data.tags["not_drawn"]
    assert parent.info.status == "FINISHED"
    folder = client().download_artifacts(parent.info.run_id, "study")
    page = (Path(folder) / "report.html").read_text()
    assert "Could not be drawn: TypeError: the pen is broken" in page
    assert "<h2>Not drawn</h2>" in page
    assert "trial 0" in page.partition("<h2>Not drawn</h2>")[2]

    assert doctor.main(["--study", "small"]) == 0  # it can be drawn now
    told = capfd.readouterr().out
    assert "its evaluation lacks reliability.png" in told
    assert "its report lacks intermediate_values: TypeError" in told
    trials, parent = runs()
    for run in (*trials, parent):
        assert "not_drawn" not in run.data.tags
        assert "not_drawn.txt" not in artifacts(run)
    assert all("reliability.png" in artifacts(run) for run in trials)
    assert "intermediate_values.png" in artifacts(parent)
    folder = client().download_artifacts(parent.info.run_id, "study")
    page = (Path(folder) / "report.html").read_text()
    assert "Could not be drawn" not in page
    assert "<h2>Not drawn</h2>" not in page
    assert doctor.main(["--study", "small"]) == 0
    assert capfd.readouterr().out == "0 disagreements, 0 repaired.\n"


def test_answers_that_were_not_kept_are_said_to_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = Tracker("sqlite:///mlflow.db")
    store = client()
    run = store.create_run(tracker.experiment("digits"))  # without a model
    told = evaluate_again(tracker.runs.get(run.info.run_id), tracker, datasets.load("digits"), figures=False)
    assert told == f"evaluation: {PREDICTIONS_LOST}"
    assert store.get_run(run.info.run_id).data.tags["not_drawn"] == told


def test_an_evaluation_that_fails_as_a_whole(
    swept: Callable[..., SweepResult], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(evaluation_report, "evaluate", fails)
        broken.setattr(report_page, "compare_architectures", fails)
        broken.setattr(ending.leaderboard, "rows", fails)
        broken.setattr(report_page, "_page", fails)
        broken.setattr(report_page, "draw_figures", fails)
        assert swept().report
        broken.setattr(Path, "write_text", full)
        result = swept()  # continued: nobody tries for ever
        assert (result.counts["complete"], result.report) == (2, None)
        assert "files: OSError: [Errno 28] No space left on device" in runs()[1].data.tags["not_drawn"]
        assert "not drawn: " in capfd.readouterr().err
        assert doctor.main(["--study", "small"]) == 1
        told = capfd.readouterr().out
        assert "unrepaired small, trial 0: its evaluation lacks evaluation: TypeError" in told
        assert "files: OSError: [Errno 28] No space left on device" in told
    trials, parent = runs()
    assert all(run.info.status == "FINISHED" and EVALUATED not in run.data.metrics for run in trials)
    for part in ("comparison", "leaderboard", "figures", "report.html"):
        assert f"{part}: TypeError: the pen is broken" in parent.data.tags["not_drawn"]
    page = Path(client().download_artifacts(parent.info.run_id, "study")) / "report.html"
    assert "the pen is" in page.read_text()
    assert doctor.main(["--study", "small"]) == 0
    trials, parent = runs()
    assert all(EVALUATED in run.data.metrics for run in trials)
    assert not any("not_drawn" in run.data.tags or "not_drawn.txt" in artifacts(run) for run in (*trials, parent))
