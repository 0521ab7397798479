"""Disagreements between a study and MLflow, and what becomes of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A disagreement."""

    study: str
    trial: int | None
    run_id: str | None
    problem: str
    remedy: str  # what was done about it, or would be, or why nothing can be
    mended: bool


class Findings:
    """What was found in a study, and whether to repair it."""

    def __init__(self, study: str, *, dry_run: bool) -> None:
        self._study, self._dry_run = study, dry_run
        self.all: list[Finding] = []

    def found(self, problem: str, remedy: str, *, trial: int | None = None, run_id: str | None = None) -> bool:
        """Record something that can be repaired; returns whether to repair it now."""
        self.all.append(Finding(self._study, trial, run_id, problem, remedy, mended=not self._dry_run))
        return not self._dry_run

    def hopeless(self, problem: str, remedy: str, *, trial: int | None = None, run_id: str | None = None) -> None:
        """Record what cannot be repaired, and why."""
        self.all.append(Finding(self._study, trial, run_id, problem, remedy, mended=False))
