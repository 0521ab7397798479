"""An Optuna study that survives: created or continued, its interrupted trials taken up again."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TypeVar, cast

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from architectures.errors import ProjectError, UsageError
from experiments.config import ModelSize
from experiments.tracking import OwnershipLost
from search.config import SweepConfig
from search.engines.messages import Known
from search.space import Values
from search.study.claims import FENCED, Claim, Claims
from search.study.owner import attempt_of, may_live
from search.study.pruning import RANDOM_TRIALS, WARMUP_EPOCHS, Course, LateMarks, cannot_enter_front
from search.study.results import COURSE, MODEL_ID, REPLICATE_OF, Standing, val_accuracies
from search.study.storage import one_line, open_storage

MAX_ATTEMPTS = 3  # of one trial whose worker dies under it; then it counts as failed
PRUNED_AT = "pruned_at"  # user attribute of a trial that was found hopeless: the epoch
OWN_FIRST = "own_first"  # user attribute of a study that was given configurations to try first
T = TypeVar("T")
DIRECTIONS = {"val_accuracy": StudyDirection.MAXIMIZE, "coreml_bytes": StudyDirection.MINIMIZE}


@dataclass(frozen=True)
class Asked:
    """A trial to be run."""

    trial: optuna.Trial
    values: Values
    attempt: int  # from 1; an earlier one may have left a run in MLflow
    fenced: int  # the last attempt whose run is not to be gone on with: its owner may still write


class Verdict(Enum):
    """What becomes of a trial after an epoch."""

    GO_ON = "go on"
    PRUNE = "prune"


class Study:
    """The trials of one sweep."""

    def __init__(self, config: SweepConfig, given: dict[str, object]) -> None:
        """Open the study of that name, or prepare to create it: `create` writes it down.

        Raises:
            UsageError: if the study exists and one of the `given` options contradicts its record.
            ProjectError: if the storage cannot be opened.
        """
        self.config = config
        self.settled: set[str] = set()  # ids of overtaken models that this process has dropped, or left as registered
        with self._one_line():
            self._patient = open_storage(config.storage, config.takeover_after)
            self._storage = optuna.storages.get_storage(self._patient)
            self.claims = Claims(self._patient, self._storage, config.study)
            self.exists = False
            self.reopen(given)

    def reopen(self, given: dict[str, object]) -> None:
        """Open the study where it exists, as one that another sweep has made meanwhile."""
        with self._one_line():
            if self.exists or self.config.study not in optuna.get_all_study_names(self._storage):
                return
            self._study = optuna.load_study(study_name=self.config.study, storage=self._storage)
            recorded = self._study.user_attrs.get("config")
            # One that was killed while it was made has a parent run, or nothing yet: `create` makes it anew.
            half_made = "parent_run_id" in self._study.user_attrs or not self._study.get_trials(deepcopy=False)
            if recorded is None and not half_made:
                raise UsageError(
                    f"Study {self.config.study!r} in {self.config.storage} is not a sweep's: choose another name."
                )
            if recorded is not None:
                self.exists = True
                self.config = self.config.continuing(recorded, given)
                self._study.pruner = _pruner(self.config)

    def _one_line(self):  # type: ignore[no-untyped-def]
        return one_line(self.config.storage)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other sweeps of this study from being made, continued or finished while the block runs."""
        with ExitStack() as stack:
            with self._one_line():
                stack.enter_context(self._patient.exclusive(self.name))
            yield

    def go_on(self) -> None:
        """Write down what a continuation of an existing study asks for."""
        with self._one_line():
            self._study.set_user_attr("config", self.config.recorded())

    def create(
        self,
        config: SweepConfig,
        parent_run_id: str,
        dataset_digest: str,
        first: Sequence[dict[str, object]],
    ) -> None:
        """Create the study with its first configurations and what a continuation needs.

        `config` comes last and makes it whole: one whose making was cut off is made anew.
        """
        self.config = config
        with self._one_line():
            with suppress(KeyError):
                optuna.delete_study(study_name=config.study, storage=self._storage)
            self._study = optuna.create_study(
                study_name=config.study,
                storage=self._storage,
                directions=[DIRECTIONS[objective] for objective in config.objectives],
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(list(config.objectives))
            self._study.set_user_attr("dataset_digest", dataset_digest)
            self._study.set_user_attr("parent_run_id", parent_run_id)
            self.enqueue(first)
            self._study.set_user_attr("config", config.recorded())
            self._study.pruner = _pruner(config)

    @property
    def name(self) -> str:
        return self.config.study

    @property
    def optuna_study(self) -> optuna.Study:
        """For figures."""
        return self._study

    @property
    def standing(self) -> Standing:
        """What the trials have come to."""
        return Standing(self._study, self.config)

    @property
    def parent_run_id(self) -> str:
        return self._study.user_attrs["parent_run_id"]

    def check_dataset(self, digest: str) -> None:
        """Raise ProjectError if the study was made on other data."""
        recorded = self._study.user_attrs["dataset_digest"]
        if recorded != digest:
            raise ProjectError(
                f"Study {self.name!r} was made on data with digest {recorded[:12]}, {self.config.dataset} now has "
                f"{digest[:12]}: its trials would not be comparable. Choose another --study."
            )

    def take_over(self, *, dry_run: bool = False) -> list[FrozenTrial]:
        """Claim trials that nobody runs any more, to be put back in the queue: see `search.trials.recovery.recover`.

        That is those whose process is gone, on this host, or has given no sign of life, on others; and those of this
        process that it does not know of: a database that went away may have made one without saying so. What may
        still live may also still write: the runs of its attempts are fenced off.

        Args:
            dry_run: only say which.
        """

        def act() -> list[tuple[FrozenTrial, Claim | None]]:
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            theirs = [trial for trial in running if trial.number not in self.claims.numbers]
            if not theirs:
                return []
            # After an outage of the database nobody could give a sign of life: theirs are waited for.
            patience = time.monotonic() - self._patient.answered_since > self.config.takeover_after
            silent = set(self._patient._get_stale_trial_ids(self._study._study_id)) if patience else set()
            dead = [trial for trial in theirs if trial._trial_id in silent or not may_live(trial)]
            if dry_run:
                return [(trial, None) for trial in dead]
            for trial in dead:
                if may_live(trial):
                    self._storage.set_trial_user_attr(trial._trial_id, FENCED, attempt_of(trial))
            claims = [self.claims.write(trial, "recovery") for trial in dead]
            return [(self._storage.get_trial(claim.trial_id), claim) for claim in claims]

        with self._one_line():
            found = self._patient.alone(self.name, lambda: self.claims.alone(act))
        for trial, claim in found:
            if claim:
                self.claims.hold(trial.number, claim)
        return [trial for trial, _ in found]

    def waiting_and_finished(self) -> tuple[set[int], set[int]]:
        """Numbers of the trials in the queue, and of those that have ended."""
        with self._one_line():
            trials = self._study.get_trials(deepcopy=False)
        waiting = {trial.number for trial in trials if trial.state == TrialState.WAITING}
        return waiting, {trial.number for trial in trials if trial.state.is_finished()}

    def others_run(self) -> bool:
        """Whether trials are running that are not this process'."""
        with self._one_line():
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(trial.number not in self.claims.numbers for trial in running)

    def owned(self, number: int, act: Callable[[FrozenTrial], T]) -> T | None:
        """Write to a trial while nobody can take it over: see `Claims.owned`.

        Raises:
            OwnershipLost: where another sweep has taken it over.
        """
        with self._one_line():
            return self.claims.owned(number, act)

    def owns(self, number: int) -> bool:
        """Whether a trial is still this process' to run."""
        with self._one_line():
            return self.claims.owns(number)

    def is_done(self) -> bool:
        """Whether all trials that were asked for have ended."""
        waiting, finished = self.waiting_and_finished()
        return not waiting and len(finished) >= self.config.trials and not self.others_run()

    def requeue(self, number: int) -> None:
        """Put a trial back in the queue: it will be asked again with its values, its number and its MLflow run."""

        def act(held: FrozenTrial) -> None:
            self._storage.set_trial_state_values(held._trial_id, TrialState.WAITING)

        with self._one_line(), suppress(OwnershipLost):
            self.claims.owned(number, act, last=True, done=(TrialState.WAITING,))

    def started(self) -> int:
        """Trials that have ended or are running, replicates left out."""
        return sum(trial.state != TrialState.WAITING for trial in self.standing.searched())

    def interrupted(self) -> list[FrozenTrial]:
        """Trials in the queue that a worker has begun."""
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return [trial for trial in waiting if "owner" in trial.user_attrs]

    def check_room(self, configurations: Sequence[dict[str, object]]) -> None:
        """Raise UsageError if the study and further configurations are more trials than were asked for."""
        held = self.standing.searched() if self.exists else []
        known = [trial.system_attrs.get("fixed_params", trial.params) for trial in held]
        together = len(held) + sum(configuration not in known for configuration in configurations)
        if together > max(len(held), self.config.trials):
            raise UsageError(
                f"--trials {self.config.trials} is less than the {together} that study {self.name!r} and --enqueue "
                f"hold together. Ask for more."
            )

    def enqueue(self, configurations: Sequence[dict[str, object]]) -> None:
        """Queue configurations that the study does not hold yet; with any, no architecture starts as published."""
        with self._one_line():
            if configurations:
                self._study.set_user_attr(OWN_FIRST, True)
            for configuration in configurations:
                self._study.enqueue_trial(configuration, skip_if_exists=True)

    def enqueue_replicates(self) -> int:
        """Queue each of the best configurations, and the best of each architecture, with further seeds.

        Returns:
            How many were not in the study yet.
        """

        def act() -> int:
            known = {
                (trial.user_attrs[REPLICATE_OF], trial.user_attrs["seed"])
                for trial in self._study.get_trials(deepcopy=False)
                if REPLICATE_OF in trial.user_attrs
            }
            wanted = [
                (trial, (self.config.seed + further) % 2**32)
                for trial in self.standing.to_replicate()
                for further in range(1, self.config.replicates + 1)
            ]
            missing = [(trial, seed) for trial, seed in wanted if (trial.number, seed) not in known]
            for trial, seed in missing:
                self._study.enqueue_trial(trial.params, {REPLICATE_OF: trial.number, "seed": seed})
            return len(missing)

        with self._one_line():
            return self._patient.alone(self.name, act)

    def ask(self, architectures: tuple[Known, ...], worker: str) -> Asked | None:
        """The next trial: an interrupted one, else each architecture as published, else what TPE suggests.

        What is drawn depends on the seed, the trial's number and the trials before it alone: a study that was
        interrupted draws what it would have drawn, and sweeps that share a study draw different things.

        Returns:
            None where all trials that were asked for have been started, here or by other sweeps of the study.
        """

        def act() -> tuple[Asked, Claim] | None:
            trials = self._study.get_trials(deepcopy=False)
            searched = [trial for trial in trials if REPLICATE_OF not in trial.user_attrs]
            waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
            if not self._has_more(trials):
                return None
            published_first = len(searched) < len(architectures) and OWN_FIRST not in self._study.user_attrs
            if not waiting and published_first:
                self._study.enqueue_trial(self.config.space.published(architectures[len(searched)]))
            sampler = optuna.samplers.TPESampler(
                multivariate=True,
                n_startup_trials=RANDOM_TRIALS,
                seed=(self.config.seed + (waiting[0].number if waiting else len(trials))) % 2**32,
            )
            if isinstance(before := self._study.sampler, optuna.samplers.TPESampler):
                # What all trials have in common, which Optuna goes on from: anew it grows with the study, to 35 ms.
                sampler._search_space = before._search_space
            self._study.sampler = sampler
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # signs of life are given by `signs_of_life`
                trial = self._study.ask()
            claim = self.claims.write(self._storage.get_trial(trial._trial_id), worker)
            # Drawn before another sweep asks: it must see where it gets the same configuration.
            values = self.config.space.suggest(trial, architectures)
            return Asked(trial, values, claim.attempt, trial.user_attrs.get(FENCED, 0)), claim

        with self._one_line():
            found = self._patient.alone(self.name, lambda: self.claims.alone(act))
        if found is None:
            return None
        asked, claim = found
        self.claims.hold(asked.trial.number, claim)
        return asked

    def has_more(self) -> bool:
        """Whether `ask` would give a trial now."""
        with self._one_line():
            return self._has_more(self._study.get_trials(deepcopy=False))

    def _has_more(self, trials: Sequence[FrozenTrial]) -> bool:
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
        searched = sum(REPLICATE_OF not in trial.user_attrs for trial in trials)
        started = searched - sum(REPLICATE_OF not in trial.user_attrs for trial in waiting)
        replicates_alone = bool(waiting) and all(REPLICATE_OF in trial.user_attrs for trial in waiting)
        return started < self.config.trials or replicates_alone

    def fits(self, coreml_bytes: int) -> bool:
        """Whether a file is small enough for its network to be trained."""
        return self.config.max_coreml_bytes is None or coreml_bytes <= self.config.max_coreml_bytes

    def record_size(self, trial: optuna.Trial, coreml_bytes: int, **more: object) -> None:
        """Record the size of a trial's file.

        The limit is a constraint of the study: Optuna's sampler learns from it, and an oversized trial, which never
        reports an epoch, sets no bar for others. `more` are further attributes of the trial.
        """

        def act(_: FrozenTrial) -> None:
            for key, value in {"coreml_bytes": coreml_bytes, **more}.items():
                trial.set_user_attr(key, value)
            if self.config.max_coreml_bytes is not None and not trial.constraints:
                trial.set_constraint("coreml_bytes", coreml_bytes - self.config.max_coreml_bytes)

        self.owned(trial.number, act)

    def has_size(self, architecture: str) -> bool:
        """Whether the file of a network of this architecture has been measured: some of them can be converted."""
        with self._one_line():
            trials = self._study.get_trials(deepcopy=False)
        return any(
            trial.params.get("architecture") == architecture and "coreml_bytes" in trial.user_attrs for trial in trials
        )

    def size(self, network: tuple[object, ...], code: str) -> ModelSize | None:
        """A network's sizes, where a sweep of this study with the same `code` has measured them."""
        with self._one_line():
            held = self._study.user_attrs.get(_size_of(network))
        return ModelSize(**held["size"]) if held and held["code"] == code else None

    def share_size(self, network: tuple[object, ...], code: str, size: ModelSize) -> None:
        """Tell other sweeps of this study, and its continuation, what was measured of a network."""
        held = {"code": code, "size": asdict(size)}
        with self._one_line():
            self._patient.alone(self.name, lambda: self._study.set_user_attr(_size_of(network), held))

    def report(self, trial: optuna.Trial, value: float, epoch: int) -> Verdict:
        """Report an epoch's val_accuracy; returns what becomes of the trial.

        Epochs that an earlier attempt has reported were judged then, and after the last one nothing would be saved.

        Raises:
            OwnershipLost: where another sweep has taken it over.
        """

        def act(held: FrozenTrial) -> Verdict:
            if epoch > len(before := val_accuracies(held)):
                course = (*before, value)
                marks = LateMarks(self._storage)
                if self._is_hopeless(held, course, marks):
                    trial.set_user_attr(PRUNED_AT, epoch)  # before the value, with which the epoch counts as judged
                for mark in marks.made:
                    self._storage.set_trial_system_attr(*mark)
                # A replicate sets no bar, and Optuna keeps intermediate values of one objective only.
                if REPLICATE_OF in held.user_attrs or len(self.config.objectives) > 1:
                    trial.set_user_attr(COURSE, course)
                else:
                    trial.report(value, epoch)
            elif before[epoch - 1] != value:  # an earlier attempt's, on other threads or another processor
                self._correct(held, epoch, value)
            return Verdict.PRUNE if trial.user_attrs.get(PRUNED_AT) == epoch else Verdict.GO_ON

        return cast(Verdict, self.owned(trial.number, act))

    def _is_hopeless(self, held: FrozenTrial, course: tuple[float, ...], marks: LateMarks) -> bool:
        """Whether a trial with these val_accuracies is to be pruned; a replicate is trained to its end."""
        if REPLICATE_OF in held.user_attrs or len(course) == self.config.epochs or self.config.pruner == "none":
            return False
        if len(self.config.objectives) > 1:  # Optuna judges one
            return cannot_enter_front(Course(held.user_attrs["coreml_bytes"], course), self.standing.courses())
        held.intermediate_values = dict(enumerate(course, 1))
        study = copy(self._study)
        study._storage = marks  # type: ignore[assignment]
        return study.pruner.prune(study, held)

    def _correct(self, held: FrozenTrial, epoch: int, value: float) -> None:
        if COURSE in held.user_attrs:
            course = [*held.user_attrs[COURSE]]
            course[epoch - 1] = value
            self._storage.set_trial_user_attr(held._trial_id, COURSE, course)
        else:
            self._storage.set_trial_intermediate_value(held._trial_id, epoch, value)

    def lost_attempt(self, trial: optuna.Trial) -> int:
        """Count an attempt at a trial that died with its worker; returns how many have."""

        def act(held: FrozenTrial) -> int:
            lost = held.user_attrs.get("lost_attempts", 0) + 1
            trial.set_user_attr("lost_attempts", lost)
            return lost

        return cast(int, self.owned(trial.number, act))

    def tell(
        self,
        number: int,
        state: TrialState,
        val_accuracy: float | None = None,
        *,
        run_id: str,
        model_id: str | None = None,
    ) -> None:
        """End a trial.

        Args:
            number: the trial's.
            state: how it ended.
            val_accuracy: of a complete one.
            run_id: its run in MLflow.
            model_id: its model in MLflow, if that was kept.

        Raises:
            OwnershipLost: where another sweep has taken it over.
        """

        def act(held: FrozenTrial) -> None:
            for key, value in {"run_id": run_id, MODEL_ID: model_id}.items():
                if value and held.user_attrs.get(key) != value:
                    self._storage.set_trial_user_attr(held._trial_id, key, value)
            values = None
            if state == TrialState.COMPLETE:
                values = [val_accuracy, held.user_attrs["coreml_bytes"]][: len(self.config.objectives)]
            self._study.tell(number, values, state=state)

        ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        with self._one_line():
            self.claims.owned(number, act, last=True, done=ended)

    def adopt(self, number: int) -> FrozenTrial | None:
        """Claim a trial of the queue to tell how it ended; None where another sweep was faster."""

        def act() -> tuple[FrozenTrial, Claim] | None:
            held = self._study.get_trials(deepcopy=False)[number]
            if held.state != TrialState.WAITING:
                return None
            if not self._storage.set_trial_state_values(held._trial_id, TrialState.RUNNING):
                return None
            claim = self.claims.write(held, "delivery")
            return self._storage.get_trial(claim.trial_id), claim

        with self._one_line():
            found = self.claims.alone(act)
        if found is None:
            return None
        trial, claim = found
        self.claims.hold(number, claim)
        return trial


def sweep_studies(storage: str, study: str | None = None) -> list[str]:
    """Names of the sweeps' studies in a storage, or the one that is asked for.

    Raises:
        UsageError: for one that the storage does not hold, or that is not a sweep's.
        ProjectError: if the storage does not exist or cannot be opened.
    """
    with one_line(storage):
        held = open_storage(storage, create=False).get_all_studies()  # Optuna's summaries would read all trials
    known = [each.study_name for each in held if "config" in each.user_attrs]
    if study is not None and study not in known:
        raise UsageError(f"Unknown study {study!r} in {storage}. It holds: {', '.join(known) or 'none'}.")
    return [study] if study else known


def _size_of(network: tuple[object, ...]) -> str:
    """The user attribute of a study that holds a network's sizes."""
    return f"size of {hashlib.sha256(json.dumps(network).encode()).hexdigest()}"  # Optuna's keys are short


def _pruner(config: SweepConfig) -> optuna.pruners.BasePruner:
    if config.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
    if config.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=config.epochs)
    return optuna.pruners.NopPruner()
