"""Which trials are the best: by one figure alone, or by its front against bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scored:
    """A finished trial's figures."""

    number: int
    value: float  # of the study's first objective
    coreml_bytes: int
    minimized: bool = False  # whether a lower value is better

    @property
    def merit(self) -> tuple[float, int, int]:
        """Sorts by the objective, then the smaller file, then the earlier trial; the best first."""
        return self.value if self.minimized else -self.value, self.coreml_bytes, self.number


def front(scored: Iterable[Scored]) -> list[Scored]:
    """Those that no other one beats in the objective or bytes without losing in the other, the best first.

    >>> [one.number for one in front([Scored(0, 0.9, 500), Scored(1, 0.8, 700), Scored(2, 0.7, 100)])]
    [0, 2]
    """
    found: list[Scored] = []
    for one in sorted(scored, key=lambda one: one.merit):
        if not found or one.coreml_bytes < found[-1].coreml_bytes:
            found.append(one)
    return found


def ranked(scored: Iterable[Scored], *, front_first: bool) -> list[Scored]:
    """All of them, the best first; with `front_first` the front stands before the rest."""
    by_merit = sorted(scored, key=lambda one: one.merit)
    leading = front(by_merit) if front_first else []
    return leading + [one for one in by_merit if one not in leading]
