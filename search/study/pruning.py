"""Decide when a trial is hopeless, where Optuna's pruners cannot.

They compare one figure, and raise for several objectives. With two, a trial is hopeless when it cannot enter the front
at its size, which is known before the first epoch. So only the other objective is judged: the trial must end better in
it than every finished one whose file is no larger; with three, than every one that is no larger in both sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import le
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

WARMUP_EPOCHS = 2  # before which no trial is pruned
RANDOM_TRIALS = 4  # drawn at random before TPE models the space, and finished before any trial is pruned
PAUSED_AT = "paused_at"  # user attribute of a trial that waits at a rung of successive halving: the epoch; 0: no longer
REDUCTION_FACTOR = 3  # one trial in three is promoted from a rung of successive halving
GATHERED = 8  # trials that start before any leaves the first rung


def rungs(epochs: int) -> tuple[int, ...]:
    """Return the epochs of successive halving after which a trial may be paused: two, and a quarter of all.

    >>> rungs(15), rungs(50), rungs(8), rungs(4)
    ((2, 4), (2, 12), (2,), ())
    """
    if epochs < 2 * WARMUP_EPOCHS + 1:
        return ()
    quarter = round(epochs / 4)
    return (WARMUP_EPOCHS, quarter) if quarter >= 2 * WARMUP_EPOCHS else (max(WARMUP_EPOCHS, quarter),)


@dataclass
class LateMarks:
    """A study's storage that holds back the marks which Hyperband makes on trials until its verdict is written.

    A trial with the mark of a rung is not judged at that rung again: otherwise a kill in between would leave it
    unpruned.
    """

    storage: BaseStorage
    made: list[tuple[int, str, Any]] = field(default_factory=list)  # a trial's id, key and value

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def set_trial_system_attr(self, *mark: Any) -> None:
        self.made.append(mark)


@dataclass(frozen=True)
class Course:
    """The values of a trial so far."""

    costs: tuple[float, ...]  # in the other objectives, all known before the first epoch; lower is better
    values: tuple[float, ...]  # of the first objective, of each epoch from the first
    minimized: bool = False  # whether a lower value is better

    def error(self, epochs: int | None = None) -> float:
        """Return the lowest loss, or share of wrong answers, within the first `epochs`, or within all."""
        values = self.values[:epochs]
        return min(values) if self.minimized else 1 - max(values)


def cannot_enter_front(course: Course, finished: Sequence[Course]) -> bool:
    """Return whether a trial would stay behind a finished one that is no larger, even with the best improvement so far.

    After this epoch, finished trials kept some share of the error that they had by then. The smallest share among them
    gives the trial's optimistic final error; if that is worse than the best finished trial at no higher costs, the
    trial is hopeless.
    """
    epochs = len(course.values)
    if epochs <= WARMUP_EPOCHS or len(finished) < RANDOM_TRIALS:
        return False
    rivals = [one for one in finished if all(map(le, one.costs, course.costs))]
    if not rivals:
        return False
    shares = [one.error() / one.error(epochs) for one in finished if one.error(epochs) > 0]
    hopeful = course.error() * min(shares, default=1.0)
    return hopeful > min(one.error() for one in rivals)
