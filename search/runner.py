"""The loop of a sweep: ask the study, train on an engine, write to MLflow, tell the study."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from conversion.convert import FileFacts
from experiments.config import Environment, EpochMetrics, ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset
from experiments.evaluation import write_evaluation
from experiments.tracking import ModelRecord, Tracker, git_commit
from search.engines.local import LocalEngine, WorkerFailed
from search.engines.messages import Built, Died, EpochEnded, Event, Failed, Finished, Job, Known, Ready, Stopped
from search.progress import TrialProgress
from search.ranking import Scored
from search.study import DUPLICATE_OF, MAX_ATTEMPTS, REPLICATE_OF, Study

POLL_SECONDS = 0.5  # between two looks for Ctrl-C


@dataclass
class _Running:
    """A trial on its way."""

    trial: optuna.Trial
    run_id: str
    config: RunConfig
    recorded_epochs: int = 0  # in MLflow; more than those trained here after an interruption
    size: ModelSize | None = None
    last_metrics: EpochMetrics | None = None


@dataclass
class Runner:
    """Runs a study's trials until it holds as many as were asked for, time is up, or a person interrupts."""

    study: Study
    tracker: Tracker
    dataset: Dataset
    environment: Environment
    experiment_id: str
    parent_run_id: str
    architectures: tuple[Known, ...]
    folder: Path  # for the models of trials on their way
    kept: dict[int, ModelRecord] = field(default_factory=dict)  # by trial number: models stored in this sweep
    _running: dict[int, _Running] = field(default_factory=dict)
    _sizes: dict[tuple[object, ...], ModelSize] = field(default_factory=dict)  # by RunConfig.network
    _to_evaluate: list[tuple[_Running, RunResult]] = field(default_factory=list)

    def run(self, engine: LocalEngine, progress: TrialProgress) -> bool:
        """Run trials; on return none is left running. Returns whether a person interrupted."""
        deadline = time.monotonic() + (self.study.config.timeout or float("inf"))
        with interruptible() as interrupted:
            try:
                while not interrupted():
                    more = self._wants_more(deadline)
                    if more and (worker := engine.free_worker()):
                        self._start(engine, worker, progress)
                        continue
                    self._tidy()
                    if not self._running and not more:
                        if time.monotonic() < deadline and (replicates := self.study.enqueue_replicates()):
                            progress.expect_more(replicates)
                            continue
                        break
                    event = engine.next_event(POLL_SECONDS)
                    if event is not None:
                        self._handle(event, engine, progress)
                self._tidy()
                self._put_back()
            except BaseException:
                with contextlib.suppress(Exception):  # a full disk, a lost server: the first error is the one to tell
                    self._put_back()
                raise
            return interrupted()

    def _wants_more(self, deadline: float) -> bool:
        return time.monotonic() < deadline and (
            self.study.started() < self.study.config.trials
            or (bool(waiting := self.study.waiting()) and all(REPLICATE_OF in trial.user_attrs for trial in waiting))
        )

    def _start(self, engine: LocalEngine, worker: str, progress: TrialProgress) -> None:
        trial, values = self.study.ask(self.architectures, worker)
        sweep = self.study.config
        config = RunConfig(
            dataset=sweep.dataset,
            epochs=sweep.epochs,
            seed=trial.user_attrs.get("seed", sweep.seed),
            precision=sweep.precision,
            compress=sweep.compress,
            **vars(values),
        )
        run_id = self.tracker.find_run(self.parent_run_id, trial.number)
        recorded = self.tracker.resume_run(run_id, config, self.dataset, self.environment) if run_id else None
        if run_id is None or recorded is None:
            recorded = 0
            run_id = self.tracker.start_run(
                self.experiment_id,
                f"{config.architecture}-{trial.number}",
                config,
                dataset=self.dataset,
                environment=self.environment,
                parent=self.parent_run_id,
                study=self.study.name,
                trial_number=trial.number,
                replicate_of=trial.user_attrs.get(REPLICATE_OF),
            )
        trial.set_user_attr("run_id", run_id)
        running = self._running[trial.number] = _Running(trial, run_id, config, recorded)
        progress.started(trial.number, config)
        if (answer := self.study.answer(trial)) is not None:
            self._answer(running, answer, progress)
            del self._running[trial.number]
            return
        # A sweep's other texts in the file all have one length: networks of the same widths have files of one size.
        size = self._sizes.get(config.network)
        if size and not self.study.fits(size.coreml_bytes):
            self._record_size(running, size)
            self._end_infeasible(running, progress)
            del self._running[trial.number]
            return
        facts = file_facts(self.dataset, config, run_id, self.study.name)
        engine.submit(Job(trial.number, config, facts, size, self.folder / f"{trial.number}.keras"))

    def _handle(self, event: Event, engine: LocalEngine, progress: TrialProgress) -> None:
        if isinstance(event, Ready):
            return
        if isinstance(event, Failed) and event.number is None:
            raise WorkerFailed(event.message, event.exit_code)
        if isinstance(event, Died) and event.number is None:
            return  # between two trials; another has been started
        assert event.number is not None
        running = self._running[event.number]
        match event:
            case Built(number, size):
                engine.reply(number, self.study.fits(size.coreml_bytes))
                self._record_size(running, size)
                progress.built(number, size)
                return
            case EpochEnded(number, metrics):
                prune = self.study.report(running.trial, metrics.val_accuracy, metrics.epoch)
                engine.reply(number, not prune)  # first: the worker trains on while this process writes
                if metrics.epoch > running.recorded_epochs:
                    self.tracker.log_epoch(running.run_id, metrics)
                    running.recorded_epochs = metrics.epoch
                running.last_metrics = metrics
                progress.epoch(number, metrics)
                return
            case Stopped(number):
                if running.last_metrics is None:
                    self._end_infeasible(running, progress)
                else:
                    self.tracker.end(running.run_id, "KILLED", outcome="pruned")
                    self.study.tell(running.trial, TrialState.PRUNED)
                    progress.pruned(number, running.last_metrics)
            case Finished(number, result):
                self._finish(running, result)
                progress.finished(number, result)
            case Failed(int(number), message, text, _):
                self._fail(running, text)
                progress.failed(number, message)
            case Died(int(number), reason):
                if self.study.lost_attempt(running.trial) < MAX_ATTEMPTS:
                    progress.lost(number, f"trial {number}: {reason}; it is tried again")
                    self.study.requeue(running.trial._trial_id)
                    self.tracker.end(running.run_id, "KILLED", outcome="interrupted")  # until it is tried again
                else:
                    self._fail(running, f"Given up after {MAX_ATTEMPTS} attempts: {reason}.\n")
                    progress.failed(number, f"given up after {MAX_ATTEMPTS} attempts: {reason}")
        del self._running[event.number]

    def _answer(self, running: _Running, answer: FrozenTrial, progress: TrialProgress) -> None:
        """End a trial whose configuration has been tried with what was measured then: it would be the same again."""
        self.tracker.answer_run(running.run_id, answer.user_attrs["run_id"])
        self.study.record_size(running.trial, answer.user_attrs["coreml_bytes"])
        running.trial.set_user_attr(DUPLICATE_OF, answer.number)
        self.study.tell(running.trial, answer.state, answer.values[0] if answer.values else None)
        progress.answered(running.trial.number, answer.number)

    def _record_size(self, running: _Running, size: ModelSize) -> None:
        """Record a network's sizes, for its own trial and for those of the same widths."""
        self._sizes[running.config.network] = running.size = size
        self.study.record_size(running.trial, size.coreml_bytes)
        self.tracker.log_size(running.run_id, size)

    def _end_infeasible(self, running: _Running, progress: TrialProgress) -> None:
        """End a trial whose file would be too large, before its first epoch."""
        assert running.size is not None
        self.tracker.end(running.run_id, "KILLED", outcome="infeasible")
        self.study.tell(running.trial, TrialState.PRUNED)
        progress.infeasible(running.trial.number, running.size.coreml_bytes)

    def _finish(self, running: _Running, result: RunResult) -> None:
        # MLflow first: a death before the study is told is mended by a retry, which writes nothing twice.
        scored = Scored(running.trial.number, result.best_val_accuracy, result.size.coreml_bytes)
        replicate = REPLICATE_OF in running.trial.user_attrs
        keep = not replicate and scored.number in self.study.keepers(scored)
        model = self.tracker.finish(running.run_id, result, keep=keep)
        self.study.tell(running.trial, TrialState.COMPLETE, result.best_val_accuracy)
        result.keras_file.unlink(missing_ok=True)
        if model:
            self.kept[running.trial.number] = model
            self._to_evaluate.append((running, result))

    def _tidy(self) -> None:
        """Evaluate the models that were kept, and drop those that better ones have overtaken. Workers train on."""
        if not self._to_evaluate:
            return
        for running, result in self._to_evaluate:
            write_evaluation(self.tracker, running.run_id, result, self.dataset)
        self._to_evaluate.clear()
        for number in self.kept.keys() - self.study.keepers():
            self.tracker.drop_model(self.kept.pop(number).model_id)

    def _fail(self, running: _Running, text: str) -> None:
        self.tracker.fail(running.run_id, text)
        self.study.tell(running.trial, TrialState.FAIL)

    def _put_back(self) -> None:
        """Leave trials that were interrupted in the queue of the study, and their runs KILLED.

        Where that fails, the next sweep of the study finds them without a living owner and does the same.
        """
        for running in self._running.values():
            self.study.requeue(running.trial._trial_id)
        for running in self._running.values():
            self.tracker.end(running.run_id, "KILLED", outcome="interrupted")
        self._running.clear()


def file_facts(dataset: Dataset, config: RunConfig, run_id: str, study: str = "") -> FileFacts:
    """Facts of the file that a run would ship; its accuracy, whose text has a fixed length, is not known yet."""
    return FileFacts(
        class_names=dataset.class_names,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        architecture=config.architecture,
        run_id=run_id,
        study=study,
        git_commit=git_commit(),
        val_accuracy=0.0,
    )


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Make Ctrl-C and SIGTERM something to ask about: they never strike in the middle of a write to a database.

    The second one strikes as ever.
    """
    struck = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal struck
        struck = True
        signal.signal(number, before[number])

    before: dict[int, Any] = {n: signal.signal(n, interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: struck
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
