"""Train jobs in a process of any engine, with TensorFlow, the plugins and the data set loaded once.

Importing TensorFlow for each trial would double the time of a short one.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from architectures import registry
from architectures.command import one_line
from architectures.errors import NotConvertible, PluginError, ProjectError, UsageError
from architectures.garbage import freeze
from architectures.knobs import Knob
from architectures.weights import HEAD, TRAIN
from conversion.coreml.convert import coreml_bytes, coremltools
from conversion.coreml.convertible import check_convertible
from conversion.coreml.least_size import least_coreml_bytes, without_weights
from experiments.attempts import Attempts
from experiments.config import EpochMetrics, ModelSize, RunResult
from experiments.datasets import Dataset
from experiments.evaluation.drawn import drawn_accuracy
from experiments.tracking import code_identity, environment
from experiments.training import losses, optimizers
from experiments.training.loop import count_macs, fit
from experiments.training.memory import image_bytes
from experiments.training.messages import failed
from experiments.training.preparation import Prepared, TrainingStopped, prepare
from experiments.training.starting import start_tensorflow
from experiments.training.state import Keeping
from search.engines.asked import check_asked, searched
from search.engines.messages import (
    LARGEST_UNASKED,
    Built,
    EpochEnded,
    Event,
    Finished,
    Job,
    KnownArchitecture,
    Oversized,
    Ready,
    Resumed,
    StateNotKept,
    StateRefused,
    Stopped,
    WorkerSetup,
)
from search.engines.paused import Paused

MAY_BE_LARGE = LARGEST_UNASKED // 2  # parameters of the widest network: the knobs of a trial may make a larger one
QUICK_BYTES = 2**20  # networks of such files are converted in a second, so their exact size is used instead of a bound


class _TooLarge(Exception):
    """A network is larger than allowed, which was only known once it was built."""

    def __init__(self, event: Oversized) -> None:
        super().__init__()
        self.event = event


class Trainer:
    """Trains one job after another."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Import everything, which takes seconds.

        Raises:
            ProjectError: if a plugin fails.
        """
        self.gpu = start_tensorflow(setup.threads, setup.plugins)

        import tqdm

        # tqdm's default lock is a semaphore; if a process with one is killed, Python prints a warning at exit
        tqdm.tqdm.set_lock(threading.RLock())
        coremltools()
        freeze()  # Keras and coremltools collect garbage for each network: 0.25 s each time with imported objects
        self._setup = setup
        self.environment = environment(setup.threads, self.gpu, setup.plugins)

    def hold(self, dataset: Dataset) -> Ready:
        """Set the data set for all jobs; return which architectures fit it and can be converted.

        Raises:
            ProjectError: for an unknown architecture, optimizer or loss, or a requested one that is broken.
        """
        self._dataset = dataset
        self._paused = Paused(dataset)
        self._may_be_large: set[str] = set()  # architectures
        left_out = (*registry.left_out(), *optimizers.left_out(), *losses.left_out())
        known, warnings = [], [one_line(error) for error in left_out]
        takes = optimizers.get(self._setup.optimizer).takes, losses.get(self._setup.loss).takes
        wanted = [registry.get(name) for name in self._setup.architectures or registry.names()]
        if not self._setup.architectures:  # backbones are searched only on request
            wanted = [architecture for architecture in wanted if not architecture.find_weights]
        check_asked(wanted, self._setup.knobs)
        for architecture in wanted:
            name, misfit, knobs = architecture.name, None, searched(architecture, self._setup.knobs)
            try:
                first = {knob: choices[0] for knob, choices in knobs}
                tested = Path(architecture.source).parent == registry.FAMILIES
                with without_weights() if tested else contextlib.nullcontext():
                    built = architecture.build(dataset.input_shape, dataset.num_classes, knobs=first)
                    check_convertible(built, name, tested=tested)
            except UsageError as error:  # the images are too small for it, or Core ML lacks an operation
                misfit = str(error)
                if isinstance(error, NotConvertible) and name not in self._setup.architectures:
                    warnings.append(misfit)
            except PluginError as error:
                if name in self._setup.architectures:
                    raise
                misfit = one_line(error)  # an installed plugin that nobody requested
                warnings.append(misfit)
            widest = 0
            if not misfit:
                widest = self._measure_widest(architecture, first, None if tested else built)
            known.append(
                KnownArchitecture(
                    name, architecture.default_filters, architecture.default_dropout, misfit, knobs, widest
                )
            )
        return Ready(tuple(known), tuple(warnings), self.gpu, takes)

    def _measure_widest(self, architecture: registry.Architecture, knobs: dict[str, Knob], built: Any) -> int:
        """Note whether networks of an architecture may be large, by the widest one that a trial may draw.

        Args:
            built: a network of the default width, if the widest is not to be built.

        Returns:
            Its memory per image, in bytes; 0 if only a head is trained.
        """
        default = architecture.default_filters
        widest = default and (self._setup.filters or default)
        times = (widest / default) ** 2 if built is not None and widest and default else 1  # as convolutions grow
        with without_weights() if built is None else contextlib.nullcontext():
            if built is None:
                shape, classes = self._dataset.input_shape, self._dataset.num_classes
                built = architecture.build(shape, classes, filters=widest, knobs=knobs)
            if times * built.count_params() > MAY_BE_LARGE:
                self._may_be_large.add(architecture.name)
            return 0 if knobs.get(TRAIN) == HEAD else image_bytes(built)

    def train(
        self,
        job: Job,
        send: Callable[[Event], None],
        ask: Callable[[Built | EpochEnded], bool],
        write: Callable[[bytes], None] | None = None,
    ) -> None:
        """Train one job, and send how it ended.

        Args:
            send: called with Resumed, Finished, Stopped or Failed.
            ask: called with each step; returns whether the trial continues.
            write: saves the state of the training for another attempt; None: it is not saved.

        Raises:
            ConnectionError: if nobody is listening.
        """

        def measure(classifier) -> ModelSize:  # type: ignore[no-untyped-def]  # keras.Model
            if too_large := _too_large(job, classifier):
                raise _TooLarge(too_large)
            try:
                shipped = coreml_bytes(classifier, job.facts, compression=job.config.compress)
            except ProjectError as error:
                raise NotConvertible(str(error)) from error
            return ModelSize(classifier.count_params(), count_macs(classifier), shipped)

        def on_built(size: ModelSize) -> bool:
            return ask(Built(job.number, size))

        def on_epoch(metrics: EpochMetrics) -> bool:
            return ask(EpochEnded(job.number, metrics))

        prepared = None
        try:
            if found := self._oversized(job):
                send(found)
                return
            prepared = self._paused.pop(job)
            if prepared is None:
                prepared = prepare(job.config, self._dataset, size=job.size or measure, on_built=on_built)
            elif not on_built(prepared.size):
                raise TrainingStopped("Ended before it went on.")
            keeping = self._keeping(job, send, write) if write else None
            result = fit(prepared, keras_file=job.keras_file, on_epoch=on_epoch, keeping=keeping)
            send(Finished(job.number, with_drawn_accuracy(result, prepared)))
        except TrainingStopped:
            if prepared and job.rungs:
                self._paused.add(job, prepared)
            send(Stopped(job.number))
        except _TooLarge as found:
            send(found.event)
        except Exception as error:  # if nobody is listening, sending it raises again
            send(failed(job.number, error))

    def _keeping(self, job: Job, send: Callable[[Event], None], write: Callable[[bytes], None]) -> Keeping:
        decisive = [job.config, job.facts.dataset_digest, replace(self.environment, host=""), code_identity()]

        def on_resumed(epochs: Sequence[EpochMetrics]) -> None:
            send(Resumed(job.number, len(epochs), sum(each.epoch_seconds for each in epochs)))

        return Keeping(
            hashlib.sha256(repr(decisive).encode()).hexdigest(),
            write,
            job.state,
            on_resumed,
            on_refused=lambda reason: send(StateRefused(job.number, reason)),
            on_not_kept=lambda reason: send(StateNotKept(job.number, reason)),
            always=job.rungs,
        )

    def _oversized(self, job: Job) -> Oversized | None:
        """Return the event for a network that its weights alone make too large, or None."""
        config, data = job.config, self._dataset
        may_be_large = job.max_parameters is not None and config.architecture in self._may_be_large
        if job.size is not None or (job.max_coreml_bytes is None and not may_be_large):
            return None
        with contextlib.suppress(Exception), without_weights():  # training a plugin's network will raise it again
            network = registry.get(config.architecture).build(
                data.input_shape, data.num_classes, filters=config.filters, knobs=dict(config.knobs)
            )
            return _too_large(job, network)
        return None


def with_drawn_accuracy(result: RunResult, prepared: Prepared) -> RunResult:
    """Add the accuracy on drawn digits, or why it could not be measured."""
    drawn, attempts = None, Attempts()
    with attempts.part("drawn_accuracy"):
        drawn = drawn_accuracy(prepared.forward, prepared.dataset)
    return replace(result, drawn_accuracy=drawn, not_measured=str(attempts))


def _too_large(job: Job, network) -> Oversized | None:  # type: ignore[no-untyped-def]  # keras.Model
    parameters, least = network.count_params(), least_coreml_bytes(network, job.config.compress)
    too_many = job.max_parameters is not None and parameters > job.max_parameters
    too_long = job.max_coreml_bytes is not None and least > max(job.max_coreml_bytes, QUICK_BYTES)
    return Oversized(job.number, parameters, least) if too_many or too_long else None
