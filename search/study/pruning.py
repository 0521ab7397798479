"""When a trial is hopeless: what Optuna's pruners lack.

They compare one figure, and raise for two: with two objectives a trial is hopeless when it cannot enter the front at
the size that it has. That is known before the first epoch, so only the other objective is left to judge: the trial must
end better in it than every finished one whose file is no larger; or with three, that is no larger in both sizes.
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
PAUSED_AT = "paused_at"  # user attribute of a trial that waits at a rung of successive halving: the epoch; 0: no more
SHARE = 3  # one trial in so many goes on from a rung of successive halving
GATHERED = 8  # trials that start before any goes on from the first rung


def rungs(epochs: int) -> tuple[int, ...]:
    """Epochs of successive halving after which a trial may be paused: two, and a quarter of all.

    >>> rungs(15), rungs(50), rungs(8), rungs(4)
    ((2, 4), (2, 12), (2,), ())
    """
    if epochs < 2 * WARMUP_EPOCHS + 1:
        return ()
    quarter = round(epochs / 4)
    return (WARMUP_EPOCHS, quarter) if quarter >= 2 * WARMUP_EPOCHS else (max(WARMUP_EPOCHS, quarter),)


@dataclass
class LateMarks:
    """A study's storage that keeps the marks which Hyperband makes on trials, to be written after its verdict.

    A trial that has the mark of a rung is not judged on that rung again: were the mark there when a sweep is killed
    before the verdict is, the trial would escape.
    """

    storage: BaseStorage
    made: list[tuple[int, str, Any]] = field(default_factory=list)  # a trial's id, key and value

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def set_trial_system_attr(self, *mark: Any) -> None:
        self.made.append(mark)


@dataclass(frozen=True)
class Course:
    """How a trial went, or goes."""

    costs: tuple[float, ...]  # in the other objectives, all known before the first epoch; lower is better
    values: tuple[float, ...]  # of the first objective, of each epoch from the first
    minimized: bool = False  # whether a lower value is better

    def error(self, epochs: int | None = None) -> float:
        """The lowest loss, or share of wrong answers, within the first so many epochs, or all."""
        values = self.values[:epochs]
        return min(values) if self.minimized else 1 - max(values)


def cannot_enter_front(course: Course, finished: Sequence[Course]) -> bool:
    """Whether a trial would stay behind a finished one that is no larger, even if it went on as well as any has.

    From this epoch on, finished trials have kept some share of the error that they had by then. The smallest share
    among them makes the trial's hopeful end; where that is worse than the best finished trial of at most its costs,
    the trial is hopeless.
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
