"""The dataclasses that travel between training, search and tracking."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from architectures.fields import Choice, Name, Number, Whole, validate
from architectures.knobs import Knob
from architectures.weights import HEAD, NONE, TRAIN, WEIGHTS
from experiments.objective import OF_THE_NETWORK, Objective, final, score, tie_breaker
from experiments.recipe import RECIPE, Recipe, asked_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
LEARNING_RATES = {"cosine": 3e-3, "constant": 1e-3}  # Adam's at each schedule where none is asked for
CROSS_ENTROPY = "cross_entropy"  # the loss of a run that records none
PRECISIONS = ("float32", "mixed_bfloat16")
AUGMENT_BEFORE = {False: "off", True: "digits"}  # what was recorded when there was one kind only
AUGMENTATIONS = ("off", "digits", "photo")  # how training images are changed at random: experiments/training/
Compression = Literal["none", "float16", "int8", "palette6", "palette4", "palette2", "prune50", "prune75"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)

# What a value may be, for a run, a sweep's ranges and choices, and the options of both.
BATCH_SIZE = FILTERS = EPOCHS = Whole(1)
DROPOUT = Number(0, 1, open_above=True)
LEARNING_RATE = Number(1e-7, 1)
VIEWS = Whole(0, 1_000)
SCHEDULE = Choice(tuple(LEARNING_RATES))
REGISTERED = Name()  # of an optimizer or a loss; checked in the training process
TEACHER = Name(empty=True)  # a run, where it is recorded by its id and the SHA-256 of its model; empty: there is none
SEED = Whole(0, 2**32 - 1)  # NumPy's


def default_tracking_uri() -> str:
    """MLFLOW_TRACKING_URI where it is set, else SQLite in the working directory: a bare `mlflow ui` shows it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI


def usual_learning_rate(schedule: str, knobs: tuple[tuple[str, Knob], ...], factor: float = 1.0) -> float:
    """The rate where none is asked for: the schedule's own times the optimizer's factor.

    A backbone that learns on from its weights has a tenth of it.

    >>> usual_learning_rate("cosine", (("train", "head"), ("weights", "imagenet")))
    0.003
    >>> usual_learning_rate("cosine", (("train", "top"), ("weights", "imagenet"))) == 0.003 / 10
    True
    """
    rate = float(f"{LEARNING_RATES[schedule] * factor:.6g}")  # as a person would write it
    return rate / 10 if learns_on(knobs) else rate


def learns_on(knobs: tuple[tuple[str, Knob], ...]) -> bool:
    """Whether a backbone starts from weights, and more of it than its head is trained.

    >>> learns_on((("train", "top"), ("weights", "imagenet"))), learns_on((("train", "all"), ("weights", "none")))
    (True, False)
    """
    of = dict(knobs)
    return of.get(WEIGHTS, NONE) != NONE and of.get(TRAIN) != HEAD


@dataclass(frozen=True)
class RunConfig(Recipe):
    """Everything that decides a run's numbers on a given machine.

    Raises:
        UsageError: for a value that is not allowed.
    """

    architecture: str
    dataset: str
    filters: Annotated[int, FILTERS] | None  # width of the first stage; None: the architecture's widths are fixed
    dropout: Annotated[float, DROPOUT]  # rate in [0, 1)
    batch_size: Annotated[int, BATCH_SIZE] = 128
    learning_rate: Annotated[float, LEARNING_RATE] = LEARNING_RATES["cosine"]  # the highest that the schedule reaches
    schedule: Annotated[str, SCHEDULE] = "cosine"  # of the learning rate: falls to 0 over all epochs; or constant
    epochs: Annotated[int, EPOCHS] = 10  # at a constant rate at most: early stopping may end sooner
    seed: Annotated[int, SEED] = 0
    precision: Annotated[str, Choice(PRECISIONS)] = "float32"  # never `auto`, which is resolved before
    optimizer: Annotated[str, REGISTERED] = "adam"
    loss: Annotated[str, REGISTERED] = CROSS_ENTROPY
    teacher: Annotated[str, TEACHER] = ""  # ID#sha256=DIGEST, whose softened answers are learned, too
    augment: Annotated[str, Choice(AUGMENTATIONS)] = "off"
    views: Annotated[int, VIEWS] = 0  # augmented ones of each image that a frozen backbone sees; 0: a new one an epoch
    knobs: tuple[tuple[str, Knob], ...] = ()  # the architecture's own by name, sorted
    objective: Objective = "val_accuracy"  # of the epochs, the weights of the best by it are kept

    compress: Compression = "none"  # of the Core ML file whose size is measured; training does not know of it

    def __post_init__(self) -> None:
        validate(self)

    @property
    def network(self) -> tuple[object, ...]:
        """What decides the size of the network and of its Core ML file."""
        return self.architecture, self.filters, self.knobs

    def parameters(self) -> dict[str, Knob]:
        """What a run records: each knob under its own name, the recipe and compression where there is some.

        >>> recorded = RunConfig("pocket", "mnist5k", filters=8, dropout=0.1).parameters()
        >>> recorded["learning_rate"], recorded["schedule"], "label_smoothing" in recorded
        (0.003, 'cosine', False)
        """
        values = asdict(self)
        values.update(values.pop("knobs"))
        for name in RECIPE:
            if name not in asked_of(self):
                del values[name]
        usual = {"compress": "none", "objective": "val_accuracy", "loss": CROSS_ENTROPY, "teacher": ""}
        for name, value in usual.items():
            if values[name] == value:
                del values[name]
        if self.filters is None:
            del values["filters"]
        if not self.views:
            del values["views"]
        return values


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch measured; the keys in MLflow are the fields' names."""

    epoch: int  # from 1; the step in MLflow
    loss: float  # mean over the training batches, with dropout
    accuracy: float
    val_loss: float  # of the float32 model that would be kept
    val_accuracy: float
    epoch_seconds: float  # training and validation
    val_balanced_accuracy: float | None = None  # mean over the classes; None: recorded before it was measured

    def merit(self, objective: str) -> tuple[float, float]:
        """Sorts epochs by an objective, then by the loss, or by the accuracy where the loss is the objective."""
        return tuple(score(name, getattr(self, name)) for name in (objective, tie_breaker(objective)))  # type: ignore[return-value]


@dataclass(frozen=True)
class ModelSize:
    """Figures of a built network that do not depend on its training."""

    parameters: int
    macs: int  # multiply-accumulates of convolutions and matrix products, for one image
    coreml_bytes: int  # exact size of the converted file at the default format and the run's compression


@dataclass(frozen=True)
class RunResult:
    """A finished run. The file and probabilities are those of the best epoch's weights."""

    epochs: tuple[EpochMetrics, ...]
    best_epoch: int
    best_val_accuracy: float
    best_val_loss: float
    size: ModelSize
    keras_bytes: int  # size of the .keras file, which holds weights without optimizer state
    keras_sha256: str
    weights_sha256: str  # of the weights alone: a .keras file also holds the time of writing
    latency_ms: float  # median time of the Keras model for one image on this host
    images_per_second: float  # training throughput, the first epoch (which traces the graph) left out
    keras_file: Path
    input_shape: tuple[int, int, int]  # height, width, channels
    num_classes: int
    drawn_accuracy: float | None  # on validation digits drawn on a pad; None where the data are no digits of its size
    val_probabilities: npt.NDArray[np.float32] = field(compare=False, repr=False)  # (validation images, num_classes)
    not_measured: str = ""  # what of these figures could not be measured, and why
    best_val_balanced_accuracy: float | None = None  # None as in EpochMetrics
    host_load: float | None = None  # average of the last minute, when latency_ms was measured; None: not known
    resampled: tuple[tuple[int, ...], ...] = field(default=(), compare=False, repr=False)  # `evaluation.expected`'s

    def value(self, objective: str) -> float:
        """What it reached in an objective."""
        name = "latency_ms" if objective == "host_latency_ms" else final(objective)
        return float(getattr(self.size if objective in OF_THE_NETWORK else self, name))


def run_result(values: Mapping[str, Any]) -> RunResult:
    """A RunResult from what `dataclasses.asdict` made of it, also by way of JSON."""
    import numpy as np

    return RunResult(
        **{
            **values,
            "epochs": tuple(EpochMetrics(**epoch) for epoch in values["epochs"]),
            "size": ModelSize(**values["size"]),
            "keras_file": Path(values["keras_file"]),
            "input_shape": tuple(values["input_shape"]),
            "val_probabilities": np.array(values["val_probabilities"], np.float32),
            "resampled": (),  # which only a study holds
        }
    )


@dataclass(frozen=True)
class Environment:
    """Where a run computed: the part of its record that is not its configuration."""

    host: str
    processor: str
    threads: int  # of TensorFlow's kernels; another number changes the bits of a result
    bfloat16: str  # what multiplies it natively (amx_bf16, avx512_bf16, gpu), or none: why `auto` chose a precision
    gpu: str | None  # its name, where TensorFlow sees one
    plugins: tuple[tuple[str, str], ...] = ()  # modules and files that were loaded, with the SHA-256 of their code
    settings: tuple[tuple[str, str], ...] = ()  # environment variables that change the bits of a result, with values
