"""What a process that trains a recorded run again is asked, and what it says."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.config import EpochMetrics, ModelSize, RunConfig
from experiments.training.precision import Gpu


@dataclass(frozen=True)
class Request:
    """What to train, and under which conditions."""

    config: RunConfig
    dataset_digest: str  # of the data that are to be used; others are not
    threads: int  # TensorFlow's
    plugins: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]  # environment variables
    epochs: int | None  # after which to end, where the recorded run was ended by somebody


@dataclass(frozen=True)
class Retrained:
    """What came of it."""

    dataset_digest: str
    gpu: Gpu | None  # that TensorFlow sees
    epochs: tuple[EpochMetrics, ...] = ()  # none where the data are others
    size: ModelSize | None = None  # its coreml_bytes are not measured
    weights_sha256: str | None = None  # of the kept weights, where training ended by itself


@dataclass(frozen=True)
class Failed:
    """It could not go on."""

    message: str
    before_training: bool
