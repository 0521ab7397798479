"""Disagreements between a study and MLflow, and what was done about them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A disagreement."""

    study: str
    trial: int | None
    run_id: str | None
    problem: str
    remedy: str  # what was or would be done about it, or why nothing can be
    mended: bool


class Findings:
    """The disagreements of a study, and whether to repair them."""

    def __init__(self, study: str, *, dry_run: bool) -> None:
        self._study, self._dry_run = study, dry_run
        self.all: list[Finding] = []

    def found(self, problem: str, remedy: str, *, trial: int | None = None, run_id: str | None = None) -> bool:
        """Record a repairable disagreement; return whether to repair it now."""
        self.all.append(Finding(self._study, trial, run_id, problem, remedy, mended=not self._dry_run))
        return not self._dry_run

    def unrepairable(self, problem: str, remedy: str, *, trial: int | None = None, run_id: str | None = None) -> None:
        """Record a disagreement that cannot be repaired, and why."""
        self.all.append(Finding(self._study, trial, run_id, problem, remedy, mended=False))
