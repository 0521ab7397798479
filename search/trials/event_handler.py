"""Handle the events of trials: update the study and the run, and answer the worker."""

from __future__ import annotations

from dataclasses import asdict, replace

from optuna.trial import FrozenTrial, TrialState
from rich.markup import escape

from architectures.redaction import redact
from experiments.config import Environment, ModelSize, RunResult
from experiments.datasets import Dataset
from experiments.objective import OF_THE_NETWORK
from experiments.tracking import Outbox, run_start
from experiments.tracking.entries import Answer, End, Epoch, Fail, Finish, Oversize, Size
from experiments.training.messages import Failed
from search.engines import Engine, WorkerFailed
from search.engines.messages import (
    Built,
    Died,
    EpochEnded,
    Event,
    Finished,
    Oversized,
    Placed,
    Resumed,
    StateNotKept,
    StateRefused,
    Stopped,
)
from search.study.judge import PruningVerdict
from search.study.lifecycle import MAX_ATTEMPTS
from search.study.results import DUPLICATE_OF, REPLICATE_OF, WARM_START
from search.study.spans import HOST
from search.study.study import Study
from search.trials.active_trials import ActiveTrial, ActiveTrials
from search.trials.progress import TrialProgress
from search.trials.sizes import Sizes
from search.trials.training_states import TrainingStates


class EventHandler:
    """Handles the events of this process's trials."""

    def __init__(
        self,
        study: Study,
        outbox: Outbox,
        dataset: Dataset,
        environment: Environment,
        experiment_id: str,
        active: ActiveTrials,
        sizes: Sizes,
        states: TrainingStates,
    ) -> None:
        self._study, self._outbox, self._dataset = study, outbox, dataset
        self._environment, self._experiment_id = environment, experiment_id
        self._active, self._sizes, self._states = active, sizes, states
        self.not_convertible: WorkerFailed | None = None  # ends the sweep: its trials would all fail

    def handle(self, event: Event, running: ActiveTrial, engine: Engine, progress: TrialProgress) -> None:
        """Handle an event of a trial that this process owns."""
        match event:
            case Placed(_, environment):
                self.start_run(running, environment)
            case Built(number, size):
                running.reply(engine, self._study.fits(size.coreml_bytes))
                self.record_size(running, size)
                progress.built(number, size)
            case Resumed(number, epochs, seconds):
                progress.resumed(number, epochs, seconds)
            case StateRefused(number, reason):
                said = self._states.set_aside(number, reason, before=running.attempt)
                progress.say(escape(f"warning: trial {number}: {said}"))
            case StateNotKept(number, reason):
                progress.say(escape(f"warning: trial {number}: its training state is not saved: {reason}"))
            case Oversized(number, parameters, least):
                self._study.facts.record_oversize(running.trial, parameters, least)
                self._active.end(running, None)
                self._outbox.write(number, Oversize(parameters, least))
                self._outbox.write(number, End("KILLED", "infeasible"))
                limited = self._study.config.max_coreml_bytes is not None
                progress.oversized(number, parameters, least if limited else None)
            case EpochEnded(number, metrics):
                value = getattr(metrics, self._study.config.objective)
                reachable = not self._outbox.away_seconds  # MLflow
                verdict = self._study.judge.report(running.trial, value, metrics.epoch, may_pause=reachable)
                running.reply(engine, verdict == PruningVerdict.GO_ON)  # first, so that the worker can continue
                running.stopped_to_pause = verdict == PruningVerdict.PAUSE
                self._outbox.write(number, Epoch(metrics))
                running.last_metrics = metrics
                progress.epoch(number, metrics)
            case Stopped(number):
                if running.last_metrics is None:
                    self.end_infeasible(running, progress)
                    return
                self._active.end(running, None)
                self._outbox.write(number, End("KILLED", "paused" if running.stopped_to_pause else "pruned"))
                (progress.paused if running.stopped_to_pause else progress.pruned)(number, running.last_metrics)
            case Finished(number, result):
                self.finish(running, result)
                progress.finished(number, result, REPLICATE_OF in running.trial.user_attrs)
            case Failed(int(number), message, text, exit_code, not_convertible):
                self.fail(running, text)
                progress.failed(number, message)
                if not_convertible and not self._study.has_size(running.config.architecture):
                    self.not_convertible = WorkerFailed(message, exit_code)
            case Died(int(number), reason):
                if self._study.trials.lost_attempt(running.trial) < MAX_ATTEMPTS:
                    progress.lost(number, f"trial {number}: {reason}; requeued")
                    self._outbox.forget_waiting(number)  # the next attempt, here or elsewhere, writes everything
                    self._active.give_back(running)
                else:
                    self.fail(running, f"Given up after {MAX_ATTEMPTS} attempts: {reason}.\n")
                    progress.failed(number, f"given up after {MAX_ATTEMPTS} attempts: {reason}")

    def start_run(self, running: ActiveTrial, environment: Environment) -> None:
        """Start a trial's run, with the environment it runs in, or continue the run of an earlier attempt."""
        number = running.trial.number
        start = run_start(
            self._experiment_id,
            f"{running.config.architecture}-{number}",
            running.config,
            dataset=self._dataset,
            environment=environment,
            parent=self._study.parent_run_id,
            study=self._study.name,
            trial_number=number,
            replicate_of=running.trial.user_attrs.get(REPLICATE_OF),
            warm_start=running.trial.user_attrs.get(WARM_START),
        )
        self._outbox.start(number, start, attempt=running.attempt, fenced=running.fenced)
        running.has_run = True
        run_id = self._outbox.run_id(number)

        def note(_: FrozenTrial) -> None:
            if run_id:
                running.trial.set_user_attr("run_id", run_id)
            if environment.host != running.trial.user_attrs.get(HOST, self._environment.host):
                running.trial.set_user_attr(HOST, environment.host)

        self._study.trials.owned(number, note)

    def answer(self, running: ActiveTrial, answer: FrozenTrial, progress: TrialProgress) -> None:
        """End a trial with the results of an identical one that has ended."""
        number = running.trial.number
        self.start_run(running, self._environment)
        sizes = {name: answer.user_attrs[name] for name in OF_THE_NETWORK if name in answer.user_attrs}
        self._study.facts.record_size(running.trial, sizes, **{DUPLICATE_OF: answer.number})
        scored = None
        if answer.state == TrialState.COMPLETE:
            running.values = tuple(answer.values)
            scored = self._study.results.scored(number, running.values, sizes["coreml_bytes"])
        self._active.end(running, scored)
        self._outbox.write(number, Answer(answer.user_attrs["run_id"]))
        progress.answered(number, answer.number)

    def record_size(self, running: ActiveTrial, size: ModelSize) -> None:
        """Record a network's sizes for its trial, and for later trials with the same network."""
        self._sizes.measured(running.config.network, size)
        running.size = size
        self._study.facts.record_size(running.trial, asdict(size))
        self._outbox.write(running.trial.number, Size(size))

    def end_infeasible(self, running: ActiveTrial, progress: TrialProgress) -> None:
        """End a trial before its first epoch because its file would be too large."""
        assert running.size is not None
        self._active.end(running, None)
        self._outbox.write(running.trial.number, End("KILLED", "infeasible"))
        progress.infeasible(running.trial.number, running.size.coreml_bytes)

    def finish(self, running: ActiveTrial, result: RunResult) -> None:
        """End a completed trial; keep its model if it is among the best."""
        running.values = self._study.config.values_of(result)
        if result.resampled:
            self._study.facts.record_resampled(running.trial, result.resampled)
        scored = self._study.results.scored(running.trial.number, running.values, result.size.coreml_bytes)
        replicate = REPLICATE_OF in running.trial.user_attrs
        unreported = [one for _, one in self._active.unreported.values() if one]
        keep = not replicate and scored.number in self._study.results.keepers(scored, *unreported)
        self._active.end(running, scored)
        result = replace(result, resampled=())  # the study has them
        self._outbox.write(running.trial.number, Finish(result, keep))

    def fail(self, running: ActiveTrial, text: str) -> None:
        """End a failed trial, and write the text to its run."""
        if not running.has_run:
            self.start_run(running, self._environment)
        self._active.end(running, None)
        self._outbox.write(running.trial.number, Fail(redact(text)))
