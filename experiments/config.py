"""The dataclasses that training, search and tracking exchange."""

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
LEARNING_RATES = {"cosine": 3e-3, "constant": 1e-3}  # Adam's defaults by schedule
CROSS_ENTROPY = "cross_entropy"  # the loss of runs that do not record one
PRECISIONS = ("float32", "mixed_bfloat16")
AUGMENT_BEFORE = {False: "off", True: "digits"}  # older records, when there was only one kind
AUGMENTATIONS = ("off", "digits", "photo")  # random changes of training images: experiments/training/
Compression = Literal["none", "float16", "int8", "palette6", "palette4", "palette2", "prune50", "prune75"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)

# The allowed values of runs, of sweeps' ranges and choices, and of their options.
ALLOWED_BATCH_SIZE = ALLOWED_FILTERS = ALLOWED_EPOCHS = Whole(1)
ALLOWED_DROPOUT = Number(0, 1, open_above=True)
ALLOWED_LEARNING_RATE = Number(1e-7, 1)
ALLOWED_VIEWS = Whole(0, 1_000)
ALLOWED_SCHEDULE = Choice(tuple(LEARNING_RATES))
REGISTERED = Name()  # of an optimizer or a loss; checked in the training process
ALLOWED_TEACHER = Name(empty=True)  # a run; recorded as its id and the SHA-256 of its model; empty: none
ALLOWED_SEED = Whole(0, 2**32 - 1)  # NumPy's


def default_tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI if it is set, else SQLite in the working directory, which `mlflow ui` shows."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI


def usual_learning_rate(schedule: str, knobs: tuple[tuple[str, Knob], ...], factor: float = 1.0) -> float:
    """Return the default learning rate: the schedule's, times the optimizer's factor.

    Fine-tuning of a backbone uses a tenth of it.

    >>> usual_learning_rate("cosine", (("train", "head"), ("weights", "imagenet")))
    0.003
    >>> usual_learning_rate("cosine", (("train", "top"), ("weights", "imagenet"))) == 0.003 / 10
    True
    """
    rate = float(f"{LEARNING_RATES[schedule] * factor:.6g}")  # as a person would write it
    return rate / 10 if learns_on(knobs) else rate


def learns_on(knobs: tuple[tuple[str, Knob], ...]) -> bool:
    """Return whether a backbone is fine-tuned: it starts from weights, and not only its head is trained.

    >>> learns_on((("train", "top"), ("weights", "imagenet"))), learns_on((("train", "all"), ("weights", "none")))
    (True, False)
    """
    of = dict(knobs)
    return of.get(WEIGHTS, NONE) != NONE and of.get(TRAIN) != HEAD


@dataclass(frozen=True)
class RunConfig(Recipe):
    """Everything that determines a run's numbers on a given machine.

    Raises:
        UsageError: for a value that is not allowed.
    """

    architecture: str
    dataset: str
    filters: Annotated[int, ALLOWED_FILTERS] | None  # width of the first stage; None: the architecture has fixed widths
    dropout: Annotated[float, ALLOWED_DROPOUT]  # rate in [0, 1)
    batch_size: Annotated[int, ALLOWED_BATCH_SIZE] = 128
    learning_rate: Annotated[float, ALLOWED_LEARNING_RATE] = LEARNING_RATES["cosine"]  # the schedule's maximum
    schedule: Annotated[str, ALLOWED_SCHEDULE] = "cosine"  # the learning rate falls to 0 over all epochs; or constant
    epochs: Annotated[int, ALLOWED_EPOCHS] = 10  # at a constant rate, early stopping may end sooner
    seed: Annotated[int, ALLOWED_SEED] = 0
    precision: Annotated[str, Choice(PRECISIONS)] = "float32"  # never `auto`, which is resolved earlier
    optimizer: Annotated[str, REGISTERED] = "adam"
    loss: Annotated[str, REGISTERED] = CROSS_ENTROPY
    teacher: Annotated[str, ALLOWED_TEACHER] = ""  # ID#sha256=DIGEST of the run to distill from
    augment: Annotated[str, Choice(AUGMENTATIONS)] = "off"
    # augmented views of each image for a frozen backbone; 0: a new view in every epoch
    views: Annotated[int, ALLOWED_VIEWS] = 0
    knobs: tuple[tuple[str, Knob], ...] = ()  # the architecture's own by name, sorted
    objective: Objective = "val_accuracy"  # selects the best epoch, whose weights are kept

    compress: Compression = "none"  # of the Core ML file whose size is measured; does not affect training

    def __post_init__(self) -> None:
        validate(self)

    @property
    def network(self) -> tuple[object, ...]:
        """Everything that determines the size of the network and of its Core ML file."""
        return self.architecture, self.filters, self.knobs

    def parameters(self) -> dict[str, Knob]:
        """Return the parameters to record: each knob under its own name; recipe and compression only if used.

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
    """The measurements of one epoch; the keys in MLflow are the fields' names."""

    epoch: int  # from 1; the step in MLflow
    loss: float  # mean over the training batches, with dropout
    accuracy: float
    val_loss: float  # of the float32 model that would be kept
    val_accuracy: float
    epoch_seconds: float  # training and validation
    val_balanced_accuracy: float | None = None  # mean over the classes; None: an older record

    def merit(self, objective: str) -> tuple[float, float]:
        """Return a sort key: the objective, then the loss, or the accuracy if the loss is the objective."""
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
    keras_bytes: int  # size of the .keras file, without optimizer state
    keras_sha256: str
    weights_sha256: str  # of the weights only, because a .keras file also contains the time of writing
    latency_ms: float  # median time of the Keras model for one image on this host
    images_per_second: float  # training throughput, without the first epoch, which traces the graph
    keras_file: Path
    input_shape: tuple[int, int, int]  # height, width, channels
    num_classes: int
    val_probabilities: npt.NDArray[np.float32] = field(compare=False, repr=False)  # (validation images, num_classes)
    drawn_accuracy: float | None = None  # on validation digits drawn on a pad; None if the data are not such digits
    not_measured: str = ""  # which of these figures could not be measured, and why
    best_val_balanced_accuracy: float | None = None  # None as in EpochMetrics
    host_load: float | None = None  # average of the last minute, when latency_ms was measured; None: not known
    resampled: tuple[tuple[int, ...], ...] = field(default=(), compare=False, repr=False)  # `evaluation.expected`'s

    def value(self, objective: str) -> float:
        """Return the value of an objective."""
        name = "latency_ms" if objective == "host_latency_ms" else final(objective)
        return float(getattr(self.size if objective in OF_THE_NETWORK else self, name))


def run_result(values: Mapping[str, Any]) -> RunResult:
    """Return a RunResult from its `dataclasses.asdict`, also after a round trip through JSON."""
    import numpy as np

    return RunResult(
        **{
            **values,
            "epochs": tuple(EpochMetrics(**epoch) for epoch in values["epochs"]),
            "size": ModelSize(**values["size"]),
            "keras_file": Path(values["keras_file"]),
            "input_shape": tuple(values["input_shape"]),
            "val_probabilities": np.array(values["val_probabilities"], np.float32),
            "resampled": (),  # only a study has it
        }
    )


@dataclass(frozen=True)
class Environment:
    """The environment of a run: the part of its record that is not configuration."""

    host: str
    processor: str
    threads: int  # of TensorFlow's kernels; their number changes the bits of a result
    bfloat16: str  # hardware that multiplies it natively (amx_bf16, avx512_bf16, gpu), or none; decides `auto`
    gpu: str | None  # its name, where TensorFlow sees one
    plugins: tuple[tuple[str, str], ...] = ()  # modules and files that were loaded, with the SHA-256 of their code
    settings: tuple[tuple[str, str], ...] = ()  # environment variables that change the bits of a result, with values
