"""Every page in Chromium: axe-core finds nothing wrong in light and dark, and nothing is wider than a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from conversion import predictions_page
from conversion.predictions import predict_pictures
from experiments.datasets.inspection import inspect
from experiments.tracking import Selection, Tracker
from experiments.views import comparison, comparison_page, inspection_page, leaderboard
from experiments.views.page import render
from tests.support.browser import axe, chromium, show_as
from tests.support.promotions import DEFAULT_OUTPUT, artifacts
from tests.support.stores import Promoted, Swept

pytestmark = pytest.mark.slow
PAGES = ("report", "comparison", "inspection", "promotion", "predictions", "not_drawn")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def pages(swept: Swept, promoted: Promoted, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    study = Path(MlflowClient(swept.uri).download_artifacts(swept.result["parent_run_id"], "study"))
    tracker = Tracker(swept.uri, create=False, write=False)
    runs = [row.run_id for row in leaderboard.rows(tracker, Selection("mnist5k", "small"))][:2]
    comparison_page.write_page(comparison.compare(tracker, runs), folder / "comparison.html")
    inspection_page.write_page(inspect("digits"), folder / "inspection.html", before_training=True)
    found = predict_pictures(promoted.folder / DEFAULT_OUTPUT, ["digits"])  # a third of mnist5k's pictures to look at
    predictions_page.write_page(found, folder / "predictions.html")
    page = render("not_drawn", title="Study", not_drawn={"report.html": "OSError: no space"})
    (folder / "not_drawn.html").write_text(page)
    made = {
        "report": study / "report.html",
        "promotion": artifacts(promoted.folder, promoted.result["promotion"]) / "promotion.html",
    }
    return {name: folder / f"{name}.html" for name in PAGES} | made


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_and_a_phone_needs_no_scrolling_aside(
    name: str, scheme: str, pages: dict[str, Path], browser: Any
) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    undrawn = "return document.querySelectorAll('.figure:not(:has(.main-svg))').length"
    for width in (1280, 390):
        show_as(browser, width=width, scheme=scheme)
        browser.get(pages[name].as_uri())
        WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(undrawn) == 0)
        assert axe(browser) == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_axe_sees_what_cannot_be_read(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<!doctype html><title>x</title><p style='color: #bbb; background: #fff'>grey<img src=x><select>")
    browser.get(page.as_uri())
    assert {"color-contrast", "image-alt", "select-name"} <= {found.partition(":")[0] for found in axe(browser)}
