"""Runs side by side, as tables and curves in the terminal, as JSON and as a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mlflow import MlflowClient

from experiments.config import EpochMetrics
from experiments.tracking import Tracker
from experiments.views.comparison import BARS, CURVES, Compared, RunComparison, compare, show, sparklines, text
from tests.support.commands import Command
from tests.support.stores import Swept


@pytest.fixture
def run_ids(swept: Swept) -> list[str]:
    return [row["run_id"] for row in swept.result["leaderboard"]]


def test_json_holds_what_mlflow_does(swept: Swept, run_ids: list[str], command: Command) -> None:
    found = command("experiments.compare", *run_ids, "--json", cwd=swept.folder)
    assert found.code == 0, found.err
    client = MlflowClient(swept.uri)
    assert [run["run_id"] for run in found.json["runs"]] == run_ids
    for run in found.json["runs"]:
        held = client.get_run(run["run_id"])
        assert run["parameters"] == held.data.params
        assert run["metrics"]["coreml_bytes"] == held.data.metrics["coreml_bytes"]
        history = client.get_metric_history(run["run_id"], "val_loss")
        assert [one["val_loss"] for one in run["epochs"]] == [point.value for point in history]
    assert "architecture" in found.json["differing"]
    assert "dataset" not in found.json["differing"]
    assert found.json["same_data"] is True


def test_tables_put_first_what_differs(swept: Swept, run_ids: list[str], command: Command) -> None:
    out = command("experiments.compare", *run_ids[:2], cwd=swept.folder).out
    for row in swept.result["leaderboard"][:2]:
        assert row["run"] in out
        assert f"{row['coreml_bytes']:,}" in out
    parameters = [line.split("│")[1:3] for line in out[: out.index("result")].splitlines() if line.startswith("│")]
    marks = [mark.strip() for mark, _ in parameters]
    assert marks == sorted(marks, reverse=True)
    assert ["", "dataset"] in [[mark.strip(), name.strip()] for mark, name in parameters]
    for curve in ("validation accuracy", "training accuracy", "validation loss", "training loss"):
        assert f"{curve}, scale" in out
    assert set("".join(re.findall(f"[{BARS}]", out))) >= {BARS[0], BARS[-1]}


def test_page_needs_no_network(swept: Swept, run_ids: list[str], command: Command, tmp_path: Path) -> None:
    page = tmp_path / "runs <1>.html"
    found = command("experiments.compare", *run_ids, "--html", page, "--json", cwd=swept.folder)
    assert found.code == 0, found.err
    assert found.json["runs"]
    html = page.read_text()
    assert not re.search(r"<(script|link|img)[^>]* (src|href)=", html)
    assert html.count('<div class="figure">') == 4  # one per curve
    assert len(html) < 2_200_000  # plotly.js once
    best = swept.result["leaderboard"][0]
    assert html.index("Most accurate") < html.index(f"experiments.reproduce {best['run_id']}") < html.index("<table")
    for row in swept.result["leaderboard"]:
        assert f"{row['coreml_bytes']:,}" in html
        assert row["run_id"] in html
    assert [file.name for file in tmp_path.iterdir()] == [page.name]


def test_runs_without_epochs_and_on_other_data(own_store: Path, run_ids: list[str], command: Command) -> None:
    client = MlflowClient(f"sqlite:///{own_store / 'mlflow.db'}")
    other = client.create_experiment("other")
    run_id = client.create_run(other, run_name="elsewhere", tags={"dataset_digest": "f" * 64}).info.run_id
    client.set_terminated(run_id, "FAILED")
    found = command("experiments.compare", run_ids[0], run_id, "--html", "page.html", cwd=own_store)
    assert found.code == 0, found.err
    assert "different data" in found.out
    assert "FAILED" in found.out
    page = (own_store / "page.html").read_text()
    assert "different data" in page
    assert "Next: compare runs of the same data" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{0}"], "at least two different runs"),
        (["{0}", "{0}"], "at least two different runs"),
        (["{0}", "nope"], "Unknown run 'nope'"),
    ],
)
def test_wrong_usage(
    arguments: list[str],
    message: str,
    swept: Swept,
    run_ids: list[str],
    command: Command,
) -> None:
    found = command("experiments.compare", *(one.format(*run_ids) for one in arguments), cwd=swept.folder)
    assert found.code == 2
    assert message in found.error


def test_page_that_cannot_be_written_is_named(
    swept: Swept, run_ids: list[str], command: Command, tmp_path: Path
) -> None:
    page = tmp_path / "missing" / "runs.html"
    found = command("experiments.compare", *run_ids, "--html", page, cwd=swept.folder)
    assert found.code == 1
    assert found.err == f"error: No such file or directory: {page}\n"


def test_two_runs_of_one_name_are_told_apart(swept: Swept, own_store: Path, run_ids: list[str]) -> None:
    from experiments.views.comparison import headings

    uri = f"sqlite:///{own_store / 'mlflow.db'}"
    MlflowClient(uri).update_run(run_ids[1], name=swept.result["leaderboard"][0]["run"])
    heads = headings(compare(Tracker(uri), run_ids).runs)
    assert heads[0].endswith(run_ids[0][:8])
    assert len(set(heads)) == len(run_ids)


def test_sparklines() -> None:
    assert sparklines([[2.0, 2.0]], 2.0, 2.0, width=40) == [BARS[0] * 2]
    rising = [float(value) for value in range(1_000)]
    long, half = sparklines([rising, rising[:500]], 0.0, 999.0, width=40)
    assert (len(long), len(half)) == (40, 20)
    assert long.startswith(half)
    assert long[-1] == BARS[-1]
    assert list(long) == sorted(long, key=BARS.index)


def test_curves_of_many_epochs_do_not_fold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("architectures.command.PIPE_WIDTH", 80)
    runs = [
        Compared(
            *("0" * 32, name, "one", "FINISHED", None, {}, {}, {}),
            tuple(
                EpochMetrics(epoch, 2 / epoch, 1 - 1 / epoch, 3 / epoch, 1 - 1 / (epoch + 1), 1.0) for epoch in epochs
            ),
        )
        for name, epochs in (("mobilenet_v3-12", range(1, 61)), ("pocket-3", range(1, 31)), ("pruned-4", range(0)))
    ]
    show(RunComparison(tuple(runs), (), (), ()))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for name, length in (("mobilenet_v3-12", 21), ("pocket-3", 11)):
        curves = [line.split("│")[2].strip() for line in out.splitlines() if line.startswith(f"│ {name} ")]
        assert [len(curve) for curve in curves] == [length] * len(CURVES)
    assert "pruned-4" not in out[out.index("scale") :]


def test_text() -> None:
    assert (text(343.9049), text(0.0), text(2774.25)) == ("343.9", "0.0000", "2,774.2")
