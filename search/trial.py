"""Train and keep one configuration as one tracked run.  Run: python -m search.trial --architecture malireddi"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from architectures.command import Parser, print_json, run, traceback_text
from architectures.display import say
from architectures.errors import ProjectError, UsageError
from architectures.fields import PLUGINS, Choice, Name, allowed, validate
from architectures.knobs import Knob, knob_from_text
from architectures.scratch import scratch_folder
from conversion.coreml.formats import check_available
from experiments.config import (
    BATCH_SIZE,
    COMPRESSIONS,
    DROPOUT,
    EPOCHS,
    FILTERS,
    LABEL_SMOOTHING,
    LEARNING_RATE,
    LEARNING_RATES,
    PRECISIONS,
    SCHEDULE,
    SEED,
    Compression,
    RunConfig,
    RunResult,
    default_tracking_uri,
)
from experiments.datasets import title
from experiments.datasets.arguments import OPTIONS, add_arguments, dataset_given
from experiments.interruption import interruptible
from experiments.training.precision import Gpu, resolve_precision
from search.config import AUTO
from search.sweep import SCHEDULE_HELP, add_common

if TYPE_CHECKING:
    from experiments.datasets import Dataset
    from experiments.tracking import ModelRecord, Tracker, VersionRecord
    from search.engines.local import LocalEngine
    from search.engines.messages import Known
    from search.trials.progress import TrialProgress


@dataclass(frozen=True)
class TrialConfig:
    """One run; what is None is the architecture's published value.

    Raises:
        UsageError: for a value that is not allowed.
    """

    tracking_uri: str
    architecture: str
    dataset: str = "mnist5k"
    filters: Annotated[int, FILTERS] | None = None
    dropout: Annotated[float, DROPOUT] | None = None
    batch_size: Annotated[int, BATCH_SIZE] | None = None  # None: 128; smaller where there are few images
    learning_rate: Annotated[float, LEARNING_RATE] | None = None  # None: the schedule's own
    schedule: Annotated[str, SCHEDULE] = RunConfig.schedule
    label_smoothing: Annotated[float, LABEL_SMOOTHING] = 0.0
    augment: bool = False
    knobs: tuple[tuple[str, Knob], ...] = ()  # the architecture's own; those left out have their first choice
    epochs: Annotated[int, EPOCHS] = RunConfig.epochs
    seed: Annotated[int, SEED] = 0
    precision: Annotated[str, Choice((AUTO, *PRECISIONS))] = AUTO
    compress: Compression = "none"  # of the file whose bytes are measured
    experiment: Annotated[str, Name(empty=True)] = ""  # empty: the data set's name
    register_as: Annotated[str, Name(empty=True)] = ""  # empty: <dataset>-classifier
    plugins: Annotated[tuple[str, ...], PLUGINS] = ()

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class TrialResult:
    """A finished run and the registry version of its model."""

    run_id: str
    config: RunConfig
    result: RunResult
    model: VersionRecord

    def as_json(self) -> dict[str, object]:
        metrics = asdict(self.result)
        for internal in ("keras_file", "val_probabilities", "input_shape", "num_classes"):
            del metrics[internal]
        return {
            "run_id": self.run_id,
            "registered_model": self.model.registered_name,
            "version": self.model.version,
            "history": metrics.pop("epochs"),  # `epochs` is their largest number
            **self.config.parameters(),
            **metrics.pop("size"),
            **metrics,
        }


def run_trial(config: TrialConfig) -> TrialResult:
    """Train, track, keep and register one configuration.

    Raises:
        UsageError: for an unknown name or a value out of bounds.
        ProjectError: if training fails; the run is FAILED in MLflow, with the traceback.
        KeyboardInterrupt: on Ctrl-C; the run is KILLED.
    """
    from rich.markup import escape

    from experiments.datasets.summary import summary
    from experiments.evaluation.metrics import write_evaluation
    from experiments.tracking import Tracker, environment, run_start
    from search.engines.local import LocalEngine, cores
    from search.engines.messages import WorkerSetup
    from search.engines.shared_data import save_dataset
    from search.orchestrate import choose_architectures, load_dataset, usable_batch_sizes
    from search.trials.progress import TrialProgress

    check_available("mlmodel", config.compress)
    setup = WorkerSetup(config.plugins, (config.architecture,), cores())
    with (
        LocalEngine(setup, 1) as engine,
        scratch_folder() as folder,
        TrialProgress(1, 1) as progress,
    ):
        progress.waiting("starting TensorFlow")
        tracker = Tracker(config.tracking_uri)  # imports MLflow while the worker imports TensorFlow
        dataset = load_dataset(config.dataset, config.plugins)
        for line in summary(dataset):
            progress.say(escape(line))
        (batch_size,) = usable_batch_sizes(
            (config.batch_size or RunConfig.batch_size,),
            dataset,
            asked=config.batch_size is not None,
            say=progress.say,
        )
        save_dataset(dataset, folder)
        engine.provide(folder)
        ready = engine.wait_until_ready()
        (known,) = choose_architectures(ready, (config.architecture,), dataset.name)
        run_config = _run_config(config, known, ready.gpu, batch_size)
        experiment_id = tracker.experiment(config.experiment or title(config.dataset))
        where = environment(setup.threads, ready.gpu, config.plugins)
        run_id = tracker.start_run(
            run_start(experiment_id, config.architecture, run_config, dataset=dataset, environment=where)
        )
        result, kept = _train(engine, tracker, run_id, run_config, dataset, folder, progress)
        missing = write_evaluation(tracker, run_id, result.val_probabilities, dataset, best_epoch=result.best_epoch)
        if missing:
            progress.say(f"warning: not drawn: {escape(missing)}")
        model = tracker.register(config.register_as or f"{title(config.dataset)}-classifier", kept)
        return TrialResult(run_id, run_config, result, model)


def _run_config(config: TrialConfig, known: Known, gpu: Gpu | None, batch_size: int) -> RunConfig:
    own = dict(known.knobs)
    for knob, value in config.knobs:
        if not any(value == choice and type(value) is type(choice) for choice in own.get(knob, ())):
            described = "; ".join(f"{name}: {', '.join(map(str, choices))}" for name, choices in own.items())
            raise UsageError(f"{knob}={value} is no knob of {known.name!r}. It has {described or 'none'}.")
    return RunConfig(
        architecture=config.architecture,
        dataset=config.dataset,
        filters=known.default_filters if config.filters is None else config.filters,
        dropout=known.default_dropout if config.dropout is None else config.dropout,
        batch_size=batch_size,
        learning_rate=config.learning_rate or LEARNING_RATES[config.schedule],
        schedule=config.schedule,
        label_smoothing=config.label_smoothing,
        augment=config.augment,
        knobs=tuple(sorted(({knob: choices[0] for knob, choices in own.items()} | dict(config.knobs)).items())),
        epochs=config.epochs,
        seed=config.seed,
        precision=resolve_precision(config.precision, gpu),
        compress=config.compress,
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
    """Train on the engine, write each epoch and keep the model; ends the run as FAILED or KILLED where that fails."""
    from search.engines.messages import Job
    from search.trials.loop import file_facts

    try:
        with interruptible() as interrupted:
            progress.started(0, config)
            engine.submit(Job(0, config, file_facts(dataset, config, run_id), None, folder / "model.keras"))
            result = _follow(engine, tracker, run_id, progress, interrupted)
            kept = tracker.finish(run_id, result, keep=True)
            assert kept is not None  # as was asked
            return result, kept
    except KeyboardInterrupt:
        tracker.end(run_id, "KILLED", outcome="interrupted")
        raise
    except Exception as error:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            tracker.fail(run_id, traceback_text(error))
        raise


def _follow(
    engine: LocalEngine,
    tracker: Tracker,
    run_id: str,
    progress: TrialProgress,
    interrupted: Callable[[], bool],
) -> RunResult:
    """Write what the worker says until it has a result."""
    from search.engines import WorkerFailed
    from search.engines.messages import Built, Died, EpochEnded, Failed, Finished
    from search.trials.loop import POLL_SECONDS

    while not interrupted():
        match engine.next_event(POLL_SECONDS):
            case Built(number, size):
                engine.reply(number, True)
                tracker.log_size(run_id, size)
                progress.built(number, size)
            case EpochEnded(number, metrics):
                engine.reply(number, True)
                tracker.log_epoch(run_id, metrics)
                progress.epoch(number, metrics)
            case Finished(number, result):
                progress.finished(number, result)
                return result
            case Failed(_, message, text, exit_code):
                raise WorkerFailed(message, exit_code) from ProjectError(text)
            case Died(_, reason):
                raise ProjectError(f"The run failed: {reason}.")
    raise KeyboardInterrupt


def parser() -> Parser:
    made = Parser("search.trial", "Train one configuration as one tracked run, and keep and register its model.")
    add = made.add_argument
    add("--architecture", required=True, type=_architecture, metavar="NAME", help="registered architecture")
    add_arguments(made)
    add("--epochs", type=allowed(TrialConfig, "epochs"), metavar="N", help="epochs at most (default 10)")
    add(
        "--batch-size",
        type=allowed(TrialConfig, "batch_size"),
        metavar="N",
        help="default 128; smaller where there are few images",
    )
    add("--dropout", type=allowed(TrialConfig, "dropout"), metavar="RATE", help="default: as published")
    add(
        "--filters",
        type=allowed(TrialConfig, "filters"),
        metavar="N",
        help="width of the first stage (default: as published)",
    )
    add(
        "--learning-rate",
        type=allowed(TrialConfig, "learning_rate"),
        metavar="X",
        help="Adam's, at its highest (default 3e-3; constant: 1e-3)",
    )
    add("--schedule", choices=tuple(LEARNING_RATES), help=SCHEDULE_HELP)
    add(
        "--label-smoothing",
        type=allowed(TrialConfig, "label_smoothing"),
        metavar="X",
        help="share of each label (default 0)",
    )
    add(
        "--augment",
        nargs="?",
        choices=("on", "off"),
        const="on",
        help="shift, scale and rotate the training images",
    )
    add(
        "--knob",
        dest="knobs",
        action="append",
        type=_knob,
        metavar="NAME=VALUE",
        help="a hyperparameter of the architecture's own; repeatable",
    )
    add("--seed", type=allowed(TrialConfig, "seed"), metavar="N", help="default 0")
    add(
        "--precision",
        choices=(AUTO, *PRECISIONS),
        help="auto (the default) computes in bfloat16 where the processor does so natively; the kept model is float32",
    )
    add(
        "--compress",
        choices=COMPRESSIONS,
        help="measure the bytes of the file that the same option of conversion.promote makes (default none)",
    )
    add(
        "--experiment",
        type=allowed(TrialConfig, "experiment"),
        metavar="NAME",
        help="MLflow experiment (default: the data set's name)",
    )
    add(
        "--register-as",
        type=allowed(TrialConfig, "register_as"),
        metavar="NAME",
        help="registered model (default <dataset>-classifier)",
    )
    add_common(made)
    return made


def _architecture(text: str) -> str:
    """An argparse type: one name."""
    if "," in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not one name: python -m search.sweep trains several")
    return text


def _knob(text: str) -> tuple[str, Knob]:
    """An argparse type: a knob and its value."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, knob_from_text(value)


def _body(arguments: argparse.Namespace) -> int:
    options = vars(arguments) | {"dataset": dataset_given(arguments, TrialConfig.dataset)}
    options = {key: value for key, value in options.items() if value is not None}
    for common in ("json", "debug", *OPTIONS):
        options.pop(common, None)
    if "augment" in options:
        options["augment"] = options["augment"] == "on"
    for several in ("plugins", "knobs"):
        options[several] = tuple(options.get(several, ()))
    trial = run_trial(TrialConfig(**({"tracking_uri": default_tracking_uri()} | options)))
    if arguments.json:
        print_json(trial.as_json())
    else:
        result = trial.result
        say(
            f"Run {trial.run_id}: val_accuracy {result.best_val_accuracy:.4f} at epoch {result.best_epoch}, "
            f"{result.size.parameters:,} parameters, {result.size.coreml_bytes:,} Core ML bytes, "
            f"{result.latency_ms:.2f} ms an image."
        )
        say(
            f"Registered as {trial.model.registered_name}, version {trial.model.version}. "
            f"Next: python -m conversion.promote --run {trial.run_id}"
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run(parser(), _body, argv)


if __name__ == "__main__":
    sys.exit(main())
