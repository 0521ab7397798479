"""Unique texts for class labels: two classes may share a name, like ImageNet's two cranes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def told_apart(labels: Sequence[object]) -> tuple[str, ...]:
    """Return labels as texts, with the index if a label occurs more than once.

    >>> told_apart(["crane", "dog", "crane"])
    ('crane [0]', 'dog', 'crane [2]')
    """
    shown = [str(label) for label in labels]
    while repeated := {text for text, count in Counter(shown).items() if count > 1}:
        shown = [f"{text} [{index}]" if text in repeated else text for index, text in enumerate(shown)]
    return tuple(shown)
