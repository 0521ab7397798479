"""A trial's states and transitions: who may perform each, under which lock, and what must be durable first.

If a worker dies in epoch 3, the sweep's loop counts the attempt (`lost_attempt`), marks the run KILLED and requeues the
trial (`requeue`). `ask` then returns it again, to this sweep or another one, which continues the run and resumes
training after the last epoch whose state was saved (search/trials/training_states.py). If the whole sweep dies, the
trial stays RUNNING until another sweep or the doctor finds that its owner is gone or silent (`take_over`), and requeues
it.

See "Who owns a trial" in docs/architecture.md.
"""

from __future__ import annotations

import json
import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from experiments.tracking import OwnershipLost
from search.engines.messages import KnownArchitecture
from search.space import Values
from search.study.claims import FENCED, Claim
from search.study.digits import FewDigits
from search.study.halving import PausedAsPruned
from search.study.optuna_private import silent, take_search_space
from search.study.owner import attempt_of, may_live
from search.study.pruning import PAUSED_AT
from search.study.queue import Queue, to_ask, tried
from search.study.results import ENDED, MODEL_ID, REPLICATE_OF, is_paused
from search.study.sampling import sampler_of
from search.study.spans import EARLIER, until_now

MAX_ATTEMPTS = 3  # of a trial whose workers die; after that it has failed
OWN_FIRST = "own_first"  # user attribute of a study: it was given configurations to try first
WARM_STARTED = "warm_started"  # user attribute of a study: the architectures whose first trial is a warm start
T = TypeVar("T")


@dataclass(frozen=True)
class AskedTrial:
    """A trial to run."""

    trial: optuna.Trial
    values: Values
    attempt: int  # from 1; earlier attempts may have left a run in MLflow
    fenced: int  # the last attempt whose run must not be continued, because its owner may still write


class Lock(Enum):
    """Locks held during a transition."""

    STUDY_AND_TRIALS = "study's and trials'"
    TRIALS = "trials'"


@dataclass(frozen=True)
class Transition:
    """One way in which a trial's state or owner changes."""

    by: str  # method of Lifecycle
    before: TrialState | None  # None: the trial is created
    after: tuple[TrialState, ...]
    who: str
    lock: Lock
    durable_before: str  # what must be written, and where, before the state changes; empty: nothing


# All transitions. In between, only the owner writes, after checking that it still owns the trial (`owned`).
TRANSITIONS = (
    Transition("ask", None, (TrialState.RUNNING,), "any sweep of the study", Lock.STUDY_AND_TRIALS, ""),
    Transition("ask", TrialState.WAITING, (TrialState.RUNNING,), "any sweep of the study", Lock.STUDY_AND_TRIALS, ""),
    Transition(
        "adopt",
        TrialState.WAITING,
        (TrialState.RUNNING,),
        "a sweep or the doctor that found its writes on disk",
        Lock.TRIALS,
        "the writes, on disk",
    ),
    Transition(
        "adopt_paused",
        TrialState.WAITING,
        (TrialState.RUNNING,),
        "a sweep that has nothing else to train, to prune it",
        Lock.STUDY_AND_TRIALS,
        "the run KILLED, in MLflow",
    ),
    Transition(
        "take_over",
        TrialState.RUNNING,
        (TrialState.RUNNING,),
        "a sweep or the doctor, where the owner is gone or silent",
        Lock.STUDY_AND_TRIALS,
        "fenced, in the study, where the owner may still live",
    ),
    Transition(
        "requeue",
        TrialState.RUNNING,
        (TrialState.WAITING,),
        "the owner",
        Lock.TRIALS,
        "the run KILLED, in MLflow or on disk, if there is one",
    ),
    Transition("tell", TrialState.RUNNING, ENDED, "the owner", Lock.TRIALS, "the end of the run, in MLflow"),
)


class Lifecycle(Queue):
    """The transitions of a study's trials, and the writes of their owners."""

    def ask(self, architectures: tuple[KnownArchitecture, ...], worker: str) -> AskedTrial | None:
        """Return the next trial: a queued one, else a paused one that may resume, else a new one.

        Interrupted trials and configurations to try first are queued. Before enough trials have started, halving
        resumes none.

        New trials are first each architecture as published, then the sampler's suggestions.

        A suggestion depends only on the seed, the trial's number and the trials before it. So an interrupted study
        continues as if it had not been interrupted, and sweeps that share a study get different suggestions.

        Returns:
            None if this sweep or others have already started all requested or possible trials, and no paused one may
            resume.
        """

        def act() -> tuple[AskedTrial, Claim] | None:
            trials = self._open.study.get_trials(deepcopy=False)
            searched = [trial for trial in trials if REPLICATE_OF not in trial.user_attrs]
            waiting = to_ask(trials)
            may_start = self._may_start(trials, self._open.config.trials)
            resumed = None if may_start and (waiting or self._gathers()) else self._to_resume()
            if resumed is None and not may_start:
                return None
            known = resumed or next(iter(waiting), None)
            config, number = self._open.config, known.number if known else len(trials)
            to_publish = _to_publish(self._open.study.user_attrs, architectures, len(searched))
            if not known and self.grid and config.sampler == "grid":
                chance = random.Random(f"{config.seed} {number}")
                self._open.study.enqueue_trial(self.grid.untried(tried(self.grid, trials), chance))
            elif not known and to_publish:
                self._open.study.enqueue_trial(config.space.published(to_publish))
            sampler, before = sampler_of(config, number), getattr(self._open.study.sampler, "inner", None)
            take_search_space(sampler, before)
            storage = self._open.storage
            self._open.study.sampler = FewDigits(sampler)
            study = self._open.seen_through(PausedAsPruned(storage) if self._open.config.halves else storage)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # heartbeats are sent by `signs_of_life`
                trial = self._taken_up(study, resumed) if resumed else study.ask()
            claim = self.claims.write(self._open.storage.get_trial(self._open.id_of(trial)), worker)
            # Drawn under the lock, so that other sweeps see the configuration.
            values = self._open.config.space.suggest(trial, architectures)
            return AskedTrial(trial, values, claim.attempt, trial.user_attrs.get(FENCED, 0)), claim

        with self._open.errors():
            found = self._open.patient.alone(self._open.name, lambda: self.claims.alone(act))
        if found is None:
            return None
        asked, claim = found
        self.claims.hold(asked.trial.number, claim)
        return asked

    def _taken_up(self, study: optuna.Study, paused: FrozenTrial) -> optuna.Trial:
        """Set a paused trial to RUNNING. `Study.ask` would take the first one in the queue."""
        trial_id = self._open.id_of(paused)
        # First: the storage reads a queued trial only once.
        self._open.storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        self._open.storage.set_trial_user_attr(trial_id, PAUSED_AT, 0)
        return optuna.Trial(study, trial_id)

    def adopt(self, number: int) -> FrozenTrial | None:
        """Claim a queued trial to record its end; return None if another sweep was faster."""

        def act() -> Claim | None:
            held = self._open.study.get_trials(deepcopy=False)[number]
            return self._claimed(held, "delivery") if held.state == TrialState.WAITING else None

        with self._open.errors():
            return self._held(self.claims.alone(act))

    def adopt_paused(self) -> FrozenTrial | None:
        """Claim a paused trial to prune it; return None if there is none, or a sweep may still resume one."""

        def act() -> Claim | None:
            trials = self._open.study.get_trials(deepcopy=False)
            paused = [trial for trial in trials if is_paused(trial)]
            recorded = json.loads(self._open.study.user_attrs["config"])["trials"]  # as the latest sweep requested
            wanted = max(self._open.config.trials, recorded)
            running = any(trial.state == TrialState.RUNNING for trial in trials)
            if not paused or running or self._may_start(trials, wanted) or self._to_resume():
                return None
            return self._claimed(paused[0], "pruning")

        with self._open.errors():
            return self._held(self._open.patient.alone(self._open.name, lambda: self.claims.alone(act)))

    def _claimed(self, held: FrozenTrial, worker: str) -> Claim | None:
        if not self._open.storage.set_trial_state_values(self._open.id_of(held), TrialState.RUNNING):
            return None
        return self.claims.write(held, worker)

    def _held(self, claim: Claim | None) -> FrozenTrial | None:
        if claim is None:
            return None
        trial = self._open.storage.get_trial(claim.trial_id)
        self.claims.hold(trial.number, claim)
        return trial

    def take_over(self, *, dry_run: bool = False) -> list[FrozenTrial]:
        """Claim trials whose owner is gone, to requeue them: see `search.trials.recovery.recover`.

        On this host, an owner is gone if its process is. On other hosts, it is if its heartbeats have stopped. RUNNING
        trials stored for this process that it does not know about are claimed too: the database may have created one
        before a connection broke. An owner that may still be alive may still write, so the runs of its attempts are
        fenced.

        Args:
            dry_run: only return them.
        """

        def act() -> list[tuple[FrozenTrial, Claim | None]]:
            running = self._open.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            theirs = [trial for trial in running if trial.number not in self.claims.numbers]
            if not theirs:
                return []
            # After an outage of the database, wait: no process could send heartbeats.
            patience = time.monotonic() - self._open.patient.answered_since > self._open.config.takeover_after
            unheard = silent(self._open.patient, self._open.study_id) if patience else set()
            dead = [trial for trial in theirs if trial.number in unheard or not may_live(trial)]
            if dry_run:
                return [(trial, None) for trial in dead]
            for trial in dead:
                if may_live(trial):
                    self._open.storage.set_trial_user_attr(self._open.id_of(trial), FENCED, attempt_of(trial))
            claims = [self.claims.write(trial, "recovery") for trial in dead]
            return [(self._open.storage.get_trial(claim.trial_id), claim) for claim in claims]

        with self._open.errors():
            found = self._open.patient.alone(self._open.name, lambda: self.claims.alone(act))
        for trial, claim in found:
            if claim:
                self.claims.hold(trial.number, claim)
        return [trial for trial, _ in found]

    def requeue(self, number: int, *, ran: bool = False, run_id: str | None = None) -> None:
        """Put a trial back in the queue. It keeps its values, its number and its MLflow run.

        Args:
            ran: whether it was running until now, so that its duration is recorded.
            run_id: its run, if known; empty: it no longer has one, and does not count as paused.
        """

        def act(held: FrozenTrial) -> None:
            if ran:
                self._open.storage.set_trial_user_attr(self._open.id_of(held), EARLIER, until_now(held))
            if run_id is not None and run_id != held.user_attrs.get("run_id"):
                self._open.storage.set_trial_user_attr(self._open.id_of(held), "run_id", run_id)
            self._open.storage.set_trial_state_values(self._open.id_of(held), TrialState.WAITING)

        with self._open.errors(), suppress(OwnershipLost):
            self.claims.owned(number, act, last=True, done=(TrialState.WAITING,))

    def tell(
        self,
        number: int,
        state: TrialState,
        *values: float,
        run_id: str,
        model_id: str | None = None,
    ) -> None:
        """End a trial.

        Args:
            values: of the objectives, if it is complete.
            model_id: its model in MLflow, if that was kept.

        Raises:
            OwnershipLost: if another sweep has taken over the trial.
        """

        def act(held: FrozenTrial) -> None:
            for key, found in {"run_id": run_id, MODEL_ID: model_id}.items():
                if found and held.user_attrs.get(key) != found:
                    self._open.storage.set_trial_user_attr(self._open.id_of(held), key, found)
            self._open.study.tell(number, values if state == TrialState.COMPLETE else None, state=state)

        with self._open.errors():
            self.claims.owned(number, act, last=True, done=ENDED)

    def owned(self, number: int, act: Callable[[FrozenTrial], T]) -> T | None:
        """Write to a trial while no other process can take it over: see `Claims.owned`.

        Raises:
            OwnershipLost: if another sweep has taken over the trial.
        """
        with self._open.errors():
            return self.claims.owned(number, act)

    def owns(self, number: int) -> bool:
        """Return whether this process still owns a trial."""
        with self._open.errors():
            return self.claims.owns(number)

    def lost_attempt(self, trial: optuna.Trial) -> int:
        """Count an attempt whose worker died; return the number of such attempts."""

        def act(held: FrozenTrial) -> int:
            lost = held.user_attrs.get("lost_attempts", 0) + 1
            trial.set_user_attr("lost_attempts", lost)
            return lost

        return cast(int, self.owned(trial.number, act))


def _to_publish(
    held: Mapping[str, Any], architectures: Sequence[KnownArchitecture], searched: int
) -> KnownArchitecture | None:
    """Return the architecture that the next trial tries as published; None if the study has other first trials."""
    suggested = held.get(WARM_STARTED, [])
    left: list[KnownArchitecture | None] = [None] * len(suggested)
    left += [known for known in architectures if known.name not in suggested]
    return None if OWN_FIRST in held or searched >= len(left) else left[searched]
