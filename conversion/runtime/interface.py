"""The public types of the executor: interface, predictions and errors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from architectures.errors import ProjectError
from experiments.evaluation.labels import told_apart

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]
    Images = npt.NDArray[np.uint8]
    Probabilities = npt.NDArray[np.float32]
    Indices = npt.NDArray[np.int64]
    Pictures = Images | str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Sequence[Images]
else:  # type names are enough at run time; --help of a command should not import NumPy
    Array = Images = Probabilities = Indices = Pictures = Any


MAX_ERROR = 1000  # characters; layer names in a file can be arbitrarily long


class FileError(ProjectError):
    """Base of errors about a file: one printable line, whatever names the file contains."""

    def __init__(self, text: str) -> None:
        line = "".join(character if character.isprintable() else " " for character in text)
        super().__init__(line if len(line) <= MAX_ERROR else f"{line[:MAX_ERROR]}...")


class NotCheckable(FileError):
    """The file has something that this executor does not support, so nothing can be said about it. Exit code 3."""

    exit_code = 3


class CorruptModel(FileError):
    """The file is missing, truncated, garbage, or contradicts itself. Exit code 1."""


class NotCoreML(CorruptModel):
    """The file is of another kind, which the error names. Exit code 2."""

    exit_code = 2


ARRAY = "ARRAY"  # the colour of inputs with other than 1 or 3 channels, for which Core ML has no image type
COLOR_OF_CHANNELS = MappingProxyType({1: "GRAYSCALE", 3: "RGB"})  # any other number: ARRAY
PIXELS_KEY = "pixels"  # in the metadata of a file whose array is an image
PIXELS = "1 x row x column x channel, numbers from 0 to 255"  # the array that this means


@dataclass(frozen=True)
class ImageInput:
    """The image that the file takes, and what the file does to it before the first layer."""

    name: str
    height: int  # pixels
    width: int  # pixels
    color: str  # "GRAYSCALE", "RGB" or "BGR": the channel order in the network; ARRAY: unchanged
    scale: float  # the network receives pixel * scale + bias, with pixels 0..255
    bias: tuple[float, ...]  # one per channel, in the order of `color`

    @property
    def channels(self) -> int:
        """Channels of the image: 1 or 3; of an array, any number."""
        return len(self.bias)

    @property
    def is_array(self) -> bool:
        """Whether the file takes an array (1, height, width, channels) instead of an image."""
        return self.color == ARRAY

    @property
    def blob_shape(self) -> tuple[int, int, int, int]:
        """The shape in which the network receives one image."""
        sides = self.height, self.width
        return (1, *sides, self.channels) if self.is_array else (1, self.channels, *sides)

    @property
    def text(self) -> str:
        """What the file takes, for errors."""
        size = f"{self.height}x{self.width}"
        return f"an array of 1x{size}x{self.channels} numbers" if self.is_array else f"images of {size} {self.color}"


@dataclass(frozen=True)
class Metadata:
    """The metadata of the file."""

    author: str
    license: str
    description: str
    version: str
    user_defined: Mapping[str, str]
    input_descriptions: Mapping[str, str]  # by feature name
    output_descriptions: Mapping[str, str]  # by feature name


@dataclass(frozen=True)
class Interface:
    """Everything that is known about a file without running it."""

    format: str  # "neuralnetwork" or "mlprogram"
    specification_version: int
    input: ImageInput
    probabilities_name: str  # output: a dictionary from label to probability
    label_name: str  # output: the most probable label
    labels: tuple[str, ...] | tuple[int, ...]  # in the order of the network's last layer; may contain duplicates
    layers: tuple[str, ...]  # kinds in order; an activation includes its function, as in "activation.ReLU"
    head: str  # "softmax", "sigmoid", or the kind of the operation that computes the probabilities
    size_bytes: int  # of the file, or of all files of a package
    metadata: Metadata

    @property
    def shown_labels(self) -> tuple[str, ...]:
        """The labels as unique texts: `crane [134]` if two are called `crane`."""
        return told_apart(self.labels)


@dataclass(frozen=True)
class Prediction:
    """The predictions of a file for a batch of images."""

    probabilities: Array  # (N, number of labels)
    labels: list[str] | list[int]  # N most probable labels
    indices: list[int]  # of these labels; distinguish labels with the same name


@dataclass(frozen=True)
class Blueprint:
    """The operations between the image and the probabilities, and their floating-point constants.

    Files of the same network have the same operations, whatever their compression, and the same number of constants,
    with the same shapes in the same order. Names of blobs and casts between floats do not matter.
    """

    operations: tuple[str, ...]  # in order, each with numbered blobs and all parameters except constants
    constants: tuple[tuple[str, Array], ...]  # decoded, each with its name in this file


class Executable(Protocol):
    """A loaded file that can be executed, whatever its format."""

    @property
    def interface(self) -> Interface:
        """Inputs and outputs of the file."""

    @property
    def weights(self) -> Mapping[str, Mapping[str, Array]]:
        """Decoded float32 weights by layer name and field name, in the shape that the format documents."""

    @property
    def blueprint(self) -> Blueprint:
        """The file's operations, and all floating-point numbers that they compute with."""

    def probabilities(self, images: Images, *, batch_size: int | None = None) -> Array:
        """Return probabilities (N, number of labels) of uint8 images (N, height, width, channels)."""

    def predict(self, images: Pictures, *, batch_size: int | None = None) -> Prediction:
        """Predict probabilities and labels of uint8 images (N, height, width, channels), or of image files."""


def frozen_mapping(items: Mapping[str, str]) -> Mapping[str, str]:
    """Return a read-only copy."""
    return MappingProxyType(dict(items))


__all__ = [
    "ARRAY",
    "COLOR_OF_CHANNELS",
    "PIXELS",
    "PIXELS_KEY",
    "Array",
    "CorruptModel",
    "Executable",
    "ImageInput",
    "Images",
    "Interface",
    "Metadata",
    "NotCheckable",
    "NotCoreML",
    "Pictures",
    "Prediction",
    "frozen_mapping",
]
