"""Real Chromium for tests, without a screen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.support.components import require
from tests.support.documents import ROOT

INSTALL = "apt-get install -y chromium chromium-driver && python -m pip install -e '.[test]'"
AXE = ROOT / "build" / "axe" / "axe_playwright_python" / "axe.min.js"  # of a package whose Playwright is not needed
INSTALL_AXE = "python -m pip install --no-deps --target build/axe -c constraints.txt axe-playwright-python"
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --force-device-scale-factor=1"""


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A selenium.webdriver.Chrome that keeps its profile in a folder."""
    require(shutil.which("chromium") and shutil.which("chromedriver") and find_spec("selenium"), install=INSTALL)
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    for flag in [*FLAGS.split(), f"--user-data-dir={folder}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def requested(driver: Any, *documents: str) -> set[str]:
    """What documents whose addresses begin so have asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return {one["request"]["url"] for one in sent if one["documentURL"].startswith(documents)}


def show_as(driver: Any, *, width: int, scheme: str) -> None:
    """Show pages to come at a width, in light or dark."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def axe(driver: Any) -> list[str]:
    """What axe-core finds wrong with the page that is shown: contrast, labels, and all its other rules."""
    require(AXE.exists(), install=INSTALL_AXE)
    driver.execute_script(AXE.read_text())
    result = driver.execute_async_script("axe.run().then(arguments[0])")
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in result["violations"]
        for node in one["nodes"]
    ]
