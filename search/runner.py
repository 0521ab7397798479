"""The loop of a sweep: ask the study, train on an engine, write to MLflow, tell the study.

The study is told how a trial ended when MLflow holds its run, never before: whatever dies in between, the trial is
still to be run, or its run is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.markup import escape

from architectures.errors import UsageError
from architectures.plugins import plugin_sha256
from conversion.convert import FileFacts
from experiments.config import Environment, EpochMetrics, ModelSize, RunConfig, RunResult
from experiments.datasets import Dataset, reading_of
from experiments.evaluation import write_evaluation
from experiments.tracking import (
    Ended,
    Outbox,
    OwnershipLost,
    Tracker,
    TrackingUnavailable,
    code_tags,
    git_commit,
    run_start,
)
from search.config import SweepConfig
from search.engines import Engine, WorkerFailed
from search.engines.cluster import facts
from search.engines.messages import Built, Died, EpochEnded, Event, Failed, Finished, Job, Known, Placed, Ready, Stopped
from search.left_over import drop_overtaken, recover, state_of
from search.progress import TrialProgress
from search.ranking import Scored
from search.space import Values
from search.standing import DUPLICATE_OF, HOST, REPLICATE_OF
from search.study import MAX_ATTEMPTS, Study, Verdict

POLL_SECONDS = 0.5  # between two looks for Ctrl-C
OTHERS_SECONDS = 3.0  # after which a study without a further trial is asked again: other sweeps may give some back
OUTAGE_SECONDS = 600  # for which an MLflow that is away is waited for once all trials have ended
NO_RUN = "0" * 32  # stands for a run's id, which has this length, where only the size of a file is asked for


@dataclass
class _Running:
    """A trial on its way."""

    trial: optuna.Trial
    config: RunConfig
    attempt: int  # from 1
    fenced: int = 0  # the last attempt whose run is not to be gone on with
    asks: bool = False  # its worker waits to hear whether it goes on
    placed: bool = False  # it has a run, or will have one when MLflow is back
    lost: bool = False  # another sweep has taken it over
    size: ModelSize | None = None
    last_metrics: EpochMetrics | None = None


@dataclass
class Runner:
    """Runs a study's trials until it holds as many as were asked for, time is up, or a person interrupts."""

    study: Study
    tracker: Tracker
    outbox: Outbox
    dataset: Dataset
    environment: Environment  # of this process
    experiment_id: str
    parent_run_id: str
    architectures: tuple[Known, ...]
    folder: Path  # for the models of trials on their way
    _running: dict[int, _Running] = field(default_factory=dict)
    _twins: dict[int, _Running] = field(default_factory=dict)  # wait for a trial of the same configuration
    _untold: dict[int, tuple[_Running, Scored | None]] = field(default_factory=dict)  # MLflow lacks their end
    _sizes: dict[tuple[object, ...], ModelSize] = field(default_factory=dict)  # by RunConfig.network
    _to_evaluate: list[Ended] = field(default_factory=list)
    _ask_at: float = 0.0  # on the monotonic clock: when the study is asked for a trial again
    _waits_since: float = 0.0  # since when nothing but MLflow is waited for
    _not_convertible: WorkerFailed | None = None  # ends the sweep: all trials of an architecture would fail

    def run(self, engine: Engine, progress: TrialProgress, interrupted: Callable[[], bool]) -> bool:
        """Run trials; on return none is left running. Returns whether a person interrupted.

        Raises:
            WorkerFailed: for an architecture that cannot be converted, once what has ended is written.
            TrackingUnavailable: if MLflow has been away for too long.
        """
        deadline = time.monotonic() + (self.study.config.timeout or float("inf"))
        try:
            with self.study.claims.signs_of_life():
                while not interrupted() and not self._not_convertible:
                    in_time = time.monotonic() < deadline
                    worker = engine.free_worker() if in_time and time.monotonic() >= self._ask_at else None
                    if worker and self._start(engine, worker, progress):
                        continue
                    self._tidy(progress)
                    asked_for_all = not in_time or time.monotonic() < self._ask_at
                    if not self._running and asked_for_all and not self._waits(in_time, progress):
                        break
                    if (event := engine.next_event(POLL_SECONDS)) is not None:
                        self._handle(event, engine, progress)
                    self.outbox.deliver()
                    self._tell(progress)
                self._tidy(progress)
                self.outbox.deliver(at_once=True)  # while they are this process'
                self._put_back()
                self._tell(progress)
        except BaseException:
            with contextlib.suppress(Exception):  # a full disk, a lost server: the first error is the one to tell
                self._put_back()
            raise
        if self._not_convertible:
            raise self._not_convertible
        return interrupted()

    def _waits(self, in_time: bool, progress: TrialProgress) -> bool:
        """Whether something is still to come though nothing runs here and the study has no further trial now.

        Raises:
            TrackingUnavailable: if MLflow has been away for too long.
        """
        if self.outbox.waiting or self._to_evaluate:
            self._waits_since = self._waits_since or time.monotonic()
            if time.monotonic() - self._waits_since > OUTAGE_SECONDS:
                raise TrackingUnavailable(
                    f"MLflow at {self.tracker.uri} does not answer. What {self.outbox.waiting} trials wrote is kept in "
                    f"{self.outbox.folder}: continue the study with python -m search.sweep --study {self.study.name}."
                )
            progress.waiting("all trials have ended; waiting for MLflow")
            return True
        self._waits_since = 0.0
        if not in_time:
            return False
        if self.study.has_more():  # given back meanwhile, or replicates of another sweep
            self._ask_at = 0.0
            return True
        if self._twins:
            progress.waiting("waiting for another trial of the same configuration")
            return True
        if self.study.others_run():
            progress.waiting("waiting for the trials of other sweeps of this study")
            return True
        if replicates := self.study.enqueue_replicates():
            progress.expect_more(replicates)
            self._ask_at = 0.0
        return bool(replicates)

    def _take_over(self, progress: TrialProgress) -> bool:
        """Give trials back to the study that nobody runs any more."""
        dead = recover(self.study, self.tracker)
        for trial in dead:
            progress.say(f"trial {trial.number}: nobody runs it any more; it is tried again")
        if dead:
            self._ask_at = 0.0
        return bool(dead)

    def _start(self, engine: Engine, worker: str, progress: TrialProgress) -> bool:
        """Start a trial that waited for its twin, or the study's next one; returns whether there was one."""
        released = self._twin_that_waits_no_more(progress)
        if released:
            running, same = released
        else:
            asked = self.study.ask(self.architectures, worker)
            if asked is None:
                self._ask_at = time.monotonic() + OTHERS_SECONDS
                return self._take_over(progress)
            trial = asked.trial
            if trial.number in {*self._running, *self._twins}:  # lost, and its worker does not know yet
                self.study.requeue(trial.number)
                self._ask_at = time.monotonic() + OTHERS_SECONDS
                return False
            config = run_config(self.study.config, trial, asked.values)
            running = _Running(trial, config, asked.attempt, asked.fenced)
            self._running[trial.number] = running
            same = self._same(trial)
            if same and not same.state.is_finished():
                self._twins[trial.number] = self._running.pop(trial.number)
                return True
        progress.started(running.trial.number, running.config)
        try:
            self._begin(running, same, engine, progress)
        except OwnershipLost:
            self._lose(running, progress)
            self._running.pop(running.trial.number, None)
        return True

    def _begin(self, running: _Running, same: FrozenTrial | None, engine: Engine, progress: TrialProgress) -> None:
        """Answer a trial from the `same` one, end it where its file would be too large, or have it trained."""
        trial, config = running.trial, running.config
        if same:
            self._answer(running, same, progress)
            return
        # A sweep's other texts in the file all have one length: networks of the same widths have files of one size.
        size = self._size(config.network)
        if size and not self.study.fits(size.coreml_bytes):
            self._place(running, self.environment)
            self._record_size(running, size)
            self._end_infeasible(running, progress)
            return
        text = file_facts(self.dataset, config, NO_RUN, self.study.name)
        engine.submit(Job(trial.number, config, text, size, self.folder / f"{trial.number}.keras"))

    def _same(self, trial: optuna.Trial) -> FrozenTrial | None:
        """The trial of the same configuration that answers this one, or will."""
        for one in self.study.standing.same(trial):
            if not one.state.is_finished() or self._has_run(one):
                return one
        return None

    def _has_run(self, trial: FrozenTrial) -> bool:
        """Whether MLflow holds the run of a trial that has ended still; while it is away, that is taken for granted."""
        try:
            self.tracker.run(trial.user_attrs["run_id"])
        except UsageError:
            return False
        except TrackingUnavailable:
            pass
        return True

    def _twin_that_waits_no_more(self, progress: TrialProgress) -> tuple[_Running, FrozenTrial | None] | None:
        """A trial that runs now, and the twin that answers it: its twin has ended, or nobody will run that one."""
        for number, running in list(self._twins.items()):
            if not self.study.owns(number):
                del self._twins[number]
                self._lose(running, progress)
                continue
            same = self._same(running.trial)
            if same and same.state == TrialState.WAITING and not self.study.has_more():
                same = None  # one of more trials than are asked for now
            if same is None or same.state.is_finished():
                self._running[number] = self._twins.pop(number)
                return running, same
        return None

    def _place(self, running: _Running, environment: Environment) -> None:
        """Start a trial's run, which says where it computes, or take up the one of an earlier attempt."""
        number = running.trial.number
        start = run_start(
            self.experiment_id,
            f"{running.config.architecture}-{number}",
            running.config,
            dataset=self.dataset,
            environment=environment,
            parent=self.parent_run_id,
            study=self.study.name,
            trial_number=number,
            replicate_of=running.trial.user_attrs.get(REPLICATE_OF),
        )
        self.outbox.start(number, start, attempt=running.attempt, fenced=running.fenced)
        running.placed = True
        run_id = self.outbox.run_id(number)

        def note(_: FrozenTrial) -> None:
            if run_id:
                running.trial.set_user_attr("run_id", run_id)
            if environment.host != running.trial.user_attrs.get(HOST, self.environment.host):
                running.trial.set_user_attr(HOST, environment.host)

        self.study.owned(number, note)

    def _handle(self, event: Event, engine: Engine, progress: TrialProgress) -> None:
        if isinstance(event, Ready):
            return
        if isinstance(event, Failed) and event.number is None:
            raise WorkerFailed(event.message, event.exit_code)
        if isinstance(event, Died) and event.number is None:
            return  # between two trials; another has been started
        assert event.number is not None
        running = self._running[event.number]
        running.asks = isinstance(event, Built | EpochEnded)
        try:
            if not running.lost:
                if not isinstance(event, EpochEnded) and not self.study.owns(event.number):
                    raise OwnershipLost(f"Trial {event.number} is another sweep's by now.")
                self._follow(event, running, engine, progress)
                return
        except OwnershipLost:
            self._lose(running, progress)
        if running.asks:
            self._reply(running, engine, False)
        if isinstance(event, Finished | Failed | Died | Stopped):
            self._running.pop(event.number, None)

    def _reply(self, running: _Running, engine: Engine, go_on: bool) -> None:
        running.asks = False
        engine.reply(running.trial.number, go_on)

    def _follow(self, event: Event, running: _Running, engine: Engine, progress: TrialProgress) -> None:
        """Do what an event of a trial that is this process' asks for."""
        match event:
            case Placed(_, environment):
                self._place(running, environment)
            case Built(number, size):
                self._reply(running, engine, self.study.fits(size.coreml_bytes))
                self._record_size(running, size)
                progress.built(number, size)
            case EpochEnded(number, metrics):
                verdict = self.study.report(running.trial, metrics.val_accuracy, metrics.epoch)
                self._reply(running, engine, verdict == Verdict.GO_ON)  # first: the worker trains on meanwhile
                self.outbox.epoch(number, metrics)
                running.last_metrics = metrics
                progress.epoch(number, metrics)
            case Stopped(number):
                if running.last_metrics is None:
                    self._end_infeasible(running, progress)
                    return
                self._end(running, None)
                self.outbox.end(number, "KILLED", outcome="pruned")
                progress.pruned(number, running.last_metrics)
            case Finished(number, result):
                self._finish(running, result)
                progress.finished(number, result, REPLICATE_OF in running.trial.user_attrs)
            case Failed(int(number), message, text, exit_code, not_convertible):
                self._fail(running, text)
                progress.failed(number, message)
                if not_convertible and not self.study.has_size(running.config.architecture):
                    self._not_convertible = WorkerFailed(message, exit_code)
            case Died(int(number), reason):
                if self.study.lost_attempt(running.trial) < MAX_ATTEMPTS:
                    progress.lost(number, f"trial {number}: {reason}; it is tried again")
                    self.outbox.forget_waiting(number)  # the next attempt, maybe another sweep's, writes all of it
                    self._give_back(running)
                else:
                    self._fail(running, f"Given up after {MAX_ATTEMPTS} attempts: {reason}.\n")
                    progress.failed(number, f"given up after {MAX_ATTEMPTS} attempts: {reason}")

    def _answer(self, running: _Running, answer: FrozenTrial, progress: TrialProgress) -> None:
        """End a trial whose configuration has been tried with what was measured then: it would be the same again."""
        number = running.trial.number
        self._place(running, self.environment)
        self.study.record_size(running.trial, answer.user_attrs["coreml_bytes"], **{DUPLICATE_OF: answer.number})
        complete = answer.state == TrialState.COMPLETE
        value = answer.values[0] if complete else 0.0
        self._end(running, Scored(number, value, answer.user_attrs["coreml_bytes"]) if complete else None)
        self.outbox.answer(number, answer.user_attrs["run_id"])
        progress.answered(number, answer.number)

    def _size(self, network: tuple[object, ...]) -> ModelSize | None:
        """A network's sizes, where this sweep or another one of the study has measured them."""
        if network not in self._sizes and (size := self.study.size(network, self._code)):
            self._sizes[network] = size
        return self._sizes.get(network)

    @cached_property
    def _code(self) -> str:
        """The code and packages that decide a network's sizes."""
        installed = [plugin_sha256(point.module) for point in entry_points(group="architectures")]
        decisive = [facts(), code_tags(), self.environment.plugins, installed]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()

    def _record_size(self, running: _Running, size: ModelSize) -> None:
        """Record a network's sizes, for its own trial and for those of the same widths."""
        network = running.config.network
        if network not in self._sizes:
            self.study.share_size(network, self._code, size)
        self._sizes[network] = running.size = size
        self.study.record_size(running.trial, size.coreml_bytes)
        self.outbox.size(running.trial.number, size)

    def _end_infeasible(self, running: _Running, progress: TrialProgress) -> None:
        """End a trial whose file would be too large, before its first epoch."""
        assert running.size is not None
        self._end(running, None)
        self.outbox.end(running.trial.number, "KILLED", outcome="infeasible")
        progress.infeasible(running.trial.number, running.size.coreml_bytes)

    def _finish(self, running: _Running, result: RunResult) -> None:
        scored = Scored(running.trial.number, result.best_val_accuracy, result.size.coreml_bytes)
        replicate = REPLICATE_OF in running.trial.user_attrs
        untold = [one for _, one in self._untold.values() if one]
        keep = not replicate and scored.number in self.study.standing.keepers(scored, *untold)
        self._end(running, scored)
        self.outbox.finish(running.trial.number, result, keep=keep)

    def _fail(self, running: _Running, text: str) -> None:
        if not running.placed:
            self._place(running, self.environment)
        self._end(running, None)
        self.outbox.fail(running.trial.number, text)

    def _end(self, running: _Running, scored: Scored | None) -> None:
        """Note that a trial has ended: as complete, which is `scored`, or otherwise."""
        number = running.trial.number
        del self._running[number]
        self._untold[number] = (running, scored)

    def _tell(self, progress: TrialProgress) -> None:
        """Tell the study of the trials whose ends MLflow holds."""
        for ended in self.outbox.ended():
            if ended.number not in self._untold:
                continue  # was given back
            _, scored = self._untold[ended.number]
            value = scored.val_accuracy if scored else None
            state = TrialState.COMPLETE if scored else state_of(ended)
            model = ended.model.model_id if ended.model else None
            try:
                self.study.tell(ended.number, state, value, run_id=ended.run_id, model_id=model)
            except OwnershipLost:
                self._lose_untold(ended.number, progress)
                continue
            del self._untold[ended.number]
            if ended.model:
                self._to_evaluate.append(ended)
        for number in self.outbox.lost():
            self._lose_untold(number, progress)

    def _lose_untold(self, number: int, progress: TrialProgress) -> None:
        if running := self._running.get(number) or self._untold.get(number, (None,))[0]:
            self._lose(running, progress)
        else:
            self.outbox.forget(number)  # was given back: whoever tries it again writes all of it

    def _tidy(self, progress: TrialProgress) -> None:
        """Evaluate the models that were kept, and drop those that better ones have overtaken. Workers train on."""
        self._tell(progress)
        try:
            while self._to_evaluate:
                ended = self._to_evaluate[0]
                run_id, result = ended.run_id, ended.result
                assert result is not None
                with self.study.alone():  # another sweep may be about to evaluate, to register or to drop it
                    missing = write_evaluation(
                        self.tracker,
                        run_id,
                        result.val_probabilities,
                        self.dataset,
                        best_epoch=result.best_epoch,
                        figures=self.study.config.figures,
                    )
                    if missing:
                        progress.say(f"warning: trial {ended.number}: not drawn: {escape(missing)}")
                    del self._to_evaluate[0]
                    if self.study.standing.overtaken(self.study.settled):
                        drop_overtaken(self.study, self.tracker)
        except TrackingUnavailable:
            pass  # later

    def _lose(self, running: _Running, progress: TrialProgress) -> None:
        """Leave a trial to the sweep that has taken it over."""
        number = running.trial.number
        running.lost = True
        self._untold.pop(number, None)
        self.outbox.abandon(number)
        progress.lost(number, f"trial {number}: another sweep has taken it over")

    def _give_back(self, running: _Running) -> None:
        """Leave a trial that was interrupted in the queue of the study, and its run KILLED.

        Where that fails, the next sweep of the study finds it without a living owner and does the same.
        """
        number = running.trial.number
        self._running.pop(number, None)
        self._twins.pop(number, None)
        if running.lost:
            return
        try:
            if running.placed and self.outbox.run_id(number):
                self.outbox.end(number, "KILLED", outcome="interrupted")  # until it is tried again
        except OwnershipLost:
            self.outbox.abandon(number)
            return
        self.study.requeue(number)
        self._ask_at = 0.0

    def _put_back(self) -> None:
        for running in [*self._running.values(), *self._twins.values()]:
            self._give_back(running)


def run_config(sweep: SweepConfig, trial: optuna.Trial | FrozenTrial, values: Values) -> RunConfig:
    """What a trial is trained with; `values` are the point that it drew."""
    return RunConfig(
        dataset=sweep.dataset,
        epochs=sweep.epochs,
        seed=trial.user_attrs.get("seed", sweep.seed),
        precision=sweep.precision,
        compress=sweep.compress,
        **vars(values),
    )


def file_facts(dataset: Dataset, config: RunConfig, run_id: str, study: str = "") -> FileFacts:
    """Facts of the file that a run would ship; accuracy and threshold, of a fixed length, are not known yet."""
    return FileFacts(
        class_names=dataset.class_names,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        architecture=config.architecture,
        run_id=run_id,
        study=study,
        git_commit=git_commit(),
        val_accuracy=0.0,
        threshold=0.0,
        **reading_of(config.dataset),
    )
