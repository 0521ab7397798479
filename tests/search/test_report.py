"""The report on the parent run: it opens without a network, shows every figure, and says what it could not draw."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
from conftest import Swept
from mlflow import MlflowClient
from optuna.trial import TrialState
from PIL import Image

from search.figures import draw

FIGURES = {
    "optimization_history",
    "parallel_coordinate",
    "param_importances",
    "intermediate_values",
    "pareto_front",
    "timeline",
}


class Page(HTMLParser):
    """What a page loads, its headings, and the texts of its table's cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.headings: list[str] = []
        self.cells: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.loaded += [value or "" for key, value in attrs if key in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        if self._inside in {"h1", "h2"}:
            self.headings.append(data)
        if self._inside in {"td", "th"}:
            self.cells.append(data)


@pytest.fixture(scope="module")
def artifacts(swept: Swept) -> Path:
    client = MlflowClient(swept.uri)
    return Path(client.download_artifacts(swept.result["parent_run_id"], "study"))


def test_every_figure_is_a_picture_of_something(artifacts: Path) -> None:
    assert {path.stem for path in artifacts.glob("*.png")} == FIGURES
    for path in artifacts.glob("*.png"):
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(maxcolors=2**24) or []) > 10, path


def test_the_page_needs_no_network_and_holds_leaderboard_and_figures(artifacts: Path) -> None:
    text = (artifacts / "report.html").read_text()
    page = Page(text)
    assert page.loaded == []
    assert page.headings[0] == "Study small"
    assert len(page.headings) == 2 + len(FIGURES)
    board = [row["run"] for row in json.loads((artifacts / "leaderboard.json").read_text())]
    assert len(board) >= 3
    assert [cell for cell in page.cells if cell in board] == board
    assert len(re.findall(r"Plotly\.newPlot\(", text)) >= len(FIGURES)
    assert "Could not be drawn" not in text


def test_every_figure_is_a_page_of_its_own_that_needs_no_network(artifacts: Path) -> None:
    pages = {path.stem: path.read_text() for path in artifacts.glob("*.html")}
    assert pages.keys() == {"report", *FIGURES}
    assert "plotly.js v" in (artifacts / "plotly.min.js").read_text()[:200]
    for name in FIGURES:
        assert Page(pages[name]).loaded == ["plotly.min.js"]
        assert pages[name].count("Plotly.newPlot(") == 1
        assert len(pages[name]) < 1_000_000, name


def test_a_figure_that_cannot_be_drawn_says_why() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    trial = optuna.trial.create_trial(
        state=TrialState.COMPLETE,
        values=[0.9, 1_000],
        params={"architecture": "chollet"},
        distributions={"architecture": optuna.distributions.CategoricalDistribution(["chollet"])},
        user_attrs={"coreml_bytes": 1_000, "val_accuracies": [0.8, 0.9]},
    )
    study.add_trial(trial)
    figures = {figure.name: figure for figure in draw(study)}
    assert figures.keys() == FIGURES
    missing = {name: figure.reason for name, figure in figures.items() if figure.page is None}
    assert missing.keys() == {"param_importances", "timeline"}
    assert missing["timeline"] == "No trial has ended on a known worker."
    assert missing["param_importances"] == "It takes two complete trials that differ."
    for name in FIGURES - missing.keys():
        with Image.open(io.BytesIO(figures[name].png)) as picture:
            picture.verify()


def test_what_repeats_a_trial_is_on_the_timeline_alone() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    began = datetime(2026, 1, 1)

    def add(value: float, dropout: float, **attributes: int) -> None:
        trial = optuna.trial.create_trial(
            state=TrialState.COMPLETE,
            values=[value, 1_000],
            params={"architecture": "chollet", "dropout": dropout},
            distributions={
                "architecture": optuna.distributions.CategoricalDistribution(["chollet"]),
                "dropout": optuna.distributions.FloatDistribution(0.0, 0.5),
            },
            user_attrs={
                "coreml_bytes": 1_000,
                "val_accuracies": [value - 0.1, value],
                "owner": '{"host": "here", "worker": "1"}',
                **attributes,
            },
        )
        trial.datetime_start, trial.datetime_complete = began, began + timedelta(seconds=1)
        study.add_trial(trial)

    add(0.90, 0.1)
    add(0.90, 0.1, duplicate_of=0)
    add(0.92, 0.2)
    add(0.99, 0.2, replicate_of=2, seed=1)
    pages = {figure.name: figure.page for figure in draw(study)}
    assert list(pages["pareto_front"].data[0].y) == [0.90, 0.92]
    assert list(pages["pareto_front"].data[1].y) == [0.92]
    points, best, *_ = pages["optimization_history"].data
    assert (list(points.x), list(points.y), max(best.y)) == ([0, 2], [0.90, 0.92], 0.92)
    assert [line.name for line in pages["intermediate_values"].data] == ["Trial0", "Trial2"]
    assert sum(line.customdata is not None for line in pages["parallel_coordinate"].data) == 2
    assert list(pages["timeline"].data[0].text) == ["0", "1", "2", "3"]
