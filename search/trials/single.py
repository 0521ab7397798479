"""Run one configuration as one tracked run; keep and register its model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.markup import escape

from architectures.command import traceback_text
from architectures.errors import ProjectError, UsageError
from architectures.scratch import scratch_folder
from conversion.coreml.formats import check_available
from experiments import teacher
from experiments.attempts import Attempts
from experiments.config import RunConfig, RunResult, usual_learning_rate
from experiments.cores import cores
from experiments.datasets import Dataset, title
from experiments.evaluation.report import write_evaluation
from experiments.interruption import interruptible
from experiments.recipe import recipe_of
from experiments.tracking import ModelRecord, Tracker, VersionRecord, environment, run_start
from experiments.training.messages import Failed
from experiments.training.precision import resolve_precision
from search.engines import WorkerFailed
from search.engines.local import LocalEngine
from search.engines.messages import Built, Died, EpochEnded, Finished, Job, KnownArchitecture, Ready, WorkerSetup
from search.engines.shared_data import save_dataset
from search.report.data_page import Doubtful, mistakes, write_data_page
from search.setup import (
    choose_architectures,
    learning_rate_factor,
    of_builders,
    prepare_dataset,
    resolve_augmentation,
    usable_batch_sizes,
    within_memory,
)
from search.trials.config import TrialConfig
from search.trials.loop import POLL_SECONDS
from search.trials.progress import TrialProgress
from search.trials.run import file_facts


@dataclass(frozen=True)
class TrialResult:
    """A finished run and the registered version of its model."""

    run_id: str
    config: RunConfig
    result: RunResult
    model: VersionRecord
    doubtful: Doubtful  # images worth a look

    def as_json(self) -> dict[str, object]:
        metrics = asdict(self.result)
        for internal in ("keras_file", "val_probabilities", "input_shape", "num_classes", "resampled"):
            del metrics[internal]
        return {
            "run_id": self.run_id,
            "registered_model": self.model.registered_name,
            "version": self.model.version,
            "history": metrics.pop("epochs"),  # `epochs` is a parameter: the maximum
            **self.config.parameters(),
            **metrics.pop("size"),
            **metrics,
            **asdict(self.doubtful),
        }


def run_trial(config: TrialConfig) -> TrialResult:
    """Train one configuration, track it, and register its model.

    Raises:
        UsageError: for an unknown name or an invalid value.
        ProjectError: if training fails; the run is FAILED in MLflow, with the traceback.
        KeyboardInterrupt: on Ctrl-C; the run is KILLED.
    """

    check_available("mlmodel", config.compress)
    asked = tuple((knob, (value,)) for knob, value in config.knobs)
    setup = WorkerSetup(
        config.plugins,
        (config.architecture,),
        cores(),
        config.filters,
        knobs=asked,
        optimizer=config.optimizer,
        loss=config.loss,
    )
    with (
        LocalEngine(setup, 1) as engine,
        scratch_folder() as folder,
        TrialProgress(1, 1) as progress,
    ):
        progress.waiting("starting TensorFlow")
        tracker = Tracker(config.tracking_uri)  # imports MLflow while the worker imports TensorFlow
        if config.teacher:
            config = replace(config, teacher=teacher.find(tracker, config.teacher))

        def say(text: str) -> None:
            progress.say(escape(text))

        dataset = prepare_dataset(config, tracker, say)
        (batch_size,) = usable_batch_sizes(
            (config.batch_size or RunConfig.batch_size,),
            dataset,
            asked=config.batch_size is not None,
            say=say,
        )
        save_dataset(dataset, folder)
        engine.provide(folder)
        ready = engine.wait_until_ready()
        (known,) = choose_architectures(ready, (config.architecture,), dataset.name)
        if config.batch_size is None:
            (batch_size,) = within_memory((batch_size,), (known,), say=say)
        run_config = _run_config(config, known, ready, batch_size, resolve_augmentation(config.augment, dataset))
        experiment_id = tracker.experiment(config.experiment or title(config.dataset))
        where = environment(setup.threads, ready.gpu, config.plugins)
        run_id = tracker.writer.start_run(
            run_start(experiment_id, config.architecture, run_config, dataset=dataset, environment=where)
        )
        result, kept = _train(engine, tracker, run_id, run_config, dataset, folder, progress)
        missing = write_evaluation(tracker, run_id, result.val_probabilities, dataset)
        attempts = Attempts()
        suspects = write_data_page(tracker, run_id, dataset, config.dataset, attempts)
        missing = "; ".join(filter(None, [missing, str(attempts)]))
        if missing:
            say(f"warning: not drawn: {missing}")
        model = tracker.registry.register(config.register_as or f"{title(config.dataset)}-classifier", kept)
        doubtful = Doubtful(mistakes(result.val_probabilities, dataset), suspects)
        return TrialResult(run_id, run_config, result, model, doubtful)


def _run_config(
    config: TrialConfig, known: KnownArchitecture, ready: Ready, batch_size: int, augment: str
) -> RunConfig:
    if config.filters is not None and known.default_filters is None:
        raise UsageError(f"{known.name} has fixed widths: leave --filters out.")
    knobs = tuple((knob, choices[0]) for knob, choices in known.knobs)
    return RunConfig(
        architecture=config.architecture,
        dataset=config.dataset,
        filters=known.default_filters if config.filters is None else config.filters,
        dropout=known.default_dropout if config.dropout is None else config.dropout,
        batch_size=batch_size,
        learning_rate=config.learning_rate or usual_learning_rate(config.schedule, knobs, learning_rate_factor(ready)),
        optimizer=config.optimizer,
        loss=config.loss,
        teacher=config.teacher,
        schedule=config.schedule,
        augment=augment,
        views=config.views,
        knobs=knobs,
        objective=config.objective,
        epochs=config.epochs,
        seed=config.seed,
        precision=resolve_precision(config.precision, ready.gpu),
        compress=config.compress,
        **recipe_of(config) | of_builders(config, ready),  # type: ignore[arg-type]
    )


def _train(
    engine: LocalEngine,
    tracker: Tracker,
    run_id: str,
    config: RunConfig,
    dataset: Dataset,
    folder: Path,
    progress: TrialProgress,
) -> tuple[RunResult, ModelRecord]:
    """Train on the engine, record each epoch, keep the model; on an error, end the run as FAILED or KILLED."""

    try:
        with interruptible() as interrupted:
            progress.started(0, config)
            engine.submit(Job(0, config, file_facts(dataset, config, run_id), None, folder / "model.keras"))
            result = _follow(engine, tracker, run_id, progress, interrupted)
            kept = tracker.writer.finish(run_id, result, keep=True)
            assert kept is not None  # as requested
            return result, kept
    except KeyboardInterrupt:
        tracker.writer.end(run_id, "KILLED", outcome="interrupted")
        raise
    except Exception as error:
        with contextlib.suppress(Exception):  # report the first error
            tracker.writer.fail(run_id, traceback_text(error))
        raise


def _follow(
    engine: LocalEngine,
    tracker: Tracker,
    run_id: str,
    progress: TrialProgress,
    interrupted: Callable[[], bool],
) -> RunResult:
    """Record what the worker reports until it returns a result."""

    while not interrupted():
        match engine.next_event(POLL_SECONDS):
            case Built(number, size):
                engine.reply(number, True)
                tracker.writer.log_size(run_id, size)
                progress.built(number, size)
            case EpochEnded(number, metrics):
                engine.reply(number, True)
                tracker.writer.log_epoch(run_id, metrics)
                progress.epoch(number, metrics)
            case Finished(number, result):
                progress.finished(number, result)
                return result
            case Failed(_, message, text, exit_code):
                raise WorkerFailed(message, exit_code) from ProjectError(text)
            case Died(_, reason):
                raise ProjectError(f"The run failed: {reason}.")
    raise KeyboardInterrupt
