"""What an executable Core ML file looks like from outside: its interface, its predictions and its errors."""

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
    Pictures = Images | str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Sequence[Images]
else:  # the names of the types are enough at run time, and a command's --help should not cost NumPy's import
    Array = Images = Pictures = Any


MAX_ERROR = 1000  # characters; a file may call its layers whatever it likes


class FileError(ProjectError):
    """Base of what is said about a file: one line that can be printed, whatever names the file gave to its parts."""

    def __init__(self, text: str) -> None:
        line = "".join(character if character.isprintable() else " " for character in text)
        super().__init__(line if len(line) <= MAX_ERROR else f"{line[:MAX_ERROR]}...")


class NotCheckable(FileError):
    """The file holds something that this executor does not know, so nothing can be said about it. Exit code 3."""

    exit_code = 3


class CorruptModel(FileError):
    """The file is missing, truncated, garbage, or contradicts itself. Exit code 1."""


class NotCoreML(CorruptModel):
    """What was given is something else than a Core ML file, which the error names. Exit code 2."""

    exit_code = 2


ARRAY = "ARRAY"  # the colour of images of other than 1 or 3 channels, for which Core ML has no image
COLOR_OF_CHANNELS = MappingProxyType({1: "GRAYSCALE", 3: "RGB"})  # of any other number: ARRAY
PIXELS_KEY = "pixels"  # of the metadata of a file whose array holds an image
PIXELS = "1 x row x column x channel, numbers from 0 to 255"  # the array that is meant by it


@dataclass(frozen=True)
class ImageInput:
    """The image that the file asks for, and what the file does to it before its first layer."""

    name: str
    height: int  # pixels
    width: int  # pixels
    color: str  # "GRAYSCALE", "RGB" or "BGR": the order in which the network receives the channels; ARRAY: as they are
    scale: float  # the network receives pixel * scale + bias, pixels being 0..255
    bias: tuple[float, ...]  # one per channel, in the order of `color`

    @property
    def channels(self) -> int:
        """Channels of the image: 1 or 3, of an array any number."""
        return len(self.bias)

    @property
    def is_array(self) -> bool:
        """Whether the file asks for an array (1, height, width, channels) in place of an image."""
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
    """What the file says about itself."""

    author: str
    license: str
    description: str
    version: str
    user_defined: Mapping[str, str]
    input_descriptions: Mapping[str, str]  # by feature name
    output_descriptions: Mapping[str, str]  # by feature name


@dataclass(frozen=True)
class Interface:
    """Everything that can be known of a file without executing it."""

    format: str  # "neuralnetwork" or "mlprogram"
    specification_version: int
    input: ImageInput
    probabilities_name: str  # output: a dictionary from label to probability
    label_name: str  # output: the most probable label
    labels: tuple[str, ...] | tuple[int, ...]  # in the order of the network's last layer; one may occur twice
    layers: tuple[str, ...]  # kinds in order; an activation names its function, as in "activation.ReLU"
    head: str  # "softmax", "sigmoid", or the kind of whatever else computes the probabilities
    size_bytes: int  # of the file, or of all files of a package
    metadata: Metadata

    @property
    def shown_labels(self) -> tuple[str, ...]:
        """The labels as texts that are all different: `crane [134]` where two are called `crane`."""
        return told_apart(self.labels)


@dataclass(frozen=True)
class Prediction:
    """What a file answers for a batch of images."""

    probabilities: Array  # (N, number of labels)
    labels: list[str] | list[int]  # N most probable labels
    indices: list[int]  # of these labels, which tell apart those of one name


@dataclass(frozen=True)
class Blueprint:
    """The operations between the image and the probabilities, and their floating-point constants.

    Files of the same network have the same operations whatever their compression, and as many constants of the same
    shapes, in the same order. Neither the names of blobs nor casts between floats make a difference.
    """

    operations: tuple[str, ...]  # in order, each with its blobs by number and everything that it is told but constants
    constants: tuple[tuple[str, Array], ...]  # as they are decoded, each with the name that it has in this file


class Executable(Protocol):
    """A loaded file that can be executed, whatever its format."""

    @property
    def interface(self) -> Interface:
        """What the file asks for and answers."""

    @property
    def weights(self) -> Mapping[str, Mapping[str, Array]]:
        """Decoded float32 weights by layer name and field name, in the shape that the format documents."""

    @property
    def blueprint(self) -> Blueprint:
        """The file's operations, and all floating-point numbers that they compute with."""

    def probabilities(self, images: Images, *, batch_size: int | None = None) -> Array:
        """Probabilities (N, number of labels) of uint8 images (N, height, width, channels)."""

    def predict(self, images: Pictures, *, batch_size: int | None = None) -> Prediction:
        """Probabilities and most probable labels of uint8 images (N, height, width, channels), or of image files."""


def frozen_mapping(items: Mapping[str, str]) -> Mapping[str, str]:
    """A read-only copy."""
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
