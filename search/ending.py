"""The end of a sweep: compare, register, rank, draw, and end the parent run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial
from rich.markup import escape

from architectures.display import say
from conversion.promotion.preference import Preference, smallest
from experiments.attempts import Attempts
from experiments.datasets import Dataset
from experiments.evaluation.intervals import ExpectedAccuracy
from experiments.objective import score
from experiments.tracking import CANDIDATE, Tracker, TrackingUnavailable, VersionRecord
from experiments.views import leaderboard
from experiments.views.leaderboard import Row
from search.report.data_page import Doubtful, Found, mistakes, write_data_page
from search.report.page import REPORT, compared_architectures, replicated, selection_of, write_report
from search.report.significance import ArchitectureComparison
from search.report.summary import description, sweep_metrics
from search.study.study import Study
from search.trials.patience import wait_for_mlflow
from search.trials.progress import TrialProgress
from search.trials.recovery import drop_superseded, end_parent, evaluate_leftover_models


@dataclass
class Ending:
    """The end of a sweep and its results. A figure that cannot be drawn is reported and does not stop it."""

    study: Study
    tracker: Tracker
    dataset: Dataset
    parent: str  # the sweep's run
    progress: TrialProgress

    registered: Sequence[VersionRecord] = ()  # the best first
    preference: Preference | None = None  # what `promote --prefer smallest` takes
    board: Sequence[Row] = ()
    expected: ExpectedAccuracy | None = None  # of the best
    compared: Sequence[ArchitectureComparison] = ()
    left_out: Sequence[str] = ()  # of the comparison, and why
    doubtful: Doubtful = field(default_factory=lambda: Doubtful((), None))
    report: str | None = None  # its place
    _attempts: Attempts = field(default_factory=Attempts)

    def finish(self, *, stopped: bool) -> None:
        """Finish the sweep.

        If MLflow is unavailable, this waits for it, unless the sweep was stopped: then nothing is registered or drawn.
        """
        with self._attempts.part("comparison"):
            self.compared, self.left_out = compared_architectures(self.study)
        if stopped:
            with contextlib.suppress(TrackingUnavailable):
                self._rank()
                self._say_what_is_missing()
                end_parent(self.study, self.tracker, "KILLED")
            return
        for step in (self._register, self._rank, self._draw, self._look_at_images):
            wait_for_mlflow(step, self.progress)
        self._say_what_is_missing()
        wait_for_mlflow(lambda: end_parent(self.study, self.tracker, "FINISHED"), self.progress)

    def _register(self) -> None:
        self.progress.waiting("registering the best models")
        with self.study.alone():
            evaluate_leftover_models(self.study, self.tracker, self.dataset, self._say)  # of dead sweeps
            self.registered = _register(self.study, self.tracker)
            if self.registered:
                with self._attempts.part("what promote --prefer smallest takes"):
                    self.preference = smallest(self.tracker, self.study.config.registered_name, self.dataset)
            drop_superseded(self.study, self.tracker)

    def _rank(self) -> None:
        """Read the leaderboard and write it to the sweep's run, before another sweep of the study does."""
        config = self.study.config
        if not any(self.study.results.counts().values()):
            return
        with self.study.alone(), self._attempts.part("leaderboard"):
            self.board = leaderboard.rows(self.tracker, selection_of(config))
            told = description(self.study, self.board, self.tracker.experiment(config.experiment_name))
            expected_of = ""
            with self._attempts.part("expected accuracy"):
                expected_of, self.expected = self._expected()
            found = sweep_metrics(self.study, self.board, self.expected)
            self.tracker.parents.describe(self.parent, told, found, expected_of=expected_of)

    def _expected(self) -> tuple[str, ExpectedAccuracy | None]:
        """Return the best run and its expected accuracy; none if further seeds have put another run first."""
        found = self.study.results.expected(len(self.dataset.val))
        return found if found and self.board and found[0] == self.board[0].run_id else ("", None)

    def _draw(self) -> None:
        self.progress.waiting("drawing the study")
        if write_report(
            self.study,
            self.tracker,
            self.parent,
            list(self.board),
            expected=self.expected,
            compared=self.compared,
            left_out=self.left_out,
            attempts=self._attempts,
        ):
            self.report = self.tracker.runs.place_in_run(self.parent, REPORT)

    def _look_at_images(self) -> None:
        self.progress.waiting("looking at the images")
        name = self.study.config.dataset
        suspects = write_data_page(self.tracker, self.parent, self.dataset, name, self._attempts)
        wrong: Found = ()
        if self.registered:
            with self._attempts.part("mistakes"):
                answers = self.tracker.models.val_probabilities(self.registered[0].run_id)
                wrong = mistakes(answers, self.dataset)
        self.doubtful = Doubtful(wrong, suspects)

    def _say_what_is_missing(self) -> None:
        if self._attempts.reasons:
            self._say(f"warning: not drawn: {self._attempts}")

    def _say(self, text: str) -> None:
        self.progress.say(escape(text))


def _register(study: Study, tracker: Tracker) -> list[VersionRecord]:
    """Register the study's best models and its front, and point `candidate` at the best."""
    registered = []
    means = {one.number: one.mean for one in replicated(study)}
    objective = study.config.objective

    def replicated_first(trial: FrozenTrial) -> tuple[bool, float]:
        return trial.number not in means, -score(objective, means.get(trial.number, 0.0))

    for trial in sorted(study.results.to_register(), key=replicated_first):
        model = tracker.models.kept_model(trial.user_attrs["run_id"])
        if model is None:  # an earlier sweep kept fewer models, or died before it had written this one
            say(
                f"warning: trial {trial.number} is among the best {study.config.keep} or on the front, but "
                f"its model was not kept: it is not registered",
                file=sys.stderr,
            )
            continue
        registered.append(tracker.registry.register(study.config.registered_name, model))
    if registered:
        tracker.registry.set_alias(registered[0], CANDIDATE)
    return registered
