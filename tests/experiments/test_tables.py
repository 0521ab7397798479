"""Tables in a terminal that is too narrow for them."""

from __future__ import annotations

import re

import pytest

from experiments import model_files, reproduction
from experiments.tracking import StoredModel
from experiments.views import comparison, tables

COLUMNS = 80


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("architectures.command.PIPE_WIDTH", COLUMNS)  # the real console, which makes names safe


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What was printed, and its tables' texts column by column, as one that folds is read."""
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= COLUMNS
    rows = [re.split("[│┃]", line) for line in out.splitlines() if re.search("[│┃]", line)]
    width = max(map(len, rows))
    return out, "\n".join("".join(row[number].strip() for row in rows if len(row) == width) for number in range(width))


def test_a_caption_has_lines_and_names_in_it_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    tables.print_cells(["run"], [["a" * 40]], caption=["* on [the] front", "with: name\x1b of\u2028two\nlines"])
    lines = [line.strip() for line in printed(capsys)[0].splitlines()]
    assert lines[-2:] == ["* on [the] front", r"with: name\x1b of\u2028two\nlines"]


def test_prune(capsys: pytest.CaptureFixture[str]) -> None:
    models = [
        StoredModel(f"m-{number:032x}", "folder-signs", "b" * 32, "malireddi-12", 1_234_567, needed)
        for number, needed in enumerate([None, "version 12 of folder-signs-classifier"])
    ]
    model_files.show(model_files.Pruning(True, tuple(models[:1]), tuple(models[1:]), ()))
    out, columns = printed(capsys)
    for whole in ("model", "folder-signs", "malireddi-12", "1,234,567", "kept", "reason"):
        assert whole in out
    for model in models:
        assert model.model_id in columns
    assert "nothing" in out


def test_compare_three_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        comparison.Compared(
            run_id=str(number) * 32,
            run=f"malireddi-{number}",
            study="small",
            status="FINISHED",
            outcome=None,
            parameters={"dataset": "folder:/data/road signs", "label_smoothing": f"0.{number}"},
            origin={"mlflow.source.git.commit": f"{number}bcdef" * 7, "processor": "Some Processor 8160 @ 2.10GHz"},
            metrics={"coreml_bytes": 1_234_567.0 + number, "best_val_accuracy": 0.96},
            epochs=(),
        )
        for number in (1, 2, 3)
    ]
    lines = [
        tuple(comparison.Line(key, tuple(getattr(run, kind)[key] for run in runs)) for key in getattr(runs[0], kind))
        for kind in ("parameters", "origin", "metrics")
    ]
    comparison.show(comparison.RunComparison(tuple(runs), *lines))
    out, _ = printed(capsys)
    for whole in ("mlflow.source.git.commit", "label_smoothing", "best_val_accuracy", "malireddi-3", "1,234,570"):
        assert whole in out
    assert re.search("≠ │ label_smoothing", out)


def test_reproduce(capsys: pytest.CaptureFixture[str]) -> None:
    figures = (reproduction.Difference("val_accuracy", 12, 0.9639999866485596, 0.9620000123977661),)
    conditions = (
        reproduction.Condition(
            "code", "commit 0123456789ab, SHA-256 0123456789ab...", "commit ba9876543210, SHA-256 none"
        ),
        reproduction.Condition("package tensorflow", "2.16.2", "2.17.0"),
    )
    reproduction.show(reproduction.Reproduction("a" * 32, "pocket-1", None, True, 1, True, figures, conditions, 1, 2.0))
    out, _ = printed(capsys)
    assert out.startswith("differs: pocket-1, 1 figure of 1 epoch and the weights, on 1 thread")
    for whole in (
        "val_accuracy",
        "0.9639999866485596",
        "0.9620000123977661",
        "-2.0e-03",
        "package tensorflow",
        "2.17.0",
        "0123456789ab...",
    ):
        assert whole in out


def test_figures_and_the_narrowest_columns_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    titles, line = ["run", *map(str, range(9))], ["pocket-1", *["0.9639999866485596"] * 9]
    tables.print_cells(titles, [line])
    assert capsys.readouterr().out.count("0.9639999866485596") == 9
