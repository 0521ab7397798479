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


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is started with."""

    plugins: tuple[str, ...]
    architectures: tuple[str, ...]  # wanted; empty: all
    threads: int  # TensorFlow's, per worker
    filters: int | None = None  # the widest first stage that a trial may draw; None: as published
    knobs: tuple[tuple[str, tuple[Knob, ...]], ...] = ()  # that were asked for: their values in place of all choices
    optimizer: str = RunConfig.optimizer
    loss: str = RunConfig.loss
    facts: tuple[tuple[str, str], ...] = ()  # that another host must have in common with the sweep's


@dataclass(frozen=True)
class Job:
    """One trial for a worker to train."""

    number: int
    config: RunConfig
    facts: FileFacts  # of the file that would ship; its accuracy is not known yet
    size: ModelSize | None  # where a network of the same widths has been measured
    keras_file: Path
    max_coreml_bytes: int | None = None  # a network whose file is certain to be larger is not built
    state: bytes | None = field(default=None, repr=False)  # of its training, that an earlier attempt has kept
    state_file: Path | None = None  # where this attempt keeps its own; None: nowhere
    rungs: tuple[int, ...] = ()  # epochs after which it may be paused


@dataclass(frozen=True)
class KnownArchitecture:
    """A registered architecture, as the sweep's process needs it: that one never imports Keras."""

    name: str
    default_filters: int | None  # None: its widths are fixed
    default_dropout: float
    misfit: str | None  # why it cannot take the data set's images, or be converted to Core ML
    knobs: tuple[tuple[str, tuple[Knob, ...]], ...] = ()  # its own by name, sorted, with what is searched
    image_bytes: int = 0  # that training holds for each image of a batch, at the widest; 0: not known


@dataclass(frozen=True)
class Ready:
    """A worker has imported everything and holds the data set."""

    architectures: tuple[KnownArchitecture, ...]  # the wanted ones, or all
    warnings: tuple[str, ...]  # of installed plugins that are left out
    gpu: Gpu | None  # on which the workers compute, if there is one
    takes: tuple[Takes, ...]  # what the optimizer and the loss take of the recipe


@dataclass(frozen=True)
class Placed:
    """A process has started a trial, on this hardware."""

    number: int
    environment: Environment


@dataclass(frozen=True)
class Resumed:
    """A trial continues from the state of an earlier attempt; the epochs before are reported again."""

    number: int
    epochs: int  # that are not trained again
    seconds: float  # that they took


@dataclass(frozen=True)
class StateRefused:
    """The state of an earlier attempt does not belong to this training, which starts over."""

    number: int
    reason: str


@dataclass(frozen=True)
class StateNotKept:
    """The state of a training is no longer kept."""

    number: int
    reason: str


@dataclass(frozen=True)
class Built:
    """A trial's network is built and its sizes are known; the worker waits to hear whether to train it."""

    number: int
    size: ModelSize


@dataclass(frozen=True)
class Oversized:
    """A trial ended before its network was built: its parameters alone make the file too large."""

    number: int
    parameters: int
    least_coreml_bytes: int  # the file would be no smaller


@dataclass(frozen=True)
class EpochEnded:
    """A trial has finished an epoch; the worker waits to hear whether to go on."""

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


OnTheWay = Placed | Built | Resumed | StateRefused | StateNotKept | EpochEnded  # after which a trial goes on
Event = Ready | OnTheWay | Oversized | Stopped | Finished | Failed | Died
