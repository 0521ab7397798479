"""Compare architectures by paired tests over seeds that were not used to choose the configurations.

The best configuration of each architecture is trained again with further seeds. The seed of the search is left out,
because the configuration was chosen for its result with that seed. The same seeds for both architectures make pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from experiments.objective import SHORT, score

LEVEL = 0.05  # significance level of all comparisons of a study together
MIN_SEEDS = 2  # the fewest that can be tested


@dataclass(frozen=True)
class Replicated:
    """A configuration that was trained with further seeds."""

    number: int  # of the trial that was replicated
    architecture: str
    by_seed: Mapping[int, float]  # value of the study's first objective
    objective: str = "val_accuracy"

    @property
    def mean(self) -> float:
        return sum(self.by_seed.values()) / len(self.by_seed)


@dataclass(frozen=True)
class ArchitectureComparison:
    """The best configurations of two architectures, the one with the better mean first."""

    first: str
    second: str
    first_trial: int
    second_trial: int
    seeds: int  # number of pairs
    first_mean: float  # of the study's first objective
    second_mean: float
    difference: float  # of the means
    low: float | None  # 95 % interval of the difference, by Student's t over the pairs
    high: float | None
    p_value: float | None  # two-sided paired t-test, by Holm's method for all comparisons; None: too few seeds
    significant: bool  # whether p_value is below LEVEL

    @property
    def verdict(self) -> str:
        """What the test shows."""
        if self.p_value is None:
            few = self.seeds < MIN_SEEDS
            return f"not tested: needs {MIN_SEEDS} seeds" if few else "not tested: all seeds differ by the same amount"
        if self.significant:
            return f"{self.first} beats {self.second}"
        return "no evidence of a difference"


def compare_architectures(replicated: Sequence[Replicated]) -> tuple[ArchitectureComparison, ...]:
    """Compare the best configuration of each architecture with that of every other one.

    Args:
        replicated: the best first, by the seed of the search; only the other seeds are tested.
    """
    chosen: dict[str, Replicated] = {}
    for one in replicated:
        chosen.setdefault(one.architecture, one)
    by_mean = sorted(chosen.values(), key=lambda one: (-score(one.objective, one.mean), one.number))
    comparisons = [_compare(first, second) for first, second in combinations(by_mean, 2)]
    return _holm(comparisons, by_mean[0].objective if by_mean else "val_accuracy")


def not_compared(architectures: Iterable[str], replicated: Sequence[Replicated]) -> tuple[str, ...]:
    """Return the architectures that have no replicated configuration; none if nothing was replicated.

    >>> not_compared(["chollet", "pocket"], [Replicated(3, "pocket", {1: 0.98})])
    ('chollet',)
    """
    compared = {one.architecture for one in replicated}
    return tuple(name for name in architectures if name not in compared) if compared else ()


def left_out_note(left_out: Sequence[str]) -> str:
    """Return a sentence about the architectures from `not_compared`.

    >>> left_out_note(["chollet", "resnet"])
    'Not compared, because none of their trials was replicated: chollet, resnet.'
    """
    return f"Not compared, because none of their trials was replicated: {', '.join(left_out)}."


def _compare(first: Replicated, second: Replicated) -> ArchitectureComparison:
    """Compare two configurations on the seeds that both have; the p-value is not yet adjusted."""
    import numpy as np
    from scipy.stats import ttest_rel

    seeds = sorted(first.by_seed.keys() & second.by_seed.keys())
    pairs = np.array([(first.by_seed[seed], second.by_seed[seed]) for seed in seeds]).reshape(-1, 2)
    low = high = p_value = None
    if len(seeds) >= MIN_SEEDS:
        differences = pairs[:, 0] - pairs[:, 1]
        if np.ptp(differences) < 1e-9:  # the test divides by their spread, so it does not apply to equal differences
            low = high = float(differences[0])
            p_value = 1.0 if abs(low) < 1e-9 else None
        else:
            test = ttest_rel(pairs[:, 0], pairs[:, 1])
            interval = test.confidence_interval()
            low, high, p_value = float(interval.low), float(interval.high), float(test.pvalue)
    means = [float(mean) for mean in pairs.mean(axis=0)] if seeds else [first.mean, second.mean]
    return ArchitectureComparison(
        first=first.architecture,
        second=second.architecture,
        first_trial=first.number,
        second_trial=second.number,
        seeds=len(seeds),
        first_mean=means[0],
        second_mean=means[1],
        difference=means[0] - means[1],
        low=low,
        high=high,
        p_value=p_value,
        significant=False,
    )


def _holm(comparisons: Sequence[ArchitectureComparison], objective: str) -> tuple[ArchitectureComparison, ...]:
    """Adjust the p-values for the number of tests (Holm 1979), and judge them."""
    tested = sorted((one for one in comparisons if one.p_value is not None), key=lambda one: one.p_value or 0.0)
    adjusted: dict[tuple[str, str], float] = {}
    highest = 0.0
    for position, one in enumerate(tested):
        highest = max(highest, min(1.0, (one.p_value or 0.0) * (len(tested) - position)))
        adjusted[one.first, one.second] = highest
    return tuple(
        one
        if one.p_value is None
        else replace(
            one,
            p_value=adjusted[one.first, one.second],
            # The first can have the worse mean of the pairs only if one has more seeds than the other.
            significant=adjusted[one.first, one.second] < LEVEL and score(objective, one.difference) > 0,
        )
        for one in comparisons
    )


def titles(objective: str) -> tuple[str, ...]:
    """Return the column titles for `cells`."""
    return "comparison", SHORT[objective], "against", "difference", "95 % interval", "p", "seeds", "verdict"


def cells(comparisons: Sequence[ArchitectureComparison]) -> list[list[str]]:
    """Return the rows of a table with the columns `titles`."""
    return [
        [
            f"{one.first}-{one.first_trial} and {one.second}-{one.second_trial}",
            f"{one.first_mean:.4f}",
            f"{one.second_mean:.4f}",
            f"{one.difference:+.4f}",
            f"{one.low:+.4f} to {one.high:+.4f}" if one.low is not None and one.high is not None else "",
            f"{one.p_value:.3f}" if one.p_value is not None else "",
            str(one.seeds),
            one.verdict,
        ]
        for one in comparisons
    ]
