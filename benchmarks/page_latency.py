"""Measure the time from the end of a stroke to the bars on the drawing page, in Chromium. The goal: below 150 ms.

Run: python benchmarks/page_latency.py --strokes 100

A model is trained for an epoch and promoted, or a Core ML file is given, and its page is served. Digits of the golden
drawings are drawn on it with a mouse that reports 60 times a second; the page itself measures the times, up to the
frame with the bars. The first stroke, which loads everything, is included.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.support.ui import WebDriverWait
from sweep_against_plain_loop import run

from architectures.fields import Whole

GOLDEN = Path(__file__).parents[1] / "ios/DigitKit/Tests/DigitKitTests/golden-drawings.json"
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --window-size=1200,900 --force-device-scale-factor=1"
REPORT_MS = 16  # between two reports of the mouse
THIN = 3  # of as many points of a golden drawing, which lie closer than a mouse reports them, one is reported


@contextmanager
def served(folder: str, *file: str) -> Iterator[str]:
    """Address of the page that the model promoted in a folder answers on, or a file."""
    command = [sys.executable, "-m", "conversion.draw", *file, "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.send_signal(signal.SIGINT)


@contextmanager
def browser(folder: str) -> Iterator[Chrome]:
    options = ChromeOptions()
    for flag in [*FLAGS.split(), f"--user-data-dir={folder}/chromium"]:
        options.add_argument(flag)
    driver = Chrome(options, ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def stroke_ms(driver: Chrome, stroke: list[list[float]], *, pad: float) -> float:
    """Draw a stroke and return the time that the page took for its bars, in milliseconds."""
    canvas = driver.find_element("id", "pad")
    side = canvas.rect["width"]
    driver.execute_script("delete latency.dataset.ms")
    actions = ActionBuilder(driver, duration=REPORT_MS)
    for number, point in enumerate([*stroke[:-1:THIN], stroke[-1]]):
        x, y = (round((share / pad - 0.5) * side) for share in point)  # from the middle of the pad
        actions.pointer_action.move_to(canvas, x, y)
        if number == 0:
            actions.pointer_action.pointer_down()
    actions.pointer_action.pointer_up()
    actions.perform()
    shown = "return latency.dataset.ms"
    return float(WebDriverWait(driver, 20, poll_frequency=0.02).until(lambda _: driver.execute_script(shown)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=Whole(1, 10_000), default=100)
    parser.add_argument("--architecture", default="chollet", help="of the model that is trained (default: %(default)s)")
    parser.add_argument("--file", type=Path, help="a Core ML file, in place of that model")
    arguments = parser.parse_args()
    entries = [entry for entry in json.loads(GOLDEN.read_text())["drawings"] if "in hand" in entry["name"]]
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.file:
            run(["-m", "search.trial", "--architecture", arguments.architecture, "--epochs", "1"], folder)
            run(["-m", "conversion.promote"], folder)
        given = [str(arguments.file.absolute())] if arguments.file else []
        with served(folder, *given) as address, browser(folder) as driver:
            driver.get(address)
            for entry in itertools.cycle(entries):
                for stroke in entry["strokes"]:
                    times.append(stroke_ms(driver, stroke, pad=entry["pad"]))
                if len(times) >= arguments.strokes:
                    break
                driver.find_element("id", "clear").click()
    model = arguments.file.name if arguments.file else arguments.architecture
    print(
        f"{model}, {len(times)} strokes: median {np.median(times):.0f} ms, 95 of 100 within "
        f"{np.percentile(times, 95):.0f} ms, longest {max(times):.0f} ms"
    )


if __name__ == "__main__":
    main()
