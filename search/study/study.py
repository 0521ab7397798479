"""An Optuna study that can be continued and shared: creation, queue, and what its sweeps have in common."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from architectures.errors import ProjectError, UsageError
from experiments.config import ModelSize
from experiments.objective import MINIMIZED, shown_name
from search.config import SweepConfig
from search.engines.messages import KnownArchitecture
from search.study.facts import Facts
from search.study.judge import Judge, pruner_of
from search.study.lifecycle import OWN_FIRST, WARM_STARTED, Lifecycle
from search.study.open_study import OpenStudy
from search.study.results import REPLICATE_OF, WARM_START, Results
from search.study.storage import open_storage, storage_errors
from search.study.warm_starts import WarmStart, starts

LONGEST_NAME = 100  # of an architecture in a user attribute's name, which should be short


def _direction(objective: str) -> StudyDirection:
    return StudyDirection.MINIMIZE if objective in MINIMIZED else StudyDirection.MAXIMIZE


class Study:
    """The trials of a sweep."""

    def __init__(self, config: SweepConfig) -> None:
        """Open the study if it exists; otherwise prepare for `create`.

        Raises:
            UsageError: if the study exists and a requested option contradicts its record.
            ProjectError: if the storage cannot be opened.
        """
        self.settled: set[str] = set()  # ids of superseded models that were dropped, or are registered
        self.exists = False
        with storage_errors(config.storage):
            self._open = OpenStudy(config, open_storage(config.storage, config.takeover_after))
            self.trials = Lifecycle(self._open)
            self.judge = Judge(self._open, self.trials)
            self.facts = Facts(self._open, self.trials)
            self.reopen()

    def reopen(self) -> None:
        """Open the study if it exists, for example because another sweep has created it."""
        with self._open.errors():
            if self.exists or self.config.study not in optuna.get_all_study_names(self._open.storage):
                return
            self._open.study = optuna.load_study(study_name=self.config.study, storage=self._open.storage)
            recorded = self._open.study.user_attrs.get("config")
            # A study whose creation was killed has a parent run or nothing yet: `create` starts over.
            half_made = "parent_run_id" in self._open.study.user_attrs or not self._open.study.get_trials(
                deepcopy=False
            )
            if recorded is None and not half_made:
                raise UsageError(
                    f"Study {self.config.study!r} in {self.config.storage} was not made by a sweep: choose another "
                    f"name."
                )
            if recorded is not None:
                self.exists = True
                self.config = self.config.continuing(recorded)
                self._open.study.pruner = pruner_of(self.config)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other sweeps of this study from starting, continuing or ending while the block runs."""
        with ExitStack() as stack:
            with self._open.errors():
                stack.enter_context(self._open.patient.exclusive(self.name))
            yield

    def go_on(self) -> None:
        """Record what the continuation of an existing study requests."""
        with self._open.errors():
            self._open.study.set_user_attr("config", self.config.recorded())

    def create(
        self,
        config: SweepConfig,
        parent_run_id: str,
        dataset_digest: str,
        first: Sequence[dict[str, object]],
        starts: Sequence[WarmStart] = (),
    ) -> None:
        """Create the study with its first configurations, its warm starts, and what a continuation needs.

        The attribute `config` is written last and marks the study as complete; an incomplete one is created again.
        """
        self.config = config
        with self._open.errors():
            with suppress(KeyError):
                optuna.delete_study(study_name=config.study, storage=self._open.storage)
            self._open.study = optuna.create_study(
                study_name=config.study,
                storage=self._open.storage,
                directions=list(map(_direction, config.objectives)),
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._open.study.set_metric_names(list(map(shown_name, config.objectives)))
            self._open.study.set_user_attr("dataset_digest", dataset_digest)
            self._open.study.set_user_attr("parent_run_id", parent_run_id)
            self.enqueue(first)
            self._open.study.set_user_attr(WARM_STARTED, [start.values["architecture"] for start in starts])
            for start in starts:
                self._open.study.enqueue_trial(start.values, {WARM_START: start.source}, skip_if_exists=True)
            self._open.study.set_user_attr("config", config.recorded())
            self._open.study.pruner = pruner_of(config)

    def starts(self, config: SweepConfig, digest: str, architectures: Sequence[KnownArchitecture]) -> list[WarmStart]:
        """Return the warm starts from earlier studies of the same storage: see `search.study.warm_starts`."""
        with self._open.errors():
            return starts(self._open.storage, config, digest, architectures)

    @property
    def config(self) -> SweepConfig:
        """The study's configuration; the recorded one once the study exists."""
        return self._open.config

    @config.setter
    def config(self, config: SweepConfig) -> None:
        self._open.config = config

    @property
    def name(self) -> str:
        return self._open.name

    @property
    def optuna_study(self) -> optuna.Study:
        """Optuna's study object, for figures."""
        return self._open.study

    @property
    def results(self) -> Results:
        """The results of the trials."""
        return self._open.results

    @property
    def parent_run_id(self) -> str:
        return self._open.study.user_attrs["parent_run_id"]

    def check_dataset(self, digest: str) -> None:
        """Raise ProjectError if the study was created on other data."""
        recorded = self._open.study.user_attrs["dataset_digest"]
        if recorded != digest:
            raise ProjectError(
                f"Study {self.name!r} was made on data with digest {recorded[:12]}, {self.config.dataset} now has "
                f"{digest[:12]}: its trials would not be comparable. Choose another --study."
            )

    def started(self) -> int:
        """Return the number of running and finished trials, without replicates."""
        return sum(trial.state != TrialState.WAITING for trial in self.results.searched())

    def check_room(self, configurations: Sequence[dict[str, object]]) -> None:
        """Raise UsageError if the study and further configurations exceed the requested number of trials."""
        held = self.results.searched() if self.exists else []
        known = [trial.system_attrs.get("fixed_params", trial.params) for trial in held]
        together = len(held) + sum(configuration not in known for configuration in configurations)
        if together > max(len(held), self.config.trials):
            raise UsageError(
                f"--trials {self.config.trials} is less than the {together} that study {self.name!r} and --enqueue "
                f"hold together. Ask for more."
            )

    def enqueue(self, configurations: Sequence[dict[str, object]]) -> None:
        """Enqueue configurations that the study does not have yet; they replace the published ones."""
        with self._open.errors():
            if configurations:
                self._open.study.set_user_attr(OWN_FIRST, True)
            for configuration in configurations:
                self._open.study.enqueue_trial(configuration, skip_if_exists=True)

    def enqueue_replicates(self) -> int:
        """Enqueue the best configurations, and the best one of each architecture, with further seeds.

        Returns:
            How many are new to the study.
        """

        def act() -> int:
            known = {
                (trial.user_attrs[REPLICATE_OF], trial.user_attrs["seed"])
                for trial in self._open.study.get_trials(deepcopy=False)
                if REPLICATE_OF in trial.user_attrs
            }
            wanted = [
                (trial, (self.config.seed + further) % 2**32)
                for trial in self.results.to_replicate()
                for further in range(1, self.config.replicates + 1)
            ]
            missing = [(trial, seed) for trial, seed in wanted if (trial.number, seed) not in known]
            for trial, seed in missing:
                self._open.study.enqueue_trial(trial.params, {REPLICATE_OF: trial.number, "seed": seed})
            return len(missing)

        with self._open.errors():
            return self._open.patient.alone(self.name, act)

    def fits(self, coreml_bytes: int) -> bool:
        """Return whether a file is within the size limit."""
        return self.config.max_coreml_bytes is None or coreml_bytes <= self.config.max_coreml_bytes

    def check_knobs(self, architectures: Sequence[KnownArchitecture]) -> None:
        """Raise UsageError if trials drew a knob from other values than there are now, such as other weights."""
        with self._open.errors():
            trials = self._open.study.get_trials(deepcopy=False)
        now = {f"{known.name}.{knob}": choices for known in architectures for knob, choices in known.knobs}
        for trial in trials:
            for name, drawn in trial.distributions.items():
                if name in now and isinstance(drawn, CategoricalDistribution) and drawn.choices != now[name]:
                    before, here = (", ".join(map(str, choices)) for choices in (drawn.choices, now[name]))
                    raise UsageError(
                        f"Study {self.name!r} was made with {name} {before}, not {here}: its trials would not be "
                        f"comparable. Choose another --study."
                    )

    def has_size(self, architecture: str) -> bool:
        """Return whether a size of this architecture is known, which means that it can be converted."""
        with self._open.errors():
            trials = self._open.study.get_trials(deepcopy=False)
        return any(
            trial.params.get("architecture") == architecture and "coreml_bytes" in trial.user_attrs for trial in trials
        )

    def size(self, network: tuple[object, ...], code: str) -> ModelSize | None:
        """Return a network's sizes if a sweep of this study with the same `code` has measured them."""
        with self._open.errors():
            held = self._open.study.user_attrs.get(_size_of(network))
        return ModelSize(**held["size"]) if held and held["code"] == code else None

    def share_size(self, network: tuple[object, ...], code: str, size: ModelSize) -> None:
        """Record a network's sizes for other sweeps of this study, and for continuations."""
        held = {"code": code, "size": asdict(size)}
        with self._open.errors():
            self._open.patient.alone(self.name, lambda: self._open.study.set_user_attr(_size_of(network), held))


def sweep_studies(storage: str, study: str | None = None) -> list[str]:
    """Return the names of the sweeps' studies in a storage, or only the requested one.

    Raises:
        UsageError: for one that does not exist, or was not created by a sweep.
        ProjectError: if the storage does not exist or cannot be opened.
    """
    with storage_errors(storage):
        held = open_storage(storage, create=False).get_all_studies()  # Optuna's summaries would read all trials
    known = [each.study_name for each in held if "config" in each.user_attrs]
    if study is not None and study not in known:
        raise UsageError(f"Unknown study {study!r} in {storage}. It holds: {', '.join(known) or 'none'}.")
    return [study] if study else known


def _size_of(network: tuple[object, ...]) -> str:
    """Return the user attribute with a network's sizes: architecture and width, and a digest of the whole.

    >>> _size_of(("pocket", 8, (("activation", "relu"),)))
    'size of pocket-8 (9b5275c04470)'
    """
    architecture, filters, *_ = network
    named = f"{architecture}-{filters}" if filters else str(architecture)
    digest = hashlib.sha256(json.dumps(network).encode()).hexdigest()
    return f"size of {named[:LONGEST_NAME]} ({digest[:12]})"
