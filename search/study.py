"""An Optuna study that survives: created or continued, its interrupted trials taken up again."""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
import psutil
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from architectures.errors import ProjectError, UsageError
from experiments.databases import make_database, sqlite_path
from search.config import SweepConfig
from search.engines.messages import Known
from search.pruning import RANDOM_TRIALS, WARMUP_EPOCHS, Course, cannot_enter_front
from search.ranking import Scored, front, ranked
from search.space import Values

MAX_ATTEMPTS = 3  # of one trial whose worker dies under it; then it counts as failed
REPLICATE_OF = "replicate_of"  # user attribute of a replicate: the number of the trial that it repeats
DUPLICATE_OF = "duplicate_of"  # user attribute of a trial that was answered: the number of the one that was trained
COURSE = "val_accuracies"  # user attribute with each epoch's, where Optuna keeps no intermediate values
DIRECTIONS = {"val_accuracy": StudyDirection.MAXIMIZE, "coreml_bytes": StudyDirection.MINIMIZE}

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Study:
    """The trials of one sweep."""

    def __init__(self, config: SweepConfig, given: dict[str, object]) -> None:
        """Open the study of that name, or prepare to create it: `create` writes it down.

        Raises:
            UsageError: if the study exists and one of the `given` options contradicts its record.
            ProjectError: if the storage cannot be opened.
        """
        storage = config.storage
        self.config = config
        with _one_line(storage):
            _check_sqlite(storage)
            self._storage = optuna.storages.get_storage(storage)
            self.exists = False
            if config.study in optuna.get_all_study_names(self._storage):
                self._study = optuna.load_study(study_name=config.study, storage=self._storage)
                recorded = self._study.user_attrs.get("config")
                # Without trials it is one that was killed while it was made: `create` goes on with it.
                if recorded is None and self._study.get_trials(deepcopy=False):
                    raise UsageError(f"Study {config.study!r} in {storage} is not a sweep's: choose another name.")
                if recorded is not None:
                    self.exists = True
                    self.config = config.continuing(recorded, given)
                    self._prepare()

    def go_on(self) -> None:
        """Write down what a continuation of an existing study asks for."""
        with _one_line(self.config.storage):
            self._study.set_user_attr("config", self.config.recorded())

    def create(self, config: SweepConfig, parent_run_id: str, dataset_digest: str) -> None:
        """Create the study with what a continuation needs; `config` comes last and makes it whole."""
        self.config = config
        with _one_line(config.storage):
            self._study = optuna.create_study(
                study_name=config.study,
                storage=self._storage,
                directions=[DIRECTIONS[objective] for objective in config.objectives],
                load_if_exists=True,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(list(config.objectives))
            self._study.set_user_attr("dataset_digest", dataset_digest)
            self._study.set_user_attr("parent_run_id", parent_run_id)
            self._study.set_user_attr("config", config.recorded())
            self._prepare()

    def _prepare(self) -> None:
        self._study.sampler = optuna.samplers.TPESampler(
            multivariate=True,
            n_startup_trials=RANDOM_TRIALS,
            # The same seed would repeat the first draws.
            seed=(self.config.seed + len(self._study.get_trials(deepcopy=False))) % 2**32,
        )
        self._study.pruner = _pruner(self.config)

    @property
    def name(self) -> str:
        return self.config.study

    @property
    def optuna_study(self) -> optuna.Study:
        """For figures."""
        return self._study

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

    def best_value(self) -> float | None:
        """The highest val_accuracy so far."""
        return max((one.val_accuracy for one in self._scored()), default=None)

    def requeue_dead(self) -> list[str]:
        """Put trials whose process is gone back in the queue; returns the ids of their MLflow runs."""
        with _one_line(self.config.storage):
            dead = [
                trial
                for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
                if not _owner_lives(trial)
            ]
            for trial in dead:
                self.requeue(trial._trial_id)
        return [trial.user_attrs["run_id"] for trial in dead if "run_id" in trial.user_attrs]

    def requeue(self, trial_id: int) -> None:
        """Put a trial back in the queue: it will be asked again with its values, its number and its MLflow run."""
        self._storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def started(self) -> int:
        """Trials that have ended or are running, replicates left out."""
        with _one_line(self.config.storage):
            return sum(trial.state != TrialState.WAITING for trial in self._searched())

    def waiting(self) -> list[FrozenTrial]:
        """Trials in the queue: interrupted ones, those of --enqueue, and replicates."""
        return self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def check_room(self, configurations: Sequence[dict[str, object]]) -> None:
        """Raise UsageError if the study and further configurations are more trials than were asked for."""
        held = self._searched() if self.exists else []
        known = [trial.system_attrs.get("fixed_params", trial.params) for trial in held]
        together = len(held) + sum(configuration not in known for configuration in configurations)
        if together > max(len(held), self.config.trials):
            raise UsageError(
                f"--trials {self.config.trials} is less than the {together} that study {self.name!r} and --enqueue "
                f"hold together. Ask for more."
            )

    def enqueue(self, configurations: Sequence[dict[str, object]]) -> None:
        """Queue configurations that the study does not hold yet."""
        with _one_line(self.config.storage):
            for configuration in configurations:
                self._study.enqueue_trial(configuration, skip_if_exists=True)

    def enqueue_replicates(self) -> int:
        """Queue each of the best configurations, and the best of each architecture, with further seeds.

        Returns:
            How many were not in the study yet.
        """
        with _one_line(self.config.storage):
            known = {
                (trial.user_attrs[REPLICATE_OF], trial.user_attrs["seed"])
                for trial in self._study.get_trials(deepcopy=False)
                if REPLICATE_OF in trial.user_attrs
            }
            wanted = [
                (trial, (self.config.seed + further) % 2**32)
                for trial in self._to_replicate()
                for further in range(1, self.config.replicates + 1)
            ]
            missing = [(trial, seed) for trial, seed in wanted if (trial.number, seed) not in known]
            for trial, seed in missing:
                self._study.enqueue_trial(trial.params, {REPLICATE_OF: trial.number, "seed": seed})
        return len(missing)

    def _to_replicate(self) -> list[FrozenTrial]:
        chosen = self.best(self.config.keep)
        for trial in self.best(len(self._searched())):
            if all(one.params["architecture"] != trial.params["architecture"] for one in chosen):
                chosen.append(trial)  # so that every architecture can be compared
        return chosen

    def replicated(self) -> dict[int, dict[int, float]]:
        """The val_accuracy of each replicate by the number of the trial that it repeats, and by seed."""
        found: dict[int, dict[int, float]] = {}
        with _one_line(self.config.storage):
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                if (number := trial.user_attrs.get(REPLICATE_OF)) is not None:
                    found.setdefault(number, {})[trial.user_attrs["seed"]] = trial.values[0]
        return found

    def _searched(self) -> list[FrozenTrial]:
        return [trial for trial in self._study.get_trials(deepcopy=False) if REPLICATE_OF not in trial.user_attrs]

    def answer(self, trial: optuna.Trial) -> FrozenTrial | None:
        """An earlier trial of the same configuration that has ended without failing; a replicate has none."""
        if REPLICATE_OF in trial.user_attrs:
            return None
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        earlier = self._study.get_trials(deepcopy=False, states=states)
        return next((one for one in earlier if one.params == trial.params), None)

    def ask(self, architectures: tuple[Known, ...], worker: str) -> tuple[optuna.Trial, Values]:
        """The next trial: an interrupted one, else each architecture as published, else what TPE suggests."""
        with _one_line(self.config.storage):
            number = len(self._searched())
            if not self.waiting() and not self.config.enqueue and number < len(architectures):
                self._study.enqueue_trial(self.config.space.published(architectures[number]))
            trial = self._study.ask()
            trial.set_user_attr("owner", json.dumps(_this_process() | {"worker": worker}))
            return trial, self.config.space.suggest(trial, architectures)

    def fits(self, coreml_bytes: int) -> bool:
        """Whether a file is small enough for its network to be trained."""
        return self.config.max_coreml_bytes is None or coreml_bytes <= self.config.max_coreml_bytes

    def record_size(self, trial: optuna.Trial, coreml_bytes: int) -> None:
        """Record the size of a trial's file.

        The limit is a constraint of the study: Optuna's sampler learns from it, and an oversized trial, which never
        reports an epoch, sets no bar for others.
        """
        with _one_line(self.config.storage):
            trial.set_user_attr("coreml_bytes", coreml_bytes)
            if self.config.max_coreml_bytes is not None and not trial.constraints:
                trial.set_constraint("coreml_bytes", coreml_bytes - self.config.max_coreml_bytes)

    def report(self, trial: optuna.Trial, value: float, epoch: int) -> bool:
        """Report an epoch's val_accuracy; returns whether the trial should be pruned.

        Epochs that an earlier attempt has reported were judged then, and after the last one nothing would be saved.
        """
        with _one_line(self.config.storage):
            if epoch <= len(val_accuracies(self._storage.get_trial(trial._trial_id))):
                return False
            replicate = REPLICATE_OF in trial.user_attrs  # sets no bar, and is trained to its end
            if len(self.config.objectives) == 1 and not replicate:
                trial.report(value, epoch)
                return epoch < self.config.epochs and trial.should_prune()
            # Optuna keeps and judges intermediate values of one objective only.
            course = Course(trial.user_attrs["coreml_bytes"], (*trial.user_attrs.get(COURSE, ()), value))
            trial.set_user_attr(COURSE, course.val_accuracies)
            if self.config.pruner == "none" or epoch == self.config.epochs or replicate:
                return False
            complete = [one for one in self._searched() if one.state == TrialState.COMPLETE and val_accuracies(one)]
            return cannot_enter_front(
                course, [Course(one.user_attrs["coreml_bytes"], val_accuracies(one)) for one in complete]
            )

    def lost_attempt(self, trial: optuna.Trial) -> int:
        """Count an attempt at a trial that died with its worker; returns how many have."""
        with _one_line(self.config.storage):
            lost = trial.user_attrs.get("lost_attempts", 0) + 1
            trial.set_user_attr("lost_attempts", lost)
            return lost

    def tell(self, trial: optuna.Trial, state: TrialState, val_accuracy: float | None = None) -> None:
        """End a trial; the val_accuracy is that of a complete one."""
        with _one_line(self.config.storage):
            values = None
            if state == TrialState.COMPLETE:
                values = [val_accuracy, trial.user_attrs["coreml_bytes"]][: len(self.config.objectives)]
            self._study.tell(trial, values, state=state)

    def counts(self) -> dict[str, int]:
        """Number of trials by how they ended: complete, pruned, infeasible, fail; replicates left out."""
        counts = dict.fromkeys(("complete", "pruned", "infeasible", "fail"), 0)
        for trial in self._searched():
            if trial.state.is_finished():
                counts[outcome(trial)] += 1
        return counts

    def best(self, number: int) -> list[FrozenTrial]:
        """The best complete trials: by val_accuracy, then the smaller Core ML file, then the earlier.

        With two objectives those on their front come first, and the rest after them. Of trials with the same
        configuration the first stands for all.
        """
        best = ranked(self._scored(), front_first=len(self.config.objectives) > 1)[:number]
        trials = self._study.get_trials(deepcopy=False)
        return [trials[one.number] for one in best]

    def keepers(self, *more: Scored) -> set[int]:
        """Numbers of the trials whose models are kept: the best, and with two objectives the whole front.

        Whoever is not among them now will not be later. `more` are trials that the study has not been told of.
        """
        scored = [*self._scored(), *more]
        keepers = ranked(scored, front_first=False)[: self.config.keep]
        if len(self.config.objectives) > 1:
            keepers += front(scored)
        return {one.number for one in keepers}

    def _scored(self) -> list[Scored]:
        with _one_line(self.config.storage):
            complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        trained = [one for one in complete if DUPLICATE_OF not in one.user_attrs]
        distinct = {tuple(sorted(one.params.items())): one for one in reversed(trained)}
        return [Scored(one.number, one.values[0], one.user_attrs["coreml_bytes"]) for one in distinct.values()]


def outcome(trial: FrozenTrial) -> str:
    """How a trial ended: complete, pruned, infeasible or fail."""
    return "infeasible" if any(value > 0 for value in trial.constraints.values()) else trial.state.name.lower()


def val_accuracies(trial: FrozenTrial) -> tuple[float, ...]:
    """A trial's val_accuracy after each epoch from the first."""
    return tuple(trial.user_attrs.get(COURSE) or (value for _, value in sorted(trial.intermediate_values.items())))


def _pruner(config: SweepConfig) -> optuna.pruners.BasePruner:
    if config.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
    if config.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=config.epochs)
    return optuna.pruners.NopPruner()


def _this_process() -> dict[str, object]:
    return {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _owner_lives(trial: FrozenTrial) -> bool:
    """Whether the process that runs a trial still does, as far as this host can tell."""
    owner = json.loads(trial.user_attrs.get("owner", "null"))
    if owner is None:
        return False
    if owner["host"] != platform.node():
        return True
    try:
        # A process id is used again; one that was started at the same time is the same process.
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1
    except psutil.Error:
        return False


def _check_sqlite(storage: str) -> None:
    """Fail early where the file cannot be, and make its tables whole where it does not exist."""
    path = sqlite_path(storage)
    if path is None:
        return
    path = path.absolute()
    if not path.parent.is_dir() or path.is_dir():
        raise ProjectError(f"The study storage {storage} cannot be opened: {path} is not a file in a folder.")
    if not path.exists():
        make_database(path, _make_tables)


def _make_tables(url: str) -> None:
    optuna.storages.RDBStorage(url)


@contextmanager
def _one_line(storage: str) -> Iterator[None]:
    """Turn whatever Optuna or its database raises into one line."""
    try:
        yield
    except (ProjectError, KeyboardInterrupt, OSError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ProjectError(f"The study storage {storage} failed: {text or type(error).__name__}") from error
