"""The loop of a sweep: ask the study, train on an engine, write to MLflow, tell the study.

A trial's end is recorded in the study only after MLflow has its run. If something dies in between, either the trial is
run again, or its run is already there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from optuna.trial import FrozenTrial
from rich.markup import escape

from experiments.config import Environment
from experiments.datasets import Dataset
from experiments.tracking import (
    Outbox,
    OwnershipLost,
    Tracker,
    TrackingUnavailable,
)
from experiments.training.messages import Failed
from search.engines import Engine, WorkerFailed
from search.engines.messages import (
    LARGEST_UNASKED,
    Built,
    Died,
    EpochEnded,
    Event,
    Finished,
    Job,
    KnownArchitecture,
    Oversized,
    Ready,
    Stopped,
    WorkersChosen,
)
from search.study.pruning import rungs
from search.study.study import Study
from search.trials.active_trials import ActiveTrial, ActiveTrials
from search.trials.evaluator import Evaluator
from search.trials.event_handler import EventHandler
from search.trials.patience import MLFLOW_OUTAGE_SECONDS, wait_for_mlflow
from search.trials.progress import TrialProgress
from search.trials.recovery import end_pruned, recover
from search.trials.run import file_facts, run_config
from search.trials.sizes import Sizes
from search.trials.training_states import TrainingStates

POLL_SECONDS = 0.5  # between checks for Ctrl-C
OTHERS_SECONDS = 3.0  # before an exhausted study, or MLflow when it is unavailable, is asked again
NO_RUN = "0" * 32  # placeholder with the length of a run id, for measuring the size of a file


class Runner:
    """Runs trials until the study has the requested number, time is up, or the user interrupts."""

    def __init__(
        self,
        study: Study,
        tracker: Tracker,
        outbox: Outbox,
        states: TrainingStates,
        dataset: Dataset,
        environment: Environment,
        *,
        experiment_id: str,
        architectures: tuple[KnownArchitecture, ...],
        folder: Path,
    ) -> None:
        """Prepare to run trials.

        Args:
            experiment_id: of the runs in MLflow.
            folder: for the models of unfinished trials.
        """
        self.study, self.tracker, self.outbox, self.dataset = study, tracker, outbox, dataset
        self.environment, self.experiment_id, self.folder = environment, experiment_id, folder
        self.states = states
        self.architectures = architectures
        self.active = ActiveTrials(study, tracker, outbox, states)
        self.sizes = Sizes(study, environment)
        self.handler = EventHandler(study, outbox, dataset, environment, experiment_id, self.active, self.sizes, states)
        self.evaluator = Evaluator(study, tracker, dataset)
        self._waits_since = 0.0  # since when only MLflow has been waited for
        self._evaluate_at = 0.0  # when to try again, on the monotonic clock
        self._all_started = False  # no further trial is to start, unless one is requeued or resumed

    def run(self, engine: Engine, progress: TrialProgress, interrupted: Callable[[], bool]) -> bool:
        """Run trials; return whether the user interrupted. No trial is left running.

        Raises:
            WorkerFailed: for an architecture that cannot be converted, after all ended trials are recorded.
            TrackingUnavailable: if MLflow has been unavailable for too long.
        """
        seconds = self.study.config.timeout or float("inf")
        deadline = time.monotonic() + seconds
        progress.no_start_after(seconds)
        try:
            with self.study.trials.claims.signs_of_life():
                while not interrupted() and not self.handler.not_convertible:
                    in_time = time.monotonic() < deadline
                    worker = engine.free_worker() if in_time and time.monotonic() >= self.active.ask_at else None
                    if worker and self._start(engine, worker, progress):
                        continue
                    self._tell(progress)
                    asked_for_all = not in_time or time.monotonic() < self.active.ask_at
                    if not self.active.running and asked_for_all:
                        self._evaluate(progress)
                        if not self._waits(in_time, progress):
                            break
                    evaluates = self._may_evaluate(asked_for_all)
                    event = engine.next_event(0.0 if evaluates else POLL_SECONDS)
                    if event is not None:
                        self._handle(event, engine, progress)
                    elif evaluates and not self.evaluator.evaluate_next(progress):
                        self._evaluate_at = time.monotonic() + OTHERS_SECONDS
                    self.outbox.deliver()
                    self._tell(progress)
                self._tell(progress)
                self.outbox.deliver(at_once=True)  # while this process still owns them
                self.active.requeue_all()
                self._tell(progress)
                self._evaluate(progress)
        except BaseException:
            with contextlib.suppress(Exception):  # such as a full disk or a lost server: report the first error
                self.active.requeue_all()
            raise
        if self.handler.not_convertible:
            raise self.handler.not_convertible
        if paused := len(self.study.trials.paused()):
            progress.say(f"paused trials: {paused}; a continuation of the study resumes the most promising")
        return interrupted()

    def _waits(self, in_time: bool, progress: TrialProgress) -> bool:
        """Return whether to wait although nothing is running and the study has no further trial now.

        Raises:
            TrackingUnavailable: if MLflow has been unavailable for too long.
        """
        if self.outbox.waiting or self.evaluator.waiting:
            self._waits_since = self._waits_since or time.monotonic()
            if time.monotonic() - self._waits_since > MLFLOW_OUTAGE_SECONDS:
                raise TrackingUnavailable(
                    f"MLflow at {self.tracker.uri} does not answer. The writes of {self.outbox.waiting} trials are "
                    f"kept in {self.outbox.folder}: continue the study with python -m search.sweep --study "
                    f"{self.study.name}."
                )
            progress.waiting("all trials have ended; waiting for MLflow")
            return True
        self._waits_since = 0.0
        if not in_time:
            return False
        if self.study.trials.has_more():  # requeued in the meantime, or replicates enqueued by another sweep
            self.active.ask_at = 0.0
            return True
        if self.active.duplicates:
            progress.waiting("waiting for a trial with the same configuration")
            return True
        if self.study.trials.others_run():
            progress.waiting("waiting for the trials of other sweeps of this study")
            return True
        if self._prune_paused(progress):
            return True
        if replicates := self.study.enqueue_replicates():
            progress.expect_more(replicates)
            self.active.ask_at = 0.0
        return bool(replicates)

    def _prune_paused(self, progress: TrialProgress) -> bool:
        """Prune the paused trials once nothing is left to train; return whether there were any."""
        pruned, found = 0, False
        while trial := self.study.trials.adopt_paused():
            found = True
            with contextlib.suppress(OwnershipLost):
                if wait_for_mlflow(partial(end_pruned, self.study, self.tracker, trial), progress):
                    self.states.remove(trial.number)
                    pruned += 1
        if pruned:
            progress.pruned_paused(pruned)
        if found:
            self.active.ask_at = 0.0
        return found

    def _take_over(self, progress: TrialProgress) -> bool:
        """Requeue trials whose owner is gone; return whether there were any."""
        dead = recover(self.study, self.tracker)
        for trial in dead:
            progress.say(f"trial {trial.number}: owner is gone; requeued")
        if dead:
            self.active.ask_at = 0.0
        return bool(dead)

    def _start(self, engine: Engine, worker: str, progress: TrialProgress) -> bool:
        """Start a trial whose duplicate has ended, or the study's next one; return whether there was one."""
        released = self.active.next_unblocked_duplicate(progress)
        if released:
            running, same = released
        else:
            asked = self.study.trials.ask(self.architectures, worker)
            if asked is None:
                self.active.ask_at = time.monotonic() + OTHERS_SECONDS
                return self._take_over(progress)
            trial = asked.trial
            if self.active.holds(trial.number):  # lost to another sweep, but its worker here has not noticed
                self.study.trials.requeue(trial.number)
                self.active.ask_at = time.monotonic() + OTHERS_SECONDS
                return False
            config = run_config(self.study.config, trial, asked.values)
            running = ActiveTrial(trial, config, asked.attempt, asked.fenced)
            self.active.running[trial.number] = running
            self._all_started = not self.study.trials.has_more()
            same = self.active.same(trial)
            if same and not same.state.is_finished():
                self.active.duplicates[trial.number] = self.active.running.pop(trial.number)
                return True
        progress.started(running.trial.number, running.config)
        try:
            self._begin(running, same, engine, progress)
        except OwnershipLost:
            self.active.lose(running, progress)
            self.active.running.pop(running.trial.number, None)
        return True

    def _begin(self, running: ActiveTrial, same: FrozenTrial | None, engine: Engine, progress: TrialProgress) -> None:
        """End a trial with the results of `same`, end it because its file would be too large, or submit it."""
        trial, config = running.trial, running.config
        if same:
            self.handler.answer(running, same, progress)
            return
        # All other texts in the file have a fixed length, so equal networks have files of equal size.
        size = self.sizes.of(config.network)
        if size and not self.study.fits(size.coreml_bytes):
            self.handler.start_run(running, self.environment)
            self.handler.record_size(running, size)
            self.handler.end_infeasible(running, progress)
            return
        text = file_facts(self.dataset, config, NO_RUN, self.study.name)
        state = self.states.newest(
            trial.number,
            before=running.attempt,
            say=lambda said: progress.say(escape(f"warning: trial {trial.number}: {said}")),
        )
        engine.submit(
            Job(
                trial.number,
                config,
                text,
                size,
                self.folder / f"{trial.number}.keras",
                self.study.config.max_coreml_bytes,
                LARGEST_UNASKED if self.study.config.max_coreml_bytes is None else None,
                state,
                self.states.path(trial.number, running.attempt),
                rungs(config.epochs) if self.study.config.halves else (),
            )
        )

    def _handle(self, event: Event, engine: Engine, progress: TrialProgress) -> None:
        if isinstance(event, Ready):
            return
        if isinstance(event, WorkersChosen):
            progress.chosen(event.workers, event.reason)
            return
        if isinstance(event, Failed) and event.number is None:
            raise WorkerFailed(event.message, event.exit_code)
        if isinstance(event, Died) and event.number is None:
            return  # an idle worker died; another one has been started
        assert event.number is not None
        running = self.active.running[event.number]
        running.awaits_verdict = isinstance(event, Built | EpochEnded)
        try:
            if not running.taken_over:
                if not isinstance(event, EpochEnded) and not self.study.trials.owns(event.number):
                    raise OwnershipLost(f"Trial {event.number} was taken over by another sweep.")
                self.handler.handle(event, running, engine, progress)
                return
        except OwnershipLost:
            self.active.lose(running, progress)
        if running.awaits_verdict:
            running.reply(engine, False)
        if isinstance(event, Finished | Failed | Died | Stopped | Oversized):
            self.active.running.pop(event.number, None)

    def _tell(self, progress: TrialProgress) -> None:
        """Report ended trials to the study, and queue their kept models for evaluation."""
        if kept := self.active.tell(progress):
            self.evaluator.add(kept)

    def _may_evaluate(self, asked_for_all: bool) -> bool:
        """Return whether to evaluate a kept model while the last trials run, if no worker asks anything."""
        last_run = bool(self.active.running) and (asked_for_all or self._all_started)
        return last_run and bool(self.evaluator.waiting) and time.monotonic() >= self._evaluate_at

    def _evaluate(self, progress: TrialProgress) -> None:
        """Evaluate all kept models."""
        if self.evaluator.waiting:
            progress.waiting("evaluating the kept models")
        while self.evaluator.evaluate_next(progress):
            pass
