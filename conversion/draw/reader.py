"""Read drawings with a Core ML file: the shared preprocessing, then the file itself."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.errors import ProjectError
from conversion import runtime
from conversion.draw.request import Drawing
from conversion.runtime import Executable
from conversion.verification.threshold import threshold_in
from experiments.classifier import PREPROCESSING_VERSION
from experiments.evaluation.strokes import DRAWING_SIDE, render_strokes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

GUESSES = 3
SURE = 0.6  # confidence below which the page and the app are not sure, if the file has no threshold


class UnreadableFile(ProjectError):
    """The file exists, but does not take drawings. Exit code 3."""

    exit_code = 3


@dataclass(frozen=True)
class Guess:
    """A label and the file's confidence in it, 0 to 1."""

    label: str
    confidence: float


@dataclass(frozen=True)
class Recognition:
    """The file's answer for a drawing."""

    guesses: tuple[Guess, ...]  # the most confident first; none for an empty pad
    image: npt.NDArray[np.uint8]  # (28, 28), as the file saw it
    render_ms: float
    execute_ms: float
    threshold: float = SURE

    @property
    def sure(self) -> bool:
        return bool(self.guesses) and self.guesses[0].confidence >= self.threshold


@dataclass(frozen=True)
class Reader:
    """A loaded file that takes drawings."""

    path: Path
    executable: Executable

    @property
    def labels(self) -> tuple[str, ...]:
        return self.executable.interface.shown_labels

    def read(self, drawing: Drawing) -> Recognition:
        """Render a drawing and run the file on it."""
        started = time.perf_counter()
        image = render_strokes(drawing.strokes, pad=drawing.pad)
        rendered = time.perf_counter()
        guesses: tuple[Guess, ...] = ()
        if image.any():
            confidences = self.executable.probabilities(image[None, :, :, None])[0].tolist()
            ranked = sorted(zip(self.labels, confidences, strict=True), key=lambda pair: -pair[1])
            guesses = tuple(Guess(label, confidence) for label, confidence in ranked[:GUESSES])
        ended = time.perf_counter()
        named = threshold_in(self.executable.interface.metadata.user_defined)
        threshold = SURE if named is None else named
        return Recognition(guesses, image, (rendered - started) * 1e3, (ended - rendered) * 1e3, threshold)


def open_reader(path: Path) -> Reader:
    """Load a Core ML file for drawings.

    Raises:
        CorruptModel: if the file is missing or damaged.
        NotCheckable: if it has something that the executor does not support.
        UnreadableFile: if its input is not the image that the preprocessing makes.
    """
    executable = runtime.load(path)
    image = executable.interface.input
    if (image.width, image.height, image.color) != (DRAWING_SIDE, DRAWING_SIDE, "GRAYSCALE"):
        raise UnreadableFile(
            f"{path} takes {image.text}; drawings become images of {DRAWING_SIDE}x{DRAWING_SIDE} GRAYSCALE."
        )
    version = executable.interface.metadata.user_defined.get("preprocessing_version")
    if version != str(PREPROCESSING_VERSION):
        raise UnreadableFile(
            f"{path} was made for preprocessing version {version or 'unknown'}, this page draws version "
            f"{PREPROCESSING_VERSION}: promote the model again."
        )
    return Reader(path, executable)
