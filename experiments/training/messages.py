"""Messages of a training process, and the request to train a recorded run again."""

from __future__ import annotations

from dataclasses import dataclass

from architectures.command import one_line, traceback_text
from architectures.errors import NotConvertible, ProjectError
from experiments.config import EpochMetrics, ModelSize, RunConfig
from experiments.training.precision import Gpu


@dataclass(frozen=True)
class Failed:
    """An error of a training, or of a worker's start if `number` is None."""

    number: int | None
    message: str
    traceback: str
    exit_code: int
    not_convertible: bool = False  # coremltools has no counterpart of the trial's network


def failed(number: int | None, error: BaseException) -> Failed:
    """Return the message for an error of a training, or of a worker's start if `number` is None."""
    code = error.exit_code if isinstance(error, ProjectError) else 1
    return Failed(number, one_line(error), traceback_text(error), code, isinstance(error, NotConvertible))


@dataclass(frozen=True)
class Request:
    """A configuration to train, and under which conditions."""

    config: RunConfig
    dataset_digest: str  # of the required data
    threads: int  # TensorFlow's
    plugins: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]  # environment variables
    epochs: int | None  # after which to stop, if the recorded run was stopped


@dataclass(frozen=True)
class Retrained:
    """The result of a request."""

    dataset_digest: str
    gpu: Gpu | None  # that TensorFlow sees
    epochs: tuple[EpochMetrics, ...] = ()  # none if the data differ
    size: ModelSize | None = None  # its coreml_bytes are not measured
    weights_sha256: str | None = None  # of the kept weights, if training was not stopped
