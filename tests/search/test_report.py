"""The report on the parent run: it opens without a network, shows every figure, and says what it could not draw."""

from __future__ import annotations

import io
import json
import shutil
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState
from PIL import Image

from benchmarks.no_training import NoTraining
from search.config import SweepConfig
from search.orchestrate import sweep
from search.report.figures import Figure, draw_figures
from tests.support.browser import chromium, requested
from tests.support.servers import MlflowServer, wait_until
from tests.support.stores import Swept
from tests.support.sweeps import DIGITS, PUBLISHED, TINY, in_the_middle_of_a_trial, start, study_of

FIGURES = {
    "optimization_history",
    "parallel_coordinate",
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
        if tag == "a":  # nothing that is loaded
            return
        self._inside = tag
        self.loaded += [value or "" for key, value in attrs if key in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        if not data.strip():
            return
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
    assert len(page.headings) == 3 + len(FIGURES)  # study, leaderboard, and importances without a figure
    best = json.loads((artifacts / "leaderboard.json").read_text())[0]
    assert text.index("Best network") < text.index(f"/#/runs/{best['run_id']}") < text.index("Leaderboard</h2>")
    assert "Next: <code>python -m conversion.promote" in text
    board = [row["run"] for row in json.loads((artifacts / "leaderboard.json").read_text())]
    assert len(board) >= 3
    assert [cell for cell in page.cells if cell in board] == board
    assert "Could not be drawn" not in text


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def viewer(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the parent run's artifacts on the pages of an MLflow server."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(swept.folder / "mlflow.db", folder)
    run_id = swept.result["parent_run_id"]
    experiment_id = MlflowClient(swept.uri).get_run(run_id).info.experiment_id
    with MlflowServer(folder, "mlflow.db") as server:
        yield f"{server.uri}/#/experiments/{experiment_id}/runs/{run_id}/artifacts/study"


def wait_until_drawn(browser: Any, name: str) -> None:
    """Until the page of that name shows each of its figures, in the browser or in the frame that it looks into."""
    from selenium.webdriver.support.ui import WebDriverWait

    figures = len(FIGURES) if name == "report" else 1
    drawn = "return document.querySelectorAll('.figure:has(.main-svg):has(.trace, .parcoords)').length"
    WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(drawn) == figures)
    buttons = browser.execute_script(
        "return [...document.querySelectorAll('.modebar-btn')].map((b) => b.dataset.title)"
    )
    narrow = browser.execute_script("return matchMedia('(max-width: 40rem)').matches")  # as MLflow's frame may be
    assert narrow or "Download plot as a PNG" in buttons
    assert "Share chart..." not in buttons  # on the server of Plotly's makers


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({"report", *FIGURES}))
def test_a_page_draws_from_disk_with_nothing_beside_it(
    name: str, artifacts: Path, browser: Any, tmp_path: Path
) -> None:
    page = Path(shutil.copy(artifacts / f"{name}.html", tmp_path)).as_uri()
    browser.get(page)
    wait_until_drawn(browser, name)
    assert requested(browser, page) == {page}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report", "parallel_coordinate"])  # all figures on one page, and one alone
def test_a_page_draws_in_the_viewer_of_mlflow(name: str, viewer: str, browser: Any) -> None:
    from selenium.webdriver.support.expected_conditions import frame_to_be_available_and_switch_to_it
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get("about:blank")
    browser.get(f"{viewer}/{name}.html")
    WebDriverWait(browser, 60).until(frame_to_be_available_and_switch_to_it(("css selector", ".mlflow-html-iframe")))
    wait_until_drawn(browser, name)
    loaded = requested(browser, "blob:")
    assert loaded
    assert all(url.startswith("blob:") for url in loaded)


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
    figures = {figure.name: figure for figure in draw_figures(study)}
    assert figures.keys() == FIGURES | {"param_importances"}
    missing = {name: figure.reason for name, figure in figures.items() if figure.page is None}
    assert missing.keys() == {"param_importances", "timeline"}
    assert missing["timeline"] == "No trial has ended on a known worker."
    assert missing["param_importances"] == "Needs complete trials that differ."
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
    pages = {figure.name: figure.page for figure in draw_figures(study)}
    assert list(pages["pareto_front"].data[0].y) == [0.90, 0.92]
    assert list(pages["pareto_front"].data[1].y) == [0.92]
    best, points = pages["optimization_history"].data
    assert (list(points.x), list(points.y), max(best.y)) == ([0, 2], [0.90, 0.92], 0.92)
    for name in ("intermediate_values", "parallel_coordinate"):
        (lines,) = pages[name].data
        assert {text.partition(",")[0] for text in lines.customdata if text} == {"trial 0", "trial 2"}
    assert list(pages["timeline"].data[0].text) == ["0", "1", "2", "3"]


def searched(trials: int) -> optuna.Study:
    """A study of two parameters, the second of which decides."""
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(trials):
        trial = optuna.trial.create_trial(
            values=[0.5 + (number % 5) / 10, 1_000],
            params={"architecture": ("chollet", "pocket")[number % 2], "dropout": (number % 5) / 10},
            distributions={
                "architecture": optuna.distributions.CategoricalDistribution(["chollet", "pocket"]),
                "dropout": optuna.distributions.FloatDistribution(0.0, 0.5),
            },
            user_attrs={"coreml_bytes": 1_000, "val_accuracies": [0.5]},
        )
        study.add_trial(trial)
    return study


def test_importances_are_drawn_where_the_trials_bear_them() -> None:
    few, enough = (next(f for f in draw_figures(searched(n)) if f.name == "param_importances") for n in (9, 10))
    assert (few.page, few.failed) == (None, False)
    assert few.reason == "9 complete trials are too few: the importance of 2 parameters needs 10."
    assert enough.title.startswith("dropout goes with ")
    assert "from 10 complete trials" in enough.note
    assert list(enough.page.data[0].y) == ["dropout", "architecture"]


def test_an_architecture_has_one_colour_in_all_figures() -> None:
    pages = {figure.name: figure.page for figure in draw_figures(searched(4))}
    colours = {
        (line.name, line.marker.color)
        for name in ("optimization_history", "pareto_front", "intermediate_values", "parallel_coordinate")
        for line in pages[name].data
        if line.name in {"chollet", "pocket"}
    }
    assert len(colours) == 2


def front_of(*points: tuple[int, float]) -> Figure:
    """The figure of a front through trials with these bytes and accuracies."""
    study = optuna.create_study(direction="maximize")
    for coreml_bytes, value in points:
        architecture = optuna.distributions.CategoricalDistribution(["chollet"])
        trial = optuna.trial.create_trial(
            value=value,
            params={"architecture": "chollet"},
            distributions={"architecture": architecture},
            user_attrs={"coreml_bytes": coreml_bytes},
        )
        study.add_trial(trial)
    (front,) = (figure for figure in draw_figures(study) if figure.name == "pareto_front")
    return front


@pytest.mark.parametrize(
    ("points", "title"),
    [
        ([(9_000, 0.1)], "chollet-0 is the best in both: 0.1000 with 9,000 bytes"),
        (
            [(9_000, 0.1), (40_000, 0.8)],
            "The front goes from chollet-0, 0.1000 with 9,000 bytes, to chollet-1, 0.8000 with 40,000 bytes",
        ),
        (
            [(9_000, 0.1), (40_000, 0.2), (90_000, 0.9)],
            "The front goes from chollet-0, 0.1000 with 9,000 bytes, to chollet-2, 0.9000 with 90,000 bytes",
        ),
    ],
)
def test_a_front_without_a_bend_has_no_best_trade_off(points: list[tuple[int, float]], title: str) -> None:
    front = front_of(*points)
    assert (front.title, "trade-off" in front.note) == (title, False)


def test_bytes_stand_on_a_logarithmic_axis() -> None:
    front = front_of((9_000, 0.1), (40_000, 0.8), (900_000, 0.9))
    axis = front.page.layout.xaxis
    assert (axis.type, axis.title.text) == ("log", "Core ML bytes")
    assert axis.ticktext == ("5,000", "10,000", "20,000", "50,000", "100,000", "200,000", "500,000", "1,000,000")
    assert front.title == "chollet-1 is the best trade-off: 0.8000 with 40,000 bytes"
    assert front.page.layout.yaxis.title.text == "validation accuracy"


@pytest.mark.slow
def test_the_timeline_names_the_host_that_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig("sqlite:///mlflow.db", "elsewhere", trials=2, epochs=1, figures=False)
    sweep(config, engine=lambda _: NoTraining())  # which says that it computes nowhere
    (page,) = (figure.page for figure in draw_figures(study_of(tmp_path, "elsewhere")) if figure.name == "timeline")
    assert set(page.data[0].y) == {"nowhere worker 1"}


@pytest.mark.parametrize("figures", [True, False])
def test_figures_are_drawn_unless_they_are_turned_off(
    figures: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    config = SweepConfig(uri, "drawn", trials=2, epochs=1, keep=1, figures=figures)
    result = sweep(config, engine=lambda _: NoTraining())
    client = MlflowClient(uri)
    study = Path(client.download_artifacts(result.parent_run_id, "study"))
    kept = result.leaderboard[0].run_id
    evaluation = Path(client.download_artifacts(kept, "evaluation"))
    assert bool(list(study.glob("*.png"))) == figures
    assert bool(list(evaluation.glob("*.png"))) == figures
    assert ("--figures off" in (study / "report.html").read_text()) == (not figures)
    assert {"leaderboard.json", "leaderboard.csv"} <= {path.name for path in study.iterdir()}
    numbers = {"evaluation.json", "classification_report.txt", "confusion_matrix.csv"}
    assert numbers <= {path.name for path in evaluation.iterdir()}


@pytest.mark.slow
def test_figures_off_is_an_option_and_part_of_the_line_to_continue(tmp_path: Path) -> None:
    process = start(tmp_path, "--study", "off", "--trials", "9", *TINY, *DIGITS, *PUBLISHED)
    wait_until(in_the_middle_of_a_trial(tmp_path, "off", 0), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert "to continue: python -m search.sweep --study off --trials 9 --figures off" in err
