"""Image files as a Core ML file wants them: read as the data sets read them, fitted as the file's metadata say."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np

from architectures.errors import UsageError
from conversion.runtime.interface import ImageInput, Images, Interface, Metadata
from experiments.cores import cores
from experiments.datasets import pixels
from experiments.datasets.pixels import Form
from experiments.datasets.source import DEFAULTS, FITS, Fit, background


def form_of(interface: Interface, *, fit: str | None = None, color: str | None = None) -> Form:
    """What an image becomes before the file gets it.

    Args:
        fit: one of FITS; by default what the metadata say, else `crop`.
        color: the background; by default what the metadata say, else white.
    """
    image = interface.input
    return _form((image.height, image.width, image.channels), interface.metadata, fit=fit, color=color)


def check_pictures(image: ImageInput) -> None:
    """Raise UsageError where pictures cannot be what a Core ML file takes."""
    if image.is_array:
        raise UsageError(f"The file takes {image.text}, which no picture is: give it a data set of such, npz:FILE.")


def _form(shape: tuple[int, ...], metadata: Metadata, *, fit: str | None = None, color: str | None = None) -> Form:
    height, width, channels = shape
    told = metadata.user_defined
    fit = fit or (told["fit"] if told.get("fit") in FITS else DEFAULTS.fit)
    if color is None:
        try:
            color = background(told.get("background", ""))
        except UsageError:  # of somebody else's file, or "none"
            color = str(DEFAULTS.background)
    return Form((height, width), "L" if channels == 1 else "RGB", cast(Fit, fit), color)


def read_one(file: Path, shape: tuple[int, ...], metadata: Metadata) -> Images:
    """The pixels of an image file as uint8 of a shape (height, width, channels); raises as `read` does."""
    return np.array(pixels.read(file, _form(shape, metadata)), np.uint8).reshape(shape)


def read(files: Sequence[str | Path], interface: Interface) -> Images:
    """The pixels of image files as uint8 (N, height, width, channels), read by all cores.

    Raises:
        UsageError: if the Core ML file takes no pictures.
        ProjectError: for a file that is no image, or damaged.
    """
    check_pictures(interface.input)
    form, image = form_of(interface), interface.input
    shape = (len(files), image.height, image.width, image.channels)
    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(lambda file: pixels.read(Path(file), form), files))
    return np.array(found, np.uint8).reshape(shape)
