"""Rank trials by one figure, or find the Pareto front of several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import le


@dataclass(frozen=True)
class Scored:
    """The figures of a finished trial."""

    number: int
    value: float  # of the study's first objective
    coreml_bytes: int
    minimized: bool = False  # lower is better
    costs: tuple[float, ...] = ()  # the study's other objectives: lower is better

    @property
    def merit(self) -> tuple[float, int, int]:
        """A sort key: the best objective first, then the smaller file, then the earlier trial."""
        return self.value if self.minimized else -self.value, self.coreml_bytes, self.number


def front(scored: Iterable[Scored]) -> list[Scored]:
    """Return the Pareto front of the first objective and the file size, the best first.

    >>> [one.number for one in front([Scored(0, 0.9, 500), Scored(1, 0.8, 700), Scored(2, 0.7, 100)])]
    [0, 2]
    """
    return _undominated((one.merit[0], (float(one.coreml_bytes),), one) for one in scored)


def front_of_objectives(scored: Iterable[Scored]) -> list[Scored]:
    """Return the Pareto front of the study's objectives, the best first."""
    return _undominated((one.merit[0], one.costs, one) for one in scored)


def _undominated(found: Iterable[tuple[float, Sequence[float], Scored]]) -> list[Scored]:
    """Return the trials on the Pareto front of their costs; of trials with equal costs, the one with the best merit."""
    kept: list[tuple[Sequence[float], Scored]] = []
    for _, costs, one in sorted(found, key=lambda one: (one[0], one[1], one[2].merit)):
        if not any(all(map(le, lower, costs)) for lower, _ in kept):
            kept.append((costs, one))
    return [one for _, one in kept]


def ranked(scored: Iterable[Scored], *, front_first: bool) -> list[Scored]:
    """Return all trials, the best first; with `front_first`, those on the front of the objectives come first."""
    by_merit = sorted(scored, key=lambda one: one.merit)
    leading = front_of_objectives(by_merit) if front_first else []
    return leading + [one for one in by_merit if one not in leading]
