"""MLflow's own pages in real Chromium: the link that a sweep prints opens on the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import chromium
from tests.support.servers import MlflowServer
from tests.support.stores import Swept, copy_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    """A browser that has never been here, and the address of a server on a copy of the sweep's store."""
    folder = tmp_path_factory.mktemp("served")
    copy_store(swept.folder, folder)
    with MlflowServer(folder, "mlflow.db") as server, chromium(folder / "profile") as driver:
        driver.set_window_size(1600, 1000)
        yield driver, server.uri


def text_of(driver: Any, *wanted: str) -> str:
    """What the page shows once it shows all that is wanted."""
    from selenium.webdriver.support.ui import WebDriverWait

    def shown(_: Any) -> str | None:
        text = driver.execute_script("return document.body.innerText")
        return text if all(each in text for each in wanted) else None

    return str(WebDriverWait(driver, 60).until(shown, f"the page does not show {wanted}"))


def test_the_link_opens_on_the_runs_the_best_first(browser: tuple[Any, str], swept: Swept) -> None:
    driver, uri = browser
    assert swept.result["page"].startswith("http://127.0.0.1:5000/#/experiments/")
    driver.get(swept.result["page"].replace("http://127.0.0.1:5000", uri))
    board = swept.result["leaderboard"]
    text = text_of(driver, "best_val_accuracy", "coreml_bytes", *(row["run"] for row in board))
    places = [text.index(row["run"]) for row in board]
    assert places[0] < places[-1]
    assert "shared view state" not in text
    assert "Training runs: one for each trial" in text


def test_the_run_of_a_sweep_shows_the_leaderboard_whose_links_lead_to_the_runs(
    browser: tuple[Any, str], swept: Swept
) -> None:
    from selenium.webdriver.common.by import By

    driver, uri = browser
    best = swept.result["leaderboard"][0]
    driver.get(f"{uri}/#/experiments/1/runs/{swept.result['parent_run_id']}")
    text_of(driver, "Best by accuracy on the validation images", "on the Pareto front", "best_coreml_bytes")
    link = driver.find_element(By.LINK_TEXT, best["run"])
    assert link.get_attribute("href") == f"{uri}/#/experiments/1/runs/{best['run_id']}?workflowType=machine_learning"
    driver.get(link.get_attribute("href"))
    text_of(driver, "host_latency_ms", best["run"])
