"""Parse the protobuf message of a Core ML file, and read what both formats have in common."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from conversion.runtime import schema
from conversion.runtime.foreign import refuse_pointer
from conversion.runtime.interface import (
    ARRAY,
    PIXELS,
    PIXELS_KEY,
    Array,
    CorruptModel,
    ImageInput,
    Images,
    Interface,
    Metadata,
    NotCheckable,
    frozen_mapping,
)
from conversion.runtime.limits import MAX_BLOB_ELEMENTS, MAX_FILE_BYTES
from conversion.runtime.wire import first_unknown


def content_of(path: Path, *, source: str | None = None, most: int = MAX_FILE_BYTES) -> bytes:
    """Read a whole file, if it is small enough.

    Args:
        source: its name in errors, if not the path.
        most: maximum number of bytes.

    Raises:
        CorruptModel: if it is missing, empty, a Git LFS pointer, or not a file.
        NotCheckable: if it is too large.
    """
    source = source or str(path)
    try:
        size_bytes = path.stat().st_size
        if not path.is_file():  # a pipe would block
            raise CorruptModel(f"{source}: not a file.")
        if size_bytes > most:
            raise NotCheckable(f"{source}: has {size_bytes:,} bytes; the limit is {most:,}.")
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise CorruptModel(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not content:
        raise CorruptModel(f"{source}: the file is empty.")
    refuse_pointer(content, source)
    return content


def parse_model(content: bytes, source: str) -> tuple[Any, str | None]:
    """Parse a file's content; return the `Model` message, and the name of a field unknown to this version, if any.

    Raises:
        CorruptModel: if there is no message.
        NotCheckable: if it has too many fields.
    """
    from google.protobuf.message import DecodeError

    model = schema.model_class()()
    unknown = first_unknown(content, model.DESCRIPTOR, source)
    try:
        model.ParseFromString(content)
    except (DecodeError, RecursionError) as error:
        raise CorruptModel(f"{source}: truncated or damaged, or not a Core ML file.") from error
    if model.WhichOneof("Type") is None:
        raise CorruptModel(f"{source}: not a Core ML file: no model inside.")
    return model, unknown


def metadata(description: Any) -> Metadata:
    """Return the metadata in a `ModelDescription` message."""
    stored = description.metadata
    return Metadata(
        author=stored.author,
        license=stored.license,
        description=stored.shortDescription,
        version=stored.versionString,
        user_defined=frozen_mapping(stored.userDefined),
        input_descriptions=frozen_mapping({feature.name: feature.shortDescription for feature in description.input}),
        output_descriptions=frozen_mapping({feature.name: feature.shortDescription for feature in description.output}),
    )


def image_input(description: Any, source: str) -> ImageInput:
    """Return the only image that a `ModelDescription` takes, with scale 1 and bias 0.

    Raises:
        CorruptModel: if it has no pixels.
        NotCheckable: if there are other inputs, or it is not an image.
    """
    features = list(description.input)
    if len(features) != 1:
        raise NotCheckable(f"{source}: has {len(features)} inputs; one image can be executed here.")
    feature = features[0]
    kind = feature.type.WhichOneof("Type")
    if kind == "multiArrayType" and description.metadata.userDefined.get(PIXELS_KEY) == PIXELS:
        return _array_input(feature, source)
    if kind != "imageType":
        raise NotCheckable(
            f"{source}: its input {feature.name!r} is of the type {kind}, not an image. "
            "Many such files are executed by python -m conversion.runtime."
        )
    image = feature.type.imageType
    if image.WhichOneof("SizeFlexibility"):
        raise NotCheckable(f"{source}: its input {feature.name!r} has no fixed size.")
    colors = image.DESCRIPTOR.fields_by_name["colorSpace"].enum_type.values_by_number
    color = colors[image.colorSpace].name if image.colorSpace in colors else str(image.colorSpace)
    if color not in ("GRAYSCALE", "RGB", "BGR"):
        raise NotCheckable(f"{source}: its input {feature.name!r} has the colour space {color}.")
    channels = 1 if color == "GRAYSCALE" else 3
    if min(image.height, image.width) < 1:
        raise CorruptModel(f"{source}: its input {feature.name!r} is {image.height} x {image.width} pixels.")
    if image.height * image.width * channels > MAX_BLOB_ELEMENTS:
        raise NotCheckable(f"{source}: its input of {image.height} x {image.width} pixels is too large.")
    return ImageInput(feature.name, image.height, image.width, color, 1.0, (0.0,) * channels)


def _array_input(feature: Any, source: str) -> ImageInput:
    """Return an image stored as an array, if the metadata describe it as PIXELS."""
    shape = tuple(feature.type.multiArrayType.shape)
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        raise CorruptModel(f"{source}: its input {feature.name!r} has the shape {shape}, not {PIXELS}.")
    if math.prod(shape) > MAX_BLOB_ELEMENTS:
        raise NotCheckable(f"{source}: its input {feature.name!r} has the shape {shape}, which is too large.")
    return ImageInput(feature.name, shape[1], shape[2], ARRAY, 1.0, (0.0,) * shape[3])


def received(images: Images, wanted: ImageInput) -> Array:
    """Convert uint8 (n, height, width, channels) to float32 (n, *blob_shape), channels last in memory, unscaled."""
    if wanted.is_array:
        return images.astype(np.float32, order="C")[:, None]
    return planar(images, wanted.color)[:, None]


def planar(images: Images, color: str) -> Array:
    """Convert uint8 (n, height, width, channels) to float32 (n, channels, height, width), channels last in memory."""
    pixels = images[..., ::-1] if color == "BGR" else images
    return pixels.astype(np.float32, order="C").transpose(0, 3, 1, 2)


def check_labels(labels: tuple[str, ...] | tuple[int, ...], answer: Array, source: str) -> None:
    """Check that there is one probability per label; labels may repeat, like "crane" in ImageNet.

    Raises:
        CorruptModel: if not.
    """
    count = math.prod(answer.shape[1:])
    if count != len(labels):
        raise CorruptModel(f"{source}: it computes {count} probabilities for {len(labels)} labels.")


def check_outputs(description: Any, interface: Interface, source: str) -> None:
    """Check that the declared outputs are a dictionary of the labels' probabilities, and one label.

    Raises:
        CorruptModel: if not.
    """
    described = {feature.name: feature.type.WhichOneof("Type") for feature in description.output}
    if described.get(interface.probabilities_name) != "dictionaryType":
        raise CorruptModel(f"{source}: announces no dictionary of probabilities {interface.probabilities_name!r}.")
    label_type = "stringType" if isinstance(interface.labels[0], str) else "int64Type"
    if described.get(interface.label_name) != label_type:
        raise CorruptModel(f"{source}: announces no label {interface.label_name!r} of the type {label_type}.")
