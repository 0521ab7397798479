"""Messages between a sweep and its workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from architectures.knobs import Knob
from conversion.coreml.facts import FileFacts
from experiments.config import Environment, EpochMetrics, ModelSize, RunConfig, RunResult
from experiments.training.messages import Failed
from experiments.training.precision import Gpu
from experiments.training.registered import Takes

# Parameters of the largest network that is trained without --max-coreml-bytes: 64 MiB of weights, of which coremltools
# holds twenty copies while it converts (experiments/LOG.md, 2026-11-29).
LARGEST_UNASKED = 2**24
PAUSED_BYTES = 150 * 2**20  # of the networks of paused trials that a worker holds


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is started with."""

    plugins: tuple[str, ...]
    architectures: tuple[str, ...]  # the requested ones; empty: all
    threads: int  # TensorFlow threads per worker
    filters: int | None = None  # largest width of the first stage that a trial may draw; None: as published
    knobs: tuple[tuple[str, tuple[Knob, ...]], ...] = ()  # requested values, in place of all choices
    optimizer: str = RunConfig.optimizer
    loss: str = RunConfig.loss
    facts: tuple[tuple[str, str], ...] = ()  # what a host must have in common with the sweep's


@dataclass(frozen=True)
class Job:
    """A trial for a worker to train."""

    number: int
    config: RunConfig
    facts: FileFacts  # of the file that would ship; accuracy is not known yet
    size: ModelSize | None  # if the same network has been measured
    keras_file: Path
    max_coreml_bytes: int | None = None  # networks whose files would certainly be larger are not built
    max_parameters: int | None = None  # networks of more are not converted, and not built if known beforehand
    state: bytes | None = field(default=None, repr=False)  # training state of an earlier attempt
    state_file: Path | None = None  # where this attempt saves its state; None: nowhere
    rungs: tuple[int, ...] = ()  # epochs after which it may be paused


@dataclass(frozen=True)
class KnownArchitecture:
    """A registered architecture as known to the sweep's process, which never imports Keras."""

    name: str
    default_filters: int | None  # None: fixed widths
    default_dropout: float
    misfit: str | None  # why it cannot take the data set's images, or be converted to Core ML
    knobs: tuple[tuple[str, tuple[Knob, ...]], ...] = ()  # sorted by name, with the searched values
    image_bytes: int = 0  # memory for each image of a batch, at the largest width; 0: unknown


@dataclass(frozen=True)
class Ready:
    """A worker has imported everything and loaded the data set."""

    architectures: tuple[KnownArchitecture, ...]  # the requested ones, or all
    warnings: tuple[str, ...]  # about installed plugins that are left out
    gpu: Gpu | None  # the GPU that workers use, if any
    takes: tuple[Takes, ...]  # recipe options of the optimizer and the loss


@dataclass(frozen=True)
class WorkersChosen:
    """An engine that chooses the number of its workers, as far as a GPU has room for them, has chosen one."""

    workers: int
    reason: str = ""  # why the number is final; empty: it may grow


@dataclass(frozen=True)
class Placed:
    """A process has started a trial, on this hardware."""

    number: int
    environment: Environment


@dataclass(frozen=True)
class Resumed:
    """A trial resumes from the state of an earlier attempt. The earlier epochs are reported again."""

    number: int
    epochs: int  # that are not trained again
    seconds: float  # that they took


@dataclass(frozen=True)
class StateRefused:
    """The state of an earlier attempt does not fit this training, which starts over."""

    number: int
    reason: str


@dataclass(frozen=True)
class StateNotKept:
    """The state of a training is no longer saved."""

    number: int
    reason: str


@dataclass(frozen=True)
class Built:
    """A trial's network is built and measured; the worker waits to hear whether to train it."""

    number: int
    size: ModelSize


@dataclass(frozen=True)
class Oversized:
    """A trial ended before training, because the parameters of its network alone make it too large."""

    number: int
    parameters: int
    least_coreml_bytes: int  # lower bound of the file's size


@dataclass(frozen=True)
class EpochEnded:
    """A trial has finished an epoch; the worker waits to hear whether to continue."""

    number: int
    metrics: EpochMetrics


@dataclass(frozen=True)
class Stopped:
    """A trial was ended by the sweep."""

    number: int


@dataclass(frozen=True)
class Finished:
    """A trial was trained to its end."""

    number: int
    result: RunResult


@dataclass(frozen=True)
class Died:
    """The worker of a trial ended without a message: killed, out of memory, crashed."""

    number: int | None
    reason: str


OnTheWay = Placed | Built | Resumed | StateRefused | StateNotKept | EpochEnded  # events after which a trial continues
Event = Ready | WorkersChosen | OnTheWay | Oversized | Stopped | Finished | Failed | Died
