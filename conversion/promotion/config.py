"""The options of a promotion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from architectures.errors import UsageError
from architectures.fields import PLUGINS, Name, Number, Whole, validate
from conversion.coreml.formats import Compression, Format
from conversion.promotion.place import OutputPlace

DEFAULT_MODEL = "mnist5k-classifier"
MAX_ACCURACY_LOSS = 0.2  # points of validation accuracy that a smaller file may lose: one image of 500
Prefer = Literal["best", "smallest"]
PREFERENCES: tuple[Prefer, ...] = get_args(Prefer)


@dataclass(frozen=True)
class PromoteConfig:
    """What to promote, to which place, and with which limits.

    Raises:
        UsageError: for an invalid value.
    """

    tracking_uri: str
    model: Annotated[str, Name()] | None = None  # registered model; None: the run's own, else mnist5k-classifier
    run_id: str | None = None
    version: Annotated[int, Whole(1)] | None = None
    prefer: Prefer = "best"  # smallest: the smallest version that is not significantly worse than the best
    output: Annotated[str | Path, OutputPlace()] | None = None  # file or folder; None: the registered model's own place
    min_accuracy: Annotated[float, Number(0, 1)] | None = None  # of the executed file on the test images, 0..1
    max_bytes: Annotated[int, Whole(1)] | None = None
    format: Format | None = None  # None: mlmodel, or what --compress auto chooses
    compress: Compression | Literal["auto"] = "none"
    # points of validation accuracy that the file may lose
    max_accuracy_loss: Annotated[float, Number(0, 100)] = MAX_ACCURACY_LOSS
    author: str = ""  # written into the file, like license; empty: none
    license: str = ""
    plugins: Annotated[tuple[str, ...], PLUGINS] = ()
    dry_run: bool = False
    forced_reason: str | None = None  # why a refusal is overridden; None: it is not

    def __post_init__(self) -> None:
        validate(self)
        if self.run_id is not None and self.version is not None:
            raise UsageError("PromoteConfig takes run_id or version, not both: each names one model.")
        if self.prefer != "best" and (self.run_id is not None or self.version is not None):
            raise UsageError(
                "PromoteConfig.prefer chooses among the registered versions: leave out run_id and version."
            )
        if self.forced_reason is not None and not self.forced_reason.strip():
            raise UsageError("PromoteConfig.forced_reason is empty: what is overridden is recorded with the reason.")
