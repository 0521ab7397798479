"""A sweep from its configuration to its result: data, study, MLflow, workers, registry, figures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from rich.markup import escape

from architectures.display import say
from architectures.errors import ProjectError, UsageError
from architectures.fields import validate
from architectures.scratch import scratch_folder
from conversion.coreml.formats import check_available
from conversion.promotion.config import DEFAULT_MODEL
from conversion.promotion.preference import Preference
from experiments import datasets, teacher
from experiments.cores import cores
from experiments.evaluation.intervals import ExpectedAccuracy
from experiments.interruption import interruptible
from experiments.main_guard import check_main_guard
from experiments.tracking import CANDIDATE, Outbox, Tracker, dataset_facts, environment, runs_page, served_by
from experiments.tracking.parents import EXPECTED
from experiments.training.precision import Gpu, resolve_precision
from experiments.views import leaderboard_table
from experiments.views.leaderboard import Row
from experiments.views.tables import print_cells
from search.config import AUTO, EXHAUSTIVE, FIXED, OFF, PORTFOLIO, SweepConfig
from search.config_file import as_toml, as_typed
from search.ending import Ending
from search.engines import Engine
from search.engines.local import LocalEngine, auto_workers
from search.engines.messages import KnownArchitecture, WorkerSetup
from search.engines.shared_data import save_dataset
from search.grid import grid_of
from search.report import significance
from search.report.data_page import Doubtful
from search.report.significance import ArchitectureComparison
from search.setup import (
    choose_architectures,
    prepare_dataset,
    resolve_augmentation,
    usable_batch_sizes,
    with_builders,
    within_memory,
)
from search.study.results import counted
from search.study.sampling import check_sampler, sampler_note
from search.study.storage import is_missing
from search.study.study import Study
from search.trials.loop import Runner
from search.trials.patience import wait_for_mlflow
from search.trials.progress import TrialProgress
from search.trials.recovery import deliver_leftover_writes, end_parent, evaluate_leftover_models, recover
from search.trials.training_states import TrainingStates

ROWS = 10  # of the leaderboard that are shown
CONFIG_FILE = "sweep.toml"  # an artifact of the parent run: its options, without secrets
NOT_FOR_THIS = "none, the portfolio is for accuracy alone: no limit, second objective, exhaustive sampler or --enqueue"


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep."""

    study: str
    experiment: str
    parent_run_id: str
    objective: str  # the first one
    trials: int  # asked for
    max_coreml_bytes: int | None  # the study's limit
    counts: dict[str, int]  # of trials by state
    leaderboard: tuple[Row, ...]
    expected: ExpectedAccuracy | None  # of the best, corrected for selection; None: see `Results.expected`
    comparisons: tuple[ArchitectureComparison, ...]  # of architectures, if configurations were replicated
    not_compared: tuple[str, ...]  # architectures without a replicated configuration, such as if all trials were pruned
    registered_name: str
    registered: tuple[int, ...]  # versions, the best first
    preference: Preference | None  # what promote --prefer smallest would take; None: nothing is registered
    doubtful: Doubtful  # images to look at
    page: str  # of the experiment's runs in MLflow
    served_by: str  # what serves that page; empty: the store itself is a server
    report: str | None  # the place of the study's report: a path, or a URI in a server's store
    interrupted: bool
    startup_seconds: float  # until the first trial could start: imports, data, workers
    trials_seconds: float  # from there until the last trial ended

    @property
    def candidate(self) -> int | None:
        """The version that the alias `candidate` points to."""
        return self.registered[0] if self.registered else None

    @property
    def failure(self) -> str:
        """Why the sweep found no network; empty if a trial was trained to its end or to where it was pruned."""
        if self.counts["complete"] or self.counts["pruned"]:
            return ""
        if self.counts.get("paused"):
            return "Time was up before a trial could end. Continue the study to train the best."
        if self.counts["infeasible"] and self.max_coreml_bytes is None:
            return "Networks had too many parameters: a new study with --max-coreml-bytes allows them."
        if self.counts["infeasible"]:
            return "No trial's file was within --max-coreml-bytes; the smallest widths need more."
        return "All trials failed; their runs in MLflow hold the tracebacks."

    def as_json(self) -> dict[str, object]:
        values = asdict(self)
        expected = values.pop("expected") or dict.fromkeys(EXPECTED)
        return {
            **values,
            **values.pop("doubtful"),
            **expected,
            "leaderboard": leaderboard_table.as_json(self.leaderboard),
            "comparisons": [asdict(one) | {"verdict": one.verdict} for one in self.comparisons],
            "candidate": self.candidate,
        }

    def show(self) -> None:
        """Print the leaderboard and what to do next."""
        if self.leaderboard:
            shown = self.leaderboard[:ROWS]
            more = len(shown) < len(self.leaderboard)
            leaderboard_table.print_table(shown, f"Study {self.study}", one_study=True, more=more)
        if self.expected:
            say(f"Expected accuracy of the best network on new images, corrected for selection: {self.expected.text}.")
        if self.comparisons:
            print_cells(
                significance.titles(self.objective),
                significance.cells(self.comparisons),
                title="Architectures by paired t-test",
            )
        if self.not_compared:
            say(significance.left_out_note(self.not_compared))
        say(f"Trials: {counted(self.counts)}. MLflow experiment {self.experiment}, run {self.parent_run_id}.")
        if self.report:
            say(f"Report: {self.report}")
        if self.candidate:
            versions = ", ".join(map(str, self.registered))
            say(f"Registered as {self.registered_name}: versions {versions}, alias {CANDIDATE} on {self.candidate}.")
            say(f"Next: {self._promote}")
        if self.preference:
            say(f"{self._promote} --prefer smallest would take {self.preference.text}.")
        say(f"View: {f'{self.served_by}, then open ' if self.served_by else ''}{self.page}")

    @property
    def _promote(self) -> str:
        """The command that promotes what was registered."""
        other = "" if self.registered_name == DEFAULT_MODEL else f" --model {self.registered_name}"
        return f"python -m conversion.promote{other}"


def sweep(
    config: SweepConfig,
    engine: Callable[[WorkerSetup], Engine] | None = None,
    progress: TrialProgress | None = None,
    interrupted: Callable[[], bool] | None = None,
) -> SweepResult:
    """Run a sweep.

    Args:
        engine: engine factory; default: a LocalEngine.
        progress: where progress is reported; default: this process' terminal.
        interrupted: returns whether to stop; default: after Ctrl-C or SIGTERM.

    Raises:
        ProjectError: if the sweep as a whole cannot run; a failing trial does not raise.

    See docs/api.md for an example.
    """
    if engine is None:
        check_main_guard()  # before any file is written: a process that imports the script gets here, too
    started = time.perf_counter()
    config = replace(config, given=config.asked)  # options derived from the data below were not given
    if config.teacher:  # studies record its id and digest
        config = replace(config, teacher=teacher.find(Tracker(config.tracking_uri, create=False), config.teacher))
    check_available("mlmodel", config.compress)  # at the default format, the size does not depend on the weights
    if is_missing(config.storage):
        _check_methods(config)  # before its file is created
    study = Study(config)
    config = study.config
    if study.exists:
        _check_record(config)
    _check_methods(config)
    workers = config.workers if isinstance(config.workers, int) else auto_workers()
    threads = config.cpus_per_trial if config.engine == "ray" else max(1, cores() // workers)
    setup = WorkerSetup(
        config.plugins,
        config.architectures,
        threads,
        max(config.filters),
        knobs=config.knobs,
        optimizer=config.optimizer,
        loss=config.loss,
    )
    with (
        engine(setup) if engine else LocalEngine(setup, workers, auto=config.workers == AUTO) as placed,
        scratch_folder() as folder,
        progress or TrialProgress(config.trials, workers, pruner=config.resolved_pruner) as progress,
        contextlib.ExitStack() as stack,
    ):
        progress.waiting("starting TensorFlow")
        tracker = wait_for_mlflow(lambda: Tracker(config.tracking_uri), progress)
        tracker.limit_lock_timeout()

        def say(text: str) -> None:
            progress.say(escape(text))

        dataset = prepare_dataset(config, tracker, say)
        if not study.exists:
            sizes = usable_batch_sizes(config.batch_sizes, dataset, asked="batch_sizes" in config.asked, say=say)
            study.config = config = replace(config, batch_sizes=sizes)
        save_dataset(dataset, folder)
        placed.provide(folder)
        ready = placed.wait_until_ready()
        for warning in ready.warnings:
            say(f"warning: left out: {warning}")
        architectures = choose_architectures(ready, config.architectures, dataset.name)
        if not study.exists:
            study.config = config = with_builders(config, ready)
        if not study.exists and "batch_sizes" not in config.asked:
            sizes = within_memory(config.batch_sizes, architectures, say=say)
            study.config = config = replace(config, batch_sizes=sizes)
        if "filters" in config.asked and all(known.default_filters is None for known in architectures):
            raise UsageError("The architectures of this sweep have fixed widths: leave --filters out.")

        def opened() -> str:
            with study.alone():  # others may start a sweep of the same study at the same time
                study.reopen()
                if (study.config.dataset, study.config.plugins) != (config.dataset, config.plugins):
                    raise ProjectError(f"Study {study.name!r} was just created with other options. Run this again.")
                return _open_study(study, tracker, dataset, architectures, ready.gpu, say)

        parent = wait_for_mlflow(opened, progress)
        config = study.config
        architectures = tuple(known for known in architectures if known.name in config.architectures)

        if config.sampler in EXHAUSTIVE:
            study.trials.grid = grid_of(config.space, architectures)
            progress.expect(min(config.trials, study.trials.grid.size))
        if text := sampler_note(config, architectures):
            say(text)
        outbox = Outbox(tracker, study.name, parent, owns=study.trials.owns, say=say)
        states = TrainingStates(study.name)
        try:
            wait_for_mlflow(lambda: _take_up(study, tracker, outbox, dataset, progress), progress)
            states.remove_ended(study.trials.unfinished())
            progress.done(study.started(), study.results.best_value())
            if study.trials.is_exhausted():
                say(f"study {study.name} holds all combinations: there is nothing left to try")
            ready_at = time.perf_counter()
            experiment_id = wait_for_mlflow(lambda: tracker.experiment(config.experiment_name), progress)
            where = environment(setup.threads, ready.gpu, config.plugins)
            runner = Runner(
                study,
                tracker,
                outbox,
                states,
                dataset,
                where,
                experiment_id=experiment_id,
                architectures=architectures,
                folder=folder,
            )
            interrupted = interrupted or stack.enter_context(interruptible())
            stopped = runner.run(placed, progress, interrupted)
            ended_at = time.perf_counter()
            states.remove_ended(study.trials.unfinished())  # also those of trials that have ended elsewhere
            states.tidy()
            ending = Ending(study, tracker, dataset, parent, progress)
            ending.finish(stopped=stopped)
        except BaseException as error:
            with contextlib.suppress(Exception):  # report the first error
                end_parent(study, tracker, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
    return SweepResult(
        study=study.name,
        experiment=config.experiment_name,
        parent_run_id=parent,
        objective=config.objective,
        trials=config.trials,
        max_coreml_bytes=study.config.max_coreml_bytes,
        counts=study.results.counts(),
        leaderboard=tuple(ending.board),
        expected=ending.expected,
        comparisons=tuple(ending.compared),
        not_compared=tuple(ending.left_out),
        registered_name=config.registered_name,
        registered=tuple(model.version for model in ending.registered),
        preference=ending.preference,
        doubtful=ending.doubtful,
        page=runs_page(config.tracking_uri, experiment_id),
        served_by=served_by(config.tracking_uri),
        report=ending.report,
        interrupted=stopped,
        startup_seconds=ready_at - started,
        trials_seconds=ended_at - ready_at,
    )


def _check_methods(config: SweepConfig) -> None:
    """Raise UsageError for a pruner or sampler that does not fit the other options."""
    if config.pruner != AUTO:
        config.resolved_pruner  # noqa: B018
    check_sampler(config)


def _check_record(config: SweepConfig) -> None:
    """Raise UsageError if a study has recorded a value that is no longer allowed: its trials could not run."""
    try:
        validate(config)
    except UsageError as error:
        raise UsageError(
            f"Study {config.study!r} cannot be continued with what it recorded. {error} Choose another --study."
        ) from None


def _open_study(
    study: Study,
    tracker: Tracker,
    dataset: datasets.Dataset,
    architectures: tuple[KnownArchitecture, ...],
    gpu: Gpu | None,
    say: Callable[[str], None],
) -> str:
    """Create the study with its parent run, or continue it; return the parent's id."""
    if study.exists:
        study.check_dataset(dataset.digest)
        study.check_knobs(architectures)
        tracker.experiment(study.config.experiment_name)  # raises if it was deleted in the meantime
        first = _first(study.config, architectures)
        study.check_room(first)
        study.go_on()
        parent = study.parent_run_id
        tracker.parents.resume(parent, dataset=dataset_facts(dataset, study.config.dataset))
        study.enqueue(first)
    else:
        config = replace(
            study.config,
            architectures=tuple(known.name for known in architectures),
            precision=resolve_precision(study.config.precision, gpu),
            pruner=study.config.resolved_pruner,
            augment=resolve_augmentation(study.config.augment, dataset),
        )
        first = _first(config, architectures)
        study.check_room(first)
        starts = study.starts(config, dataset.digest, architectures)[: config.trials - len(first)]
        if "warm_start" in config.asked and config.warm_start != OFF:
            named = [f"{start.values['architecture']} from {start.source}" for start in starts]
            unsuited = config.warm_start == PORTFOLIO and not config.suits_portfolio
            say(f"warm start: {', '.join(named) or (NOT_FOR_THIS if unsuited else 'nothing fits')}")
        experiment_id = tracker.experiment(config.experiment_name)
        params = as_typed(config, FIXED) | {"dataset_digest": dataset.digest}
        facts = dataset_facts(dataset, config.dataset)
        sources = ", ".join(start.source for start in starts)
        parent = tracker.parents.start(experiment_id, study.name, params, dataset=facts, warm_start=sources)
        study.create(config, parent, dataset.digest, first, starts)
        with scratch_folder() as folder:
            (folder / CONFIG_FILE).write_text(as_toml(config), encoding="utf-8")
            tracker.writer.log_files(parent, folder)
    return parent


def _take_up(
    study: Study, tracker: Tracker, outbox: Outbox, dataset: datasets.Dataset, progress: TrialProgress
) -> None:
    """Recover from dead sweeps: requeue their unfinished trials, and deliver writes that MLflow lacks."""

    def say(text: str) -> None:
        progress.say(escape(text))

    recover(study, tracker)
    with study.alone():
        delivered = deliver_leftover_writes(study, outbox, say)
        if not study.trials.others_run():  # other sweeps evaluate the models they keep
            evaluate_leftover_models(study, tracker, dataset, say)
    for ended in delivered:
        progress.say(f"trial {ended.number}: result delivered from disk to MLflow")
    if interrupted := len(study.trials.interrupted()):
        progress.say(f"taking up {interrupted} interrupted trial{'s' if interrupted > 1 else ''}")


def _first(config: SweepConfig, architectures: tuple[KnownArchitecture, ...]) -> list[dict[str, object]]:
    """Return the configurations of --enqueue with a study's names.

    Raises:
        UsageError: if one is not in the space, or if there are more configurations than trials.
    """
    if len(config.enqueue) > config.trials:
        raise UsageError(f"--enqueue holds {len(config.enqueue)} configurations for --trials {config.trials}.")
    found = []
    for position, given in enumerate(config.enqueue, 1):
        try:
            found.append(config.space.configuration(given, architectures))
        except UsageError as error:
            raise UsageError(f"Configuration {position} of --enqueue: {error}") from None
    return found
