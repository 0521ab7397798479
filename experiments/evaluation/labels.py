"""Class labels as they are shown: two classes may share a name, as ImageNet's two cranes do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def told_apart(labels: Sequence[object]) -> tuple[str, ...]:
    """Labels as texts, each that occurs more than once with its index.

    >>> told_apart(["crane", "dog", "crane"])
    ('crane [0]', 'dog', 'crane [2]')
    """
    shown = [str(label) for label in labels]
    while repeated := {text for text, count in Counter(shown).items() if count > 1}:
        shown = [f"{text} [{index}]" if text in repeated else text for index, text in enumerate(shown)]
    return tuple(shown)
