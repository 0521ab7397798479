"""Class names in any script: drawn with an installed font that has them, else one line names a package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image

from experiments.evaluation import fonts
from experiments.evaluation.pictures import draw_images

SQUARE = ((0, 0), (0, 700), (700, 700), (700, 0))


def install(path: Path, text: str, family: str, weight: int = 400) -> None:
    """Write a font whose glyph for each character of a text is a full square."""
    pen = TTGlyphPen(None)
    pen.moveTo(SQUARE[0])
    for point in SQUARE[1:]:
        pen.lineTo(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(sign): "square" for sign in text})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (800, 0), "square": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWeightClass=weight)
    builder.setupPost()
    builder.save(path)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has looked for no font and told nothing; fonts that a test installs are gone after it."""
    monkeypatch.setattr(fonts, "_told", set())
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    fonts._installed.cache_clear()


def drawn(caption: str, path: Path) -> bytes:
    draw_images([np.zeros((8, 8, 1), np.uint8)], [caption], path, title="classes")
    with Image.open(path) as picture:
        return picture.tobytes()


def test_a_font_that_was_installed_meanwhile_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    boxes = drawn("猫\n犬", tmp_path / "boxes.png")
    told = capfd.readouterr().err
    assert told == (
        "warning: no installed font has 犬 猫: figures show boxes instead. On Debian: apt-get install fonts-noto-cjk\n"
    )
    install(tmp_path / "cats.ttf", "猫犬", "Cats")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "cats.ttf")])
    fonts._installed.cache_clear()
    assert fonts.families(["猫"])[-1] == "Cats"
    assert drawn("猫\n犬", tmp_path / "squares.png") != boxes
    assert capfd.readouterr().err == ""


def test_each_script_takes_a_font_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"Cats": "猫犬한", "Devanagari": "क", "Unused": "ༀ"}
    for family, text in installed.items():
        install(tmp_path / f"{family}.ttf", text, family)
    (tmp_path / "damaged.ttf").write_bytes(b"none")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(file) for file in tmp_path.glob("*.ttf")])
    assert fonts.families(["猫 한", "क", "cat", "قط"])[1:] == ["Cats", "Devanagari"]
    assert len(fonts.families(["cat", "été", "кот", "קטة"])) == 1  # Matplotlib's own font has these


def test_a_family_without_a_regular_face_lends_its_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for weight in (900, 500, 200):
        install(tmp_path / f"{weight}.ttf", "猫", "Heavy", weight)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: sorted(map(str, tmp_path.glob("*.ttf"))))
    assert fonts.families(["猫"])[-1] == "Heavy"
    assert fonts._installed()["Heavy"] == str(tmp_path / "500.ttf")


def test_what_no_font_has_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        fonts.families(["こ", "한", "क", "🦊", "a\u200db\ufe0f"])
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("apt-get install fonts-noto-cjk fonts-noto-core fonts-symbola")
    assert line.startswith("warning: no installed font has क こ 한 🦊: ")
    fonts.families(["こ", "狐"])
    assert "has 狐: " in capfd.readouterr().err
