"""Evaluate kept models once all trials have started, while the last ones train."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from rich.markup import escape

from experiments.datasets import Dataset
from experiments.evaluation.report import write_evaluation
from experiments.tracking import Ended, Tracker, TrackingUnavailable
from search.study.study import Study
from search.trials.progress import TrialProgress
from search.trials.recovery import drop_superseded, unevaluated


class Evaluator:
    """The queue of models to evaluate. Superseded ones leave it unevaluated."""

    def __init__(self, study: Study, tracker: Tracker, dataset: Dataset) -> None:
        self._study, self._tracker, self._dataset = study, tracker, dataset
        self.waiting: list[Ended] = []

    def add(self, ended: Iterable[Ended]) -> None:
        """Queue kept models, and drop those that they supersede, unless MLflow is unavailable."""
        self.waiting += ended
        with suppress(TrackingUnavailable):
            if self._study.results.superseded(self._study.settled):
                with self._study.alone():  # another sweep may be about to evaluate, register or drop it
                    drop_superseded(self._study, self._tracker)
        kept = self._study.results.kept()
        self.waiting = [one for one in self.waiting if one.number in kept]

    def evaluate_next(self, progress: TrialProgress) -> bool:
        """Evaluate a queued model; return whether there was one. If MLflow is unavailable, leave it queued."""
        with suppress(TrackingUnavailable), self._study.alone():
            left = {run.run_id for run in unevaluated(self._study, self._tracker)}  # by other sweeps, and not deleted
            self.waiting = [one for one in self.waiting if one.run_id in left]
            if not self.waiting:
                return False
            ended = self.waiting[0]
            assert ended.result is not None
            missing = write_evaluation(
                self._tracker,
                ended.run_id,
                ended.result.val_probabilities,
                self._dataset,
                figures=self._study.config.figures,
            )
            if missing:
                progress.say(f"warning: trial {ended.number}: not drawn: {escape(missing)}")
            del self.waiting[0]
            return True
        return False
