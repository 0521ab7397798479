"""Find fonts with the glyphs of a text: class names may be in any script, and Matplotlib's own font has only some."""

from __future__ import annotations

import contextlib
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache

# Debian's font packages, by the first word of the characters' Unicode names.
PACKAGES = dict.fromkeys(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH"), "fonts-noto-cjk")
SYMBOLS = "fonts-symbola"  # includes emoji as outlines: Matplotlib cannot draw colour fonts
PICTOGRAPHS = range(0x1F000, 0x1FC00)  # this Python may not know the newest ones
OTHER_SCRIPTS = "fonts-noto-core"
PLACEHOLDER = "Last Resort"  # family with boxes that name a script, in place of glyphs
REGULAR = 400  # weight of a face, on OpenType's scale of 1 to 1000
INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")  # Unicode categories without a glyph of their own
SHOWN = 8  # characters in a warning

_told: set[str] = set()  # characters that this process has warned about


def families(texts: Iterable[str]) -> list[str]:
    """Return the font families for texts: Matplotlib's, then installed ones with glyphs that it lacks.

    For characters that no font has, this prints once which Debian package has one.
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
    """Return the Debian package with a font for a character.

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
    """Return the file of each family's upright face with the weight closest to regular.

    This includes fonts that were installed after Matplotlib created its list.
    """
    from matplotlib import font_manager

    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        with contextlib.suppress(Exception):  # skip damaged fonts
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
    """Return the code points for which a font has an outline."""
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
