"""Print lines safely: names from a store may contain anything, including terminal escape sequences."""

from __future__ import annotations

import re
from typing import TextIO

# Control characters, which move the cursor or begin an escape sequence; line separators; marks that change the
# direction of writing; lone surrogates, which no output can encode.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def visible(text: str) -> str:
    r"""Return a text on one line, with control characters and direction marks escaped as in Python.

    >>> print(visible("\x1b[31mred\n\u202eder"))
    \x1b[31mred\n\u202eder
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(*texts: object, file: TextIO | None = None, flush: bool = False) -> None:
    """Print texts as one line, on stdout unless a file is given; unsafe characters are escaped."""
    print(*(visible(str(text)) for text in texts), file=file, flush=flush)  # None: the current stdout
