"""The leaderboard command, and the interval that it shows."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from scipy.stats import binomtest

from experiments.evaluation.intervals import accuracy_interval
from experiments.tracking import Selection, Tracker
from experiments.views.leaderboard import rows
from experiments.views.leaderboard_table import print_table
from tests.support.commands import Command, Outcome
from tests.support.stores import Promoted, Swept


def test_rows(swept: Swept, command: Command) -> None:
    found: Outcome = command("experiments.leaderboard", "--study", "small", "--json", cwd=swept.folder)
    assert found.code == 0
    rows = found.json["leaderboard"]
    assert {(row["study"], row["dataset"]) for row in rows} == {("small", "mnist5k")}
    assert rows == swept.result["leaderboard"]
    assert [row["val_accuracy"] for row in rows] == sorted((row["val_accuracy"] for row in rows), reverse=True)
    for row in rows:
        assert row["val_accuracy_low"] < row["val_accuracy"] < row["val_accuracy_high"]
        better = [
            other
            for other in rows
            if (other["val_accuracy"], -other["coreml_bytes"]) != (row["val_accuracy"], -row["coreml_bytes"])
            and other["val_accuracy"] >= row["val_accuracy"]
            and other["coreml_bytes"] <= row["coreml_bytes"]
        ]
        assert row["pareto"] == (not better)
    assert [row["version"] is not None for row in rows] == [True, True, True]  # the best two, and the front


def test_table_shows_what_json_holds(swept: Swept, command: Command) -> None:
    table = command("experiments.leaderboard", cwd=swept.folder).out
    for row in swept.result["leaderboard"]:
        assert f"{row['val_accuracy']:.4f}" in table
        assert f"{row['coreml_bytes']:,}" in table
        assert row["run"] in table
    assert "more runs" in command("experiments.leaderboard", "--limit", "1", cwd=swept.folder).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "nope"], "Unknown study 'nope'"),
        (["--experiment", "nope"], "Unknown experiment 'nope'"),
        (["--limit", "-1"], "at least 0"),
        (["--architecture", "nope"], "Unknown architecture 'nope'"),
        (["--experiment", "mnist5k", "--dataset", "nope"], "Unknown data set 'nope'"),
        (["--model", "nope"], "Unknown registered model 'nope'"),
        (["--model", "mnist5k-classifier", "--study", "nope"], "Unknown study 'nope'"),
        (["--model", "mnist5k-classifier", "--architecture", "nope"], "Unknown architecture 'nope'"),
        (["--model", "mnist5k-classifier", "--dataset", "nope"], "Unknown data set 'nope'"),
        (["--csv", "--markdown"], "Choose one"),
        (["--dataset", "mnist5k", "--image-size", "24x32"], "for --dataset folder:DIR alone, not for mnist5k"),
        (["--dataset", "folder:signs", "--image-size", "24"], "'24' is not HEIGHTxWIDTH"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, swept: Swept, command: Command) -> None:
    found = command("experiments.leaderboard", *arguments, cwd=swept.folder)
    assert found.code == 2
    assert message in found.error


@pytest.mark.parametrize(("correct", "images"), [(0, 10), (10, 10), (1, 1), (485, 500), (9_999, 10_000)])
def test_interval_is_scipys(correct: int, images: int) -> None:
    expected = binomtest(correct, images).proportion_ci(method="wilson")
    assert accuracy_interval(correct, images) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_csv_and_markdown_hold_what_json_does(swept: Swept, command: Command) -> None:
    lines = list(csv.DictReader(io.StringIO(command("experiments.leaderboard", "--csv", cwd=swept.folder).out)))
    for line, row in zip(lines, swept.result["leaderboard"], strict=True):
        assert line.keys() == row.keys()
        for key in ("val_accuracy", "val_accuracy_low", "val_accuracy_high", "coreml_bytes", "latency_ms", "rank"):
            assert float(line[key]) == row[key]
        assert line["pareto"] == str(row["pareto"])
        assert line["version"] == ("" if row["version"] is None else str(row["version"]))
    markdown = command("experiments.leaderboard", "--markdown", cwd=swept.folder).out.splitlines()
    assert markdown[1].startswith("|---")
    assert "95 % interval" in markdown[0]
    assert markdown[0].endswith(" | study | run id |")
    assert markdown[-2:] == ["", "\\* on the Pareto front of accuracy and bytes"]
    for text, row in zip(markdown[2:-2], swept.result["leaderboard"], strict=True):
        assert text.count("|") == markdown[0].count("|")
        assert f"{row['coreml_bytes']:,}{' *' if row['pareto'] else ''} |" in text
        assert text.endswith(f" | small | {row['run_id']} |")


def test_filters(swept: Swept, command: Command) -> None:
    def runs(*arguments: str) -> set[str]:
        found = command("experiments.leaderboard", "--json", *arguments, cwd=swept.folder)
        assert found.code == 0, found.err
        return {row["run_id"] for row in found.json["leaderboard"]}

    board = swept.result["leaderboard"]
    for name in ("chollet", "malireddi"):
        assert runs("--architecture", name) == {row["run_id"] for row in board if row["architecture"] == name} != set()
    assert runs("--architecture", "chollet", "--architecture", "malireddi") == {row["run_id"] for row in board}
    assert runs("--dataset", "mnist5k", "--study", "small") == {row["run_id"] for row in board}
    one = command("experiments.leaderboard", "--json", "--limit", "1", cwd=swept.folder).json
    assert one["more"]
    assert one["leaderboard"] == board[:1]


def test_wide_terminal_shows_study_and_run_id(swept: Swept, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for width, shown in ((200, ("study", "run id")), (120, ("study",)), (100, ())):
        monkeypatch.setattr("architectures.command.PIPE_WIDTH", width)
        table = command("experiments.leaderboard", cwd=swept.folder).out
        head = " ".join(table[: table.index(swept.result["leaderboard"][0]["run"])].split())
        assert [word for word in ("study", "run id") if f" {word} " in f"{head} "] == list(shown)
        assert ("run ids: --json" in table) == ("run id" not in shown)
        for row in swept.result["leaderboard"]:
            assert ("run id" in shown) == (row["run_id"] in table)
        assert " study " not in command("experiments.leaderboard", "--study", "small", cwd=swept.folder).out


def test_narrow_terminal_keeps_what_differs(swept: Swept, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("architectures.command.PIPE_WIDTH", 80)  # the console is the real one: it escapes what it shows
    table = command("experiments.leaderboard", cwd=swept.folder).out
    assert max(map(len, table.splitlines())) <= 80
    assert "\\n" not in table
    board = swept.result["leaderboard"]
    head, under = table[: table.index(board[0]["run"])], " ".join(table[table.index("* on the Pareto front") :].split())
    for setting, key in (("filters", "filters"), ("dropout", "dropout"), ("batch", "batch_size")):
        differs = len({row[key] for row in board}) > 1
        assert (setting in head) == differs
        assert (f"{setting} {board[0][key]}" in under) == (not differs)
    assert "the same in all rows: " in under
    ends = [row[f"val_accuracy_{end}"] - row["val_accuracy"] for row in board for end in ("low", "high")]
    interval = f"95 % intervals of val acc: {max(map(abs, ends)):.3f} or less either way"
    assert ("95 %" in head) != (interval in under)
    for row in board:
        assert row["run"] in table
        assert f"{row['dropout']:.2f}" in table
        assert f"{row['coreml_bytes']:,}" in table
    assert "run ids: --json" in under


def test_narrow_terminal_moves_what_other_values_share_under_the_table(
    swept: Swept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (row, *_) = rows(Tracker(swept.uri), Selection("mnist5k"), limit=1)
    row = replace(row, augment="digits", schedule="constant", learning_rate=1e-3)
    board = [replace(row, knobs={"activation": name}) for name in ("relu", "elu")]
    for width in (300, 80):
        monkeypatch.setattr("architectures.command.PIPE_WIDTH", width)
        print_table(board, "mnist5k")
        table = capsys.readouterr().out
        above, _, under = table.partition("* on the Pareto front")
        assert "activation relu" in " ".join(above.split()) or "relu" in above
        assert ("augmented" in above) == (width == 300)
        assert ("rate constant" in " ".join(under.split())) == (width == 80)


def test_narrow_terminal_shows_seeds_other_values_and_promotions(
    swept: Swept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("architectures.command.PIPE_WIDTH", 80)
    (row, *_) = rows(Tracker(swept.uri), Selection("mnist5k"), limit=1)
    row = replace(
        row, run="malireddi-12", knobs={"blocks": 3}, learning_rate=0.5, augment="digits", coreml_bytes=1_234_567
    )
    replicated = replace(row, seeds=3, mean_val_accuracy=0.9701, mean_low=0.96, mean_high=0.98)
    version = replace(
        row, aliases=("candidate", "champion"), promoted_bytes=94_000, compression="none", test_accuracy=0.9
    )
    for one, shown in (
        (replicated, ("malireddi-12", "0.9701", "learning")),
        (version, ("champion", "94,000", "0.9000")),
    ):
        print_table([one], "mnist5k", versions=one is version)
        table = capsys.readouterr().out
        assert max(map(len, table.splitlines())) <= 80
        for text in (*shown, "95 %", f"{row.val_accuracy_low:.3f} to", "1,234,567"):
            assert text in table


def test_versions_of_a_registered_model(promoted: Promoted, command: Command) -> None:
    arguments = ["--model", "mnist5k-classifier"]
    result = command("experiments.leaderboard", *arguments, "--json", cwd=promoted.folder).json
    assert (result["experiment"], result["model"]) == (None, "mnist5k-classifier")
    found = result["leaderboard"]
    assert [row["version"] for row in found] == [1, 2, 3]
    champion = found[0]
    assert set(champion["aliases"]) == {"candidate", "champion"}
    assert champion["promoted_bytes"] == len(promoted.file)
    assert champion["test_accuracy"] == promoted.result["test_accuracy"]
    assert found[1]["test_accuracy"] is None
    table = command("experiments.leaderboard", *arguments, cwd=promoted.folder).out
    assert "candidate, champion" in table
    assert f"{len(promoted.file):,} none" in table


def test_resized_folder_is_named_as_for_a_sweep(tmp_path: Path, command: Command) -> None:
    resized = f"folder:{tmp_path / 'signs'}?image_size=24x32&color_mode=rgb&fit=crop&background=white"
    runs: list[dict[str, object]] = [
        {"accuracy": 0.9, "bytes": 100, "dataset": dataset} for dataset in (resized, resized.partition("?")[0])
    ]
    ids = write_runs(f"sqlite:///{tmp_path / 'mlflow.db'}", runs, experiment="folder-signs-24x32-rgb")
    options = ["--dataset", "folder:signs", "--image-size", "24x32", "--color-mode", "rgb", "--json"]
    found: Outcome = command("experiments.leaderboard", *options, cwd=tmp_path)
    assert found.code == 0, found.err
    assert [row["run_id"] for row in found.json["leaderboard"]] == ids[:1]


def write_runs(uri: str, runs: Sequence[dict[str, object]], *, experiment: str = "mnist5k") -> list[str]:
    """Runs with the figures that a sweep would record."""
    client = MlflowClient(uri)
    experiment_id = client.create_experiment(experiment)
    ids = []
    for number, run in enumerate(runs):
        tags = {"study": run.get("study", "one"), "trial_number": number, "val_images": 500} | dict(run.get("tags", {}))
        made = client.create_run(experiment_id, tags={key: str(value) for key, value in tags.items()})
        params = {"filters": 8, "dropout": 0.1, "batch_size": 64, "learning_rate": 1e-3}
        params |= {"epochs": 1, "seed": 0, "precision": "float32", "optimizer": "adam", "augment": "off"}
        params["dataset"] = run.get("dataset", "mnist5k")
        params["architecture"] = run.get("architecture", "pocket")
        figures = {"best_val_accuracy": run["accuracy"], "coreml_bytes": run["bytes"], "best_epoch": 1}
        figures |= {"parameters": 9, "latency_ms": 1.0}
        client.log_batch(
            made.info.run_id,
            metrics=[Metric(key, float(str(value)), 0, 1) for key, value in figures.items()],
            params=[Param(key, str(value)) for key, value in params.items()],
        )
        client.set_terminated(made.info.run_id, str(run.get("status", "FINISHED")))
        ids.append(made.info.run_id)
    return ids


def test_first_rows_are_those_of_the_whole_board(tmp_path: Path) -> None:
    """Many share an accuracy, as they do on 500 images: what is asked of MLflow in parts is what all of it says."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    chosen = random.Random(5)
    runs: list[dict[str, object]] = [
        {
            "accuracy": chosen.choice([0.9, 0.92, 0.92, 0.94]),
            "bytes": chosen.choice([100, 200, 300, 400]),
            "architecture": chosen.choice(["pocket", "resnet", "chollet"]),
            "study": chosen.choice(["one", "two"]),
            "status": chosen.choice(["FINISHED", "FINISHED", "FAILED"]),
            "tags": chosen.choice([{}, {}, {"duplicate_of": "x"}]),
        }
        for _ in range(60)
    ]
    write_runs(uri, runs)
    tracker = Tracker(uri)
    for selection in (Selection("mnist5k"), Selection("mnist5k", "two", ("pocket", "resnet"))):
        whole = rows(tracker, selection)
        assert len(whole) > 8
        assert 0 < [row.pareto for row in whole].count(True) < len(whole)
        for limit in (1, 2, 5, 8, 100):
            assert rows(tracker, selection, limit=limit) == whole[:limit]


def test_replicated_runs_come_first_within_a_study(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    replicate = {"study": "one", "tags": {"replicate_of": "1"}}
    runs: list[dict[str, object]] = [
        {"accuracy": 0.97, "bytes": 100},
        {"accuracy": 0.93, "bytes": 50, "tags": {"replicated": "True"}},
        {"accuracy": 0.91, "bytes": 50, **replicate},
        {"accuracy": 0.92, "bytes": 50, **replicate},
        {"accuracy": 0.96, "bytes": 40, "study": "two"},
    ]
    ids = write_runs(uri, runs)
    tracker = Tracker(uri)
    for limit in (None, 1, 2):
        (first, *_) = rows(tracker, Selection("mnist5k", "one"), limit=limit)
        assert (first.run_id, first.seeds, first.pareto) == (ids[1], 2, True)
        assert first.mean_val_accuracy == pytest.approx(0.915)
    board = rows(tracker, Selection("mnist5k"), limit=3)
    assert [row.run_id for row in board] == [ids[0], ids[4], ids[1]]
    assert [row.seeds for row in board] == [0, 0, 2]
    assert [row.pareto for row in board] == [True, True, False]
