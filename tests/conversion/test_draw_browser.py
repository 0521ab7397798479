"""The drawing page in real Chromium: pointer, touch and keys on the pad, and what a person then sees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conversion.draw.reader import SURE
from conversion.promotion.config import PromoteConfig
from conversion.promotion.pipeline import promote
from tests.support.browser import axe, chromium, requested
from tests.support.drawing_page import answering, serving

pytestmark = pytest.mark.slow
BENCHMARK = Path(__file__).parents[2] / "benchmarks/page_latency.py"
GOLDEN = Path(__file__).parents[2] / "ios/DigitKit/Tests/DigitKitTests/golden-drawings.json"
PHONE, DESKTOP = (375, 812), (1200, 900)  # CSS pixels


@pytest.fixture(scope="module")
def digits_file(promoted_digits: Path) -> Path:
    """Of a network whose store is there, too."""
    return promoted_digits


@pytest.fixture(scope="module")
def facts(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """What the server on a promoted file says of itself."""
    with serving(digits_file, "--collect", tmp_path_factory.mktemp("drawn") / "mine") as found:
        yield found


@pytest.fixture(scope="module")
def address(facts: dict) -> str:
    return facts["address"]


class Page:
    """The page as a person uses it."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        self.open(address)

    def open(self, address: str) -> None:
        self.driver.get(address)
        self.wait("document.querySelectorAll('#facts dd').length > 0")

    def wait(self, condition: str) -> None:
        """Until a condition in the page's own language holds."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 20, poll_frequency=0.02).until(lambda d: d.execute_script(f"return {condition}"))

    def resize(self, size: tuple[int, int]) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
        )

    def theme(self, name: str) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]}
        )

    def draw(self, strokes: list, *, pad: float, kind: str = "mouse") -> None:
        """Draw with real pointer events, and wait until the last stroke was read."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        canvas = self.driver.find_element("id", "pad")
        side = canvas.rect["width"]
        before = self.driver.execute_script("return strokes.length")
        finger = PointerInput(kind, kind)
        actions = ActionBuilder(self.driver, mouse=finger, duration=0)

        def at(point: list[float]) -> dict:
            # Selenium counts from the middle of the element, in whole pixels.
            return {"x": round((point[0] / pad - 0.5) * side), "y": round((point[1] / pad - 0.5) * side)}

        for stroke in strokes:
            thinned = stroke[::3] if len(stroke) > 12 else stroke[:-1]
            actions.pointer_action.move_to(canvas, **at(stroke[0])).pointer_down()
            for point in [*thinned[1:], stroke[-1]]:
                actions.pointer_action.move_to(canvas, **at(point))
            actions.pointer_action.pointer_up()
        actions.perform()
        self.wait(f"pad.dataset.read == {before + len(strokes)} && !reading && strokeEnded === null")

    def touch(self, kind: str, *fingers: tuple[float, float]) -> None:
        """A touch event with all fingers that are then on the glass, at shares of the pad's sides."""
        box = self.driver.execute_script("return pad.getBoundingClientRect().toJSON()")
        points = [
            {"x": box["left"] + x * box["width"], "y": box["top"] + y * box["height"], "id": number}
            for number, (x, y) in enumerate(fingers)
        ]
        self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def clear(self) -> None:
        self.driver.find_element("id", "clear").click()
        self.wait("pad.dataset.read == 0 && !reading")

    def text(self, name: str) -> str:
        return self.driver.find_element("id", name).text

    @property
    def best(self) -> str:
        return self.driver.execute_script("return document.querySelector('#bars b')?.textContent")

    @property
    def strokes(self) -> list[list[list[float]]]:
        return self.driver.execute_script("return strokes")


@pytest.fixture(scope="module")
def page(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as driver:
        made = Page(driver, address)
        made.resize(DESKTOP)
        yield made
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.fixture
def elsewhere(page: Page, address: str) -> Iterator[Page]:
    """The page, for a test that opens other servers."""
    yield page
    page.open(address)


@pytest.fixture(scope="module")
def digits() -> dict[int, dict]:
    """A golden drawing of every digit that fills the pad."""
    drawings = json.loads(GOLDEN.read_text())["drawings"]
    return {entry["digit"]: entry for entry in drawings if entry["name"].endswith("in hand 0")}


def test_the_run_is_named_and_linked(page: Page, facts: dict) -> None:
    link = page.driver.find_element("css selector", "#facts a[href]")
    assert link.text == facts["run_id"]
    assert link.get_attribute("href") == facts["run_link"]
    assert facts["run_link"].endswith(f"/#/runs/{facts['run_id']}")


@pytest.mark.parametrize("digit", range(10))
def test_every_digit_is_read(page: Page, digits: dict[int, dict], digit: int) -> None:
    page.draw(digits[digit]["strokes"], pad=digits[digit]["pad"])
    assert page.best == str(digit)
    assert page.text("label") in {str(digit), f"Not sure: {digit}?"}
    assert page.driver.execute_script("return document.querySelectorAll('#bars li').length") == 3
    assert "ms from the end of the stroke" in page.text("latency")
    seen = "seen.getContext('2d').getImageData(0, 0, 28, 28).data"  # red, green, blue, opacity
    assert page.driver.execute_script(f"return {seen}.some((value, i) => i % 4 == 0 && value > 200)")
    page.clear()
    assert page.best is None


def test_a_finger_draws_too(page: Page, digits: dict[int, dict]) -> None:
    page.draw(digits[7]["strokes"], pad=300, kind="touch")
    assert page.best == "7"
    assert page.driver.execute_script("return strokes.length") == 1
    page.clear()


def test_a_cancelled_touch_ends_its_stroke(page: Page) -> None:
    page.touch("touchStart", (0.5, 0.1))
    page.touch("touchMove", (0.5, 0.8))
    page.touch("touchCancel")  # the system took the finger, for a gesture of its own
    page.wait("pad.dataset.read == 1 && !reading && strokeEnded === null")
    assert page.best == "1"
    page.touch("touchStart", (0.2, 0.2))
    page.touch("touchEnd")
    page.wait("pad.dataset.read == 2 && !reading")
    assert [len(stroke) for stroke in page.strokes] == [2, 1]
    assert page.text("error") == ""
    page.clear()


def test_a_second_finger_does_not_draw(page: Page) -> None:
    first, second = (0.5, 0.1), (0.9, 0.9)
    page.touch("touchStart", first)
    page.touch("touchStart", first, second)
    page.touch("touchMove", first, (0.1, 0.9))
    page.touch("touchMove", (0.5, 0.8), (0.1, 0.9))
    page.touch("touchEnd")
    page.wait("pad.dataset.read == 1 && !reading && strokeEnded === null")
    (stroke,) = page.strokes
    assert [x for x, _ in stroke] == pytest.approx([150] * len(stroke), abs=1)
    assert max(y for _, y in stroke) == pytest.approx(240, abs=1)
    page.clear()


@pytest.mark.parametrize(("button", "left"), [("clear", 0), ("undo", 1)])
def test_a_button_ends_the_stroke_under_a_finger(page: Page, button: str, left: int) -> None:
    page.draw([[[60, 60], [60, 240]]], pad=300)
    page.touch("touchStart", (0.5, 0.1))
    page.touch("touchMove", (0.5, 0.5))
    page.driver.find_element("id", button).click()
    page.touch("touchMove", (0.5, 0.8))  # the finger is still there
    page.touch("touchEnd")
    page.wait(f"pad.dataset.read == {left} && !reading")
    assert len(page.strokes) == left
    assert all(x == pytest.approx(60, abs=1) for stroke in page.strokes for x, _ in stroke)
    page.draw([[[150, 60], [150, 240]]], pad=300, kind="touch")
    assert len(page.strokes) == left + 1
    page.clear()


def test_undo_takes_back_a_stroke(page: Page, digits: dict[int, dict]) -> None:
    page.draw(digits[4]["strokes"], pad=300)
    page.driver.find_element("id", "undo").click()
    page.wait("pad.dataset.read == 1")
    page.driver.find_element("id", "undo").click()
    page.wait("pad.dataset.read == 0")
    assert not page.driver.find_element("id", "undo").is_enabled()
    assert page.text("latency") == "Draw something."


def test_keys_draw_a_one(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    canvas = page.driver.find_element("id", "pad")
    canvas.send_keys(Keys.ARROW_UP * 11 + " " + Keys.ARROW_DOWN * 22 + " ")
    page.wait("pad.dataset.read == 1 && !reading && strokeEnded === null")
    assert page.best == "1"
    assert page.driver.execute_script("return heard.textContent").startswith(("1, ", "Not sure, perhaps 1"))
    canvas.send_keys(Keys.BACKSPACE)
    page.wait("pad.dataset.read == 0")
    canvas.send_keys(" " + Keys.ARROW_RIGHT + " " + Keys.ESCAPE)
    page.wait("pad.dataset.read == 0 && strokes.length == 0 && !reading")


def test_the_place_of_a_resting_pen_is_told_once(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    press = "for (const key of keys) pad.dispatchEvent(new KeyboardEvent('keydown', { key }));"
    page.driver.execute_script(
        "pad.focus(); pen.x = pen.y = PAD / 2; told = [];"
        "watch = new MutationObserver(() => told.push(heard.textContent)); watch.observe(heard, { childList: true });"
        f"const keys = ['ArrowLeft', 'ArrowLeft', ...Array(30).fill('ArrowUp'), 'ArrowDown']; {press}"
    )
    page.wait("told.length")
    page.driver.execute_script(f"const keys = ['ArrowRight', ' ']; {press}")  # before the pen has rested
    page.wait("told.length > 1")
    page.driver.execute_script(f"const keys = ['ArrowDown', ' ']; {press}")
    page.wait("told.length > 3")
    told = page.driver.execute_script("watch.disconnect(); return told")
    assert told[:3] == [
        "Pen 43 percent from the left, 3 percent from the top",
        "Pen down, 47 percent from the left, 3 percent from the top",
        "Pen lifted, 47 percent from the left, 7 percent from the top",
    ]
    assert not told[3].startswith("Pen")  # the reading
    page.driver.find_element("id", "pad").send_keys(Keys.ARROW_LEFT + Keys.ESCAPE)
    page.wait("pad.dataset.read == 0 && !reading")
    page.driver.execute_async_script("setTimeout(arguments[0], 2 * REST_MS)")
    assert page.driver.execute_script("return heard.textContent") == "The pad is empty"


def test_a_pen_that_rests_is_read_where_it_is(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.driver.find_element("id", "pad").send_keys(Keys.ARROW_UP * 11 + " " + Keys.ARROW_DOWN * 22)  # and still down
    image = "[...seen.getContext('2d').getImageData(0, 0, 28, 28).data]"  # red, green, blue, opacity
    page.wait(f"!reading && new Set({image}.flatMap((v, i) => i % 4 == 0 && v ? [i / 112 | 0] : [])).size >= 19")
    assert page.best == "1"
    page.clear()


def test_a_held_key_lowers_the_pen_once(page: Page) -> None:
    page.driver.execute_script("pad.focus()")
    key = {"type": "keyDown", "key": " ", "code": "Space", "text": " ", "windowsVirtualKeyCode": 32}
    for repeated in (False, True, True):
        page.driver.execute_cdp_cmd("Input.dispatchKeyEvent", key | {"autoRepeat": repeated})
    assert page.driver.execute_script("return [strokes.length, pen.down]") == [1, True]
    page.clear()


def test_a_latency_is_of_a_stroke_that_ended(page: Page) -> None:
    page.draw([[[150, 60], [150, 240]]], pad=300)
    page.clear()
    page.touch("touchStart", (0.5, 0.1))
    page.touch("touchMove", (0.5, 0.8))
    page.wait("pad.dataset.read == 1 && !reading")  # read while the finger is down
    assert page.text("latency").startswith("rendering")
    page.touch("touchEnd")
    page.wait("latency.textContent.includes('from the end of the stroke')")
    page.clear()


def test_a_drawing_is_kept_under_its_label(page: Page, digits: dict[int, dict]) -> None:
    page.draw(digits[9]["strokes"], pad=300)
    page.driver.find_element("css selector", "#labels [aria-label='That was a 9']").click()
    page.wait("kept.textContent.startsWith('Kept as 9. 1 drawing in')")
    assert page.driver.execute_script("return document.querySelector('[aria-pressed=true]').textContent") == "9"
    page.clear()
    assert page.driver.execute_script("return document.querySelector('[aria-pressed=true]')") is None


@pytest.mark.parametrize("size", [(320, 568), PHONE, (812, 375), DESKTOP], ids=str)
def test_nothing_is_cut_off(page: Page, digits: dict[int, dict], size: tuple[int, int]) -> None:
    page.resize(size)
    page.draw(digits[8]["strokes"], pad=300)
    assert page.best == "8"
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
    small = page.driver.execute_script(
        "return [...document.querySelectorAll('button')].filter(b => b.offsetHeight < 44 || b.offsetWidth < 44).length"
    )
    assert small == 0
    page.clear()
    page.resize(DESKTOP)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=str)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, digits: dict[int, dict], scheme: str, size: tuple[int, int]) -> None:
    page.resize(size)
    page.theme(scheme)
    page.draw(digits[3]["strokes"], pad=300)
    assert axe(page.driver) == []
    page.clear()
    page.theme("light")
    page.resize(DESKTOP)


def test_light_and_dark(page: Page) -> None:
    grounds = []
    for name in ("light", "dark"):
        page.theme(name)
        grounds.append(page.driver.execute_script("return getComputedStyle(document.body).backgroundColor"))
    page.theme("light")
    light, dark = (sum(map(int, ground[4:-1].split(","))) for ground in grounds)
    assert light > 600 > 150 > dark


def test_no_request_leaves_for_another_host(page: Page, address: str) -> None:
    asked = requested(page.driver, address)
    assert {address, f"{address}model", f"{address}read"} <= asked
    assert all(url.startswith((address, "data:")) for url in asked), asked


def test_not_sure(elsewhere: Page, digits: dict[int, dict], digits_file: Path, tmp_path: Path) -> None:
    with serving(answering(digits_file, "4", SURE - 0.001, tmp_path / "four.mlmodel")) as facts:
        elsewhere.open(facts["address"])
        elsewhere.draw(digits[7]["strokes"], pad=300)
        assert elsewhere.text("label") == "Not sure: 4?"
        assert elsewhere.driver.execute_script("return label.className") == "unsure"
        assert elsewhere.driver.execute_script("return heard.textContent") == "Not sure, perhaps 4 or 0 or 1"
    with serving(answering(digits_file, "4", SURE + 0.001, tmp_path / "four.mlmodel")) as facts:
        elsewhere.open(facts["address"])
        elsewhere.draw(digits[7]["strokes"], pad=300)
        assert elsewhere.text("label") == "4"
        assert elsewhere.driver.execute_script("return label.className") == ""
        assert elsewhere.driver.execute_script("return heard.textContent") == "4, 60 percent"


def test_a_server_that_is_gone(elsewhere: Page, digits: dict[int, dict], digits_file: Path, tmp_path: Path) -> None:
    with serving(digits_file, "--collect", tmp_path / "mine") as facts:
        elsewhere.open(facts["address"])
        elsewhere.draw(digits[7]["strokes"], pad=300)
    seven = elsewhere.driver.find_element("css selector", "#labels [aria-label='That was a 7']")
    seven.click()
    elsewhere.wait("kept.textContent.startsWith('Not kept.')")
    assert elsewhere.text("kept") == "Not kept. The server does not answer. Is it still running?"
    assert seven.get_attribute("aria-pressed") == "false"
    elsewhere.driver.find_element("id", "undo").click()
    elsewhere.wait("error.textContent")
    assert elsewhere.text("error") == "The server does not answer. Is it still running?"
    colour = "return [kept, error].map(text => getComputedStyle(text).color)"
    assert len(set(elsewhere.driver.execute_script(colour))) == 1
    elsewhere.driver.get_log("browser")  # the refused connections


def test_a_folder_that_cannot_be_written(
    elsewhere: Page, digits: dict[int, dict], digits_file: Path, tmp_path: Path
) -> None:
    with serving(digits_file, "--collect", tmp_path / "mine") as facts:
        elsewhere.open(facts["address"])
        elsewhere.draw(digits[7]["strokes"], pad=300)
        (tmp_path / "mine").rmdir()
        (tmp_path / "mine").write_text("")  # a file now
        button = elsewhere.driver.find_element("css selector", "#labels [aria-label='That was a 7']")
        button.click()
        elsewhere.wait("kept.textContent.startsWith('Not kept.')")
        assert elsewhere.text("kept") == f"Not kept. {tmp_path / 'mine'} cannot be written: Not a directory."
        (tmp_path / "mine").unlink()
        button.click()
        elsewhere.wait("kept.textContent.startsWith('Kept as 7.')")
        assert elsewhere.driver.execute_script("return kept.className") == "soft"
        elsewhere.driver.get_log("browser")  # the failed request


def test_the_latency_is_measured_stroke_by_stroke(page: Page, digits_file: Path) -> None:
    """`page` brings the browser, or skips; the benchmark starts its own."""
    command = [sys.executable, BENCHMARK, "--strokes", "3", "--file", digits_file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    figures = r"Digits\.mlmodel, 3 strokes: median (\d+) ms, 95 of 100 within (\d+) ms, longest (\d+) ms\n"
    found = re.fullmatch(figures, done.stdout)
    assert found, done.stdout
    median, most, longest = map(int, found.groups())
    assert 0 < median <= most <= longest


def test_a_promoted_package_is_served(
    elsewhere: Page, digits: dict[int, dict], facts: dict, digits_file: Path, tmp_path: Path
) -> None:
    shutil.copy(digits_file.parent / "mlflow.db", tmp_path)  # a promotion that the other tests do not see
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    output = tmp_path / "Digits.mlpackage"
    config = PromoteConfig(uri, run_id=facts["run_id"], output=output, format="mlpackage")
    with serving(promote(config).path) as served:
        assert served["file"] == str(output)
        elsewhere.open(served["address"])
        elsewhere.draw(digits[7]["strokes"], pad=300)
        assert elsewhere.best == "7"
        assert elsewhere.text("facts").count(facts["run_id"]) == 1
        assert "bytes (mlprogram)" in elsewhere.text("facts")
