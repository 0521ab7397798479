"""The leaderboard command, and the interval that it shows."""

from __future__ import annotations

import pytest
from conftest import Outcome, Swept

from experiments.evaluation import accuracy_interval


def test_rows(swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    found: Outcome = command("experiments.leaderboard", "--study", "small", "--json", cwd=swept.folder)
    assert found.code == 0
    rows = found.json["leaderboard"]
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
    assert [row["version"] is not None for row in rows] == [True, True, False]


def test_table_shows_what_json_holds(swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
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
        (["--limit", "0"], "at least 1"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str, swept: Swept, command) -> None:  # type: ignore[no-untyped-def]
    found = command("experiments.leaderboard", *arguments, cwd=swept.folder)
    assert found.code == 2
    assert message in found.error


@pytest.mark.parametrize(("correct", "images"), [(0, 10), (10, 10), (485, 500)])
def test_interval_by_wilsons_formula(correct: int, images: int) -> None:
    z, share = 1.959963984540054, correct / images
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * (share * (1 - share) / images + z**2 / (4 * images**2)) ** 0.5
    low, high = accuracy_interval(correct, images)
    assert low == pytest.approx(max(0, centre - half), abs=1e-9)
    assert high == pytest.approx(min(1, centre + half), abs=1e-9)
