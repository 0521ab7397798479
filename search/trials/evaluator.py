"""Evaluate kept models while workers train."""

from __future__ import annotations

from rich.markup import escape

from experiments.datasets import Dataset
from experiments.evaluation.report import write_evaluation
from experiments.tracking import Ended, Tracker, TrackingUnavailable
from search.study.study import Study
from search.trials.progress import TrialProgress
from search.trials.recovery import drop_superseded


class Evaluator:
    """The queue of models to evaluate."""

    def __init__(self, study: Study, tracker: Tracker, dataset: Dataset) -> None:
        self._study, self._tracker, self._dataset = study, tracker, dataset
        self.waiting: list[Ended] = []

    def tidy(self, progress: TrialProgress) -> None:
        """Evaluate the queued models, and drop superseded ones. If MLflow is unavailable, do nothing yet."""
        try:
            while self.waiting:
                ended = self.waiting[0]
                assert ended.result is not None
                with self._study.alone():  # another sweep may be about to evaluate, register or drop it
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
                    if self._study.results.superseded(self._study.settled):
                        drop_superseded(self._study, self._tracker)
        except TrackingUnavailable:
            pass
