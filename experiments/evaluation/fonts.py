"""Fonts that have the glyphs of a text: class names are written in any script, Matplotlib's own font in some."""

from __future__ import annotations

import contextlib
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache

# Debian's package for a script, by the first word of its characters' Unicode names.
PACKAGES = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH"), "fonts-noto-cjk")
SYMBOLS = "fonts-symbola"  # emoji among them, as outlines: Matplotlib cannot draw fonts of colour pictures
PICTOGRAPHS = range(0x1F000, 0x1FC00)  # of which this Python may not know the newest
OTHER_SCRIPTS = "fonts-noto-core"
PLACEHOLDER = "Last Resort"  # family whose glyphs are boxes that name a script
REGULAR = 400  # weight of a face, on OpenType's scale of 1 to 1000
INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")  # Unicode categories without a glyph of their own
SHOWN = 8  # characters in a warning

_told: set[str] = set()  # characters that this process has warned of


def families(texts: Iterable[str]) -> list[str]:
    """The families to draw texts with: Matplotlib's, then installed ones that have what it lacks.

    Says once, which Debian package has a font for characters that none has.
    """
    import matplotlib
    from matplotlib import font_manager

    chosen = list(matplotlib.rcParams["font.family"])
    own = _glyphs(font_manager.findfont(font_manager.FontProperties()))
    missing = {ord(sign) for sign in set("".join(texts)) if _visible(sign)} - own
    candidates = _installed() if missing else {}
    while missing:
        best = max(sorted(candidates), key=lambda name: len(missing & _glyphs(candidates[name])), default=None)
        if best is None or not missing & _glyphs(candidates[best]):
            break
        chosen.append(best)
        missing -= _glyphs(candidates[best])
    _warn(sorted(map(chr, missing)))
    return chosen


def package(sign: str) -> str:
    """Debian's package with a font that has a character.

    >>> package("猫"), package("क"), package("🦊")
    ('fonts-noto-cjk', 'fonts-noto-core', 'fonts-symbola')
    """
    if unicodedata.category(sign).startswith("S") or ord(sign) in PICTOGRAPHS:
        return SYMBOLS
    return PACKAGES.get(unicodedata.name(sign, "").partition(" ")[0], OTHER_SCRIPTS)


def _visible(sign: str) -> bool:
    return unicodedata.category(sign) not in INVISIBLE and not unicodedata.name(sign, "").startswith("VARIATION")


@cache
def _installed() -> dict[str, str]:
    """The file of each family's upright face whose weight is nearest to the regular one's.

    Also of fonts that were installed since Matplotlib looked.
    """
    from matplotlib import font_manager

    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        with contextlib.suppress(Exception):  # a damaged font is nobody's fault here
            manager.addfont(path)
    upright = [entry for entry in manager.ttflist if entry.style == "normal" and PLACEHOLDER not in entry.name]
    found: dict[str, str] = {}
    for entry in sorted(upright, key=lambda entry: abs(_weight(entry.weight) - REGULAR)):
        found.setdefault(entry.name, entry.fname)
    return found


def _weight(weight: int | str) -> int:
    """Convert Matplotlib's weight of a face, a number or a name, to OpenType's scale.

    >>> _weight("bold"), _weight(300)
    (700, 300)
    """
    from matplotlib import font_manager

    return weight if isinstance(weight, int) else font_manager.weight_dict[weight]


@cache
def _glyphs(path: str) -> frozenset[int]:
    """Code points that a font has an outline for."""
    from matplotlib import font_manager

    with contextlib.suppress(Exception):
        font = font_manager.get_font(path)
        if font.scalable:
            return frozenset(font.get_charmap())
    return frozenset()


def _warn(missing: list[str]) -> None:
    if not (new := [sign for sign in missing if sign not in _told]):
        return
    _told.update(new)
    shown = " ".join(new[:SHOWN]) + (" ..." if len(new) > SHOWN else "")
    wanted = " ".join(sorted(set(map(package, new))))
    print(
        f"warning: no installed font has {shown}: figures show boxes instead. On Debian: apt-get install {wanted}",
        file=sys.stderr,
    )
