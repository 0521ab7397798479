"""Print lines safely: names from a store may contain anything, and a terminal obeys what it is sent."""

from __future__ import annotations

import re
from typing import TextIO

# Control characters, which move a cursor or begin an escape sequence; line separators; what turns the direction of
# writing; halves of characters, which no output can encode.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def visible(text: str) -> str:
    r"""A text on one line in which control characters and marks of direction are written as Python writes them.

    >>> print(visible("\x1b[31mred\n\u202eder"))
    \x1b[31mred\n\u202eder
    """
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(*texts: object, file: TextIO | None = None, flush: bool = False) -> None:
    """Print texts as one line, on stdout unless a file is given; whatever they hold, it stays one line of text."""
    print(*(visible(str(text)) for text in texts), file=file, flush=flush)  # None is the stdout of this moment
