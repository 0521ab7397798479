"""A sampler wrapper that draws short numbers: 0.2745 instead of 0.27454011884736254.

The drawn value itself is rounded, so the study, the run and the training use the same number, and a run can be
reproduced exactly. Values that the user gave are not rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

SIGNIFICANT_DIGITS = 4


class FewDigits(BaseSampler):
    """Round the numbers that another sampler draws."""

    def __init__(self, inner: BaseSampler) -> None:
        self.inner = inner

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn = self.inner.sample_relative(study, trial, search_space)
        return {name: rounded(value, search_space[name]) for name, value in drawn.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        drawn = self.inner.sample_independent(study, trial, param_name, param_distribution)
        return rounded(drawn, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()


def rounded(value: Any, distribution: BaseDistribution) -> Any:
    """Return a number of a continuous range with few digits, still within the range; return anything else unchanged.

    >>> rounded(0.27454011884736254, FloatDistribution(0.0, 0.5)), rounded(0.33331, FloatDistribution(0.33333, 0.5))
    (0.2745, 0.33333)
    """
    if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
        return value
    return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), distribution.low), distribution.high)
