"""The report on the parent run: it opens without a network, shows every figure, and says what it could not draw."""

from __future__ import annotations

import io
import json
import re
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
