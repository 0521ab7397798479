"""Named inputs and outputs of a model, checked and converted to batches.

A batch of a feature has the examples along the first axis: numbers (N,), arrays (N, *shape), images uint8 (N, height,
width, channels), texts as objects (N,); dictionaries are `Scores`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from architectures.errors import UsageError
from conversion.runtime.interface import CorruptModel, NotCheckable
from conversion.runtime.limits import MAX_BLOB_ELEMENTS

COLORS = {"GRAYSCALE": 1, "RGB": 3, "BGR": 3}
FEATURE_KINDS = {
    "doubleType": "double",
    "int64Type": "int64",
    "stringType": "string",
    "multiArrayType": "array",
    "imageType": "image",
    "dictionaryType": "dictionary",
}


@dataclass(frozen=True)
class Feature:
    """An input or output as the file describes it, with its default size if that is flexible."""

    name: str
    kind: str  # a value of KINDS
    shape: tuple[int, ...] = ()  # of an array; of an image (height, width, channels); empty if the file states none
    color: str = ""  # of an image: a key of COLORS
    optional: bool = False

    def __str__(self) -> str:
        size = f" {' x '.join(map(str, self.shape))}" if self.shape else ""
        return f"{self.name}: {self.color or self.kind}{size}"


@dataclass(frozen=True)
class Scores:
    """A batch of dictionaries from label to number."""

    labels: tuple[str, ...] | tuple[int, ...]
    values: np.ndarray  # (N, number of labels)

    def dictionary(self, row: int) -> dict[Any, float]:
        """Return one of them; if labels are repeated, the last one counts."""
        return dict(zip(self.labels, self.values[row].tolist(), strict=True))


Batch = np.ndarray | Scores


def feature(stored: Any, source: str) -> Feature:
    """Read a `FeatureDescription` message.

    Raises:
        CorruptModel: if its size is invalid.
        NotCheckable: if its kind is unknown, or its size exceeds the limits.
    """
    kind = stored.type.WhichOneof("Type")
    if kind not in FEATURE_KINDS:
        raise NotCheckable(f"{source}: its feature {stored.name!r} is of the type {kind}.")
    shape: tuple[int, ...] = ()
    color = ""
    if kind == "multiArrayType":
        shape = _array_shape(stored.type.multiArrayType)
    if kind == "imageType":
        image = stored.type.imageType
        names = image.DESCRIPTOR.fields_by_name["colorSpace"].enum_type.values_by_number
        color = names[image.colorSpace].name if image.colorSpace in names else str(image.colorSpace)
        if color not in COLORS:
            raise NotCheckable(f"{source}: its feature {stored.name!r} has the colour space {color}.")
        shape = (*_image_size(image), COLORS[color])
    if any(size < 1 for size in shape):
        raise CorruptModel(f"{source}: its feature {stored.name!r} has the shape {shape}.")
    if math.prod(shape) > MAX_BLOB_ELEMENTS:
        raise NotCheckable(f"{source}: its feature {stored.name!r} has the shape {shape}, which is too large.")
    return Feature(stored.name, FEATURE_KINDS[kind], shape, color, bool(stored.type.isOptional))


def _array_shape(array: Any) -> tuple[int, ...]:
    """Return the stated shape; if it is flexible, the default, the first of several, or the smallest."""
    if len(array.shape):
        return tuple(array.shape)
    if array.HasField("enumeratedShapes") and len(array.enumeratedShapes.shapes):
        return tuple(array.enumeratedShapes.shapes[0].shape)
    if array.HasField("shapeRange"):
        return tuple(each.lowerBound for each in array.shapeRange.sizeRanges)
    return ()


def _image_size(image: Any) -> tuple[int, int]:
    if image.height or image.width:
        return image.height, image.width
    if image.HasField("enumeratedSizes") and len(image.enumeratedSizes.sizes):
        first = image.enumeratedSizes.sizes[0]
        return first.height, first.width
    if image.HasField("imageSizeRange"):
        return image.imageSizeRange.heightRange.lowerBound, image.imageSizeRange.widthRange.lowerBound
    return 0, 0


def batched(values: Mapping[str, Any], wanted: Sequence[Feature]) -> dict[str, Batch]:
    """Convert the values of one example to batches of one.

    Raises:
        UsageError: if a value is missing, unknown, or does not fit its feature.
    """
    for name in values:
        if name not in {each.name for each in wanted}:
            raise UsageError(f"No input is called {name!r}; there are {', '.join(map(str, wanted))}.")
    found: dict[str, Batch] = {}
    for each in wanted:
        if each.name in values:
            found[each.name] = _batch_of_one(values[each.name], each)
        elif not each.optional:
            raise UsageError(f"The input {each} is missing.")
    return found


def _batch_of_one(value: Any, wanted: Feature) -> Batch:
    if wanted.kind == "dictionary":
        if not isinstance(value, Mapping):
            raise UsageError(f"The input {wanted} is not a dictionary.")
        return Scores(tuple(value), np.array([list(value.values())], np.float64))
    if wanted.kind == "string":
        if not isinstance(value, str):
            raise UsageError(f"The input {wanted} is not a text.")
        return np.array([value], object)
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise UsageError(f"The input {wanted} is not an array.") from error
    if wanted.kind == "image":
        if array.dtype != np.uint8 or array.shape != wanted.shape:
            raise UsageError(f"The input {wanted} must be uint8, not {array.dtype} of shape {array.shape}.")
        return array[None]
    if array.dtype.kind not in "fiub":
        raise UsageError(f"The input {wanted} must be numbers, not {array.dtype}.")
    if wanted.kind in ("double", "int64"):
        if array.size != 1:
            raise UsageError(f"The input {wanted} is one number, not an array of shape {array.shape}.")
        if wanted.kind == "int64" and not float(array.item()).is_integer():
            raise UsageError(f"The input {wanted} is a whole number, not {array.item()}.")
        return array.reshape(1).astype(np.float64 if wanted.kind == "double" else np.int64)
    if wanted.shape and array.shape != wanted.shape:
        raise UsageError(f"The input {wanted} has another shape: {array.shape}.")
    if not array.size:
        raise UsageError(f"The input {wanted} is empty.")
    return array[None]


def single(batch: Batch, wanted: Feature) -> Any:
    """Return the first example of an output, as Core ML would."""
    if isinstance(batch, Scores):
        return batch.dictionary(0)
    value = batch[0]
    if wanted.kind == "array":
        return np.asarray(value).reshape(wanted.shape) if math.prod(wanted.shape) == np.size(value) else value
    if wanted.kind == "image":
        return value
    if np.size(value) != 1:
        raise ValueError(f"its output {wanted.name!r} is not a single value")
    found = np.asarray(value, object).reshape(()).item()
    return int(found) if wanted.kind == "int64" else float(found) if wanted.kind == "double" else found
