"""Read image files for a Core ML file: like data sets do, and fitted as the file's metadata say."""

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
    """Return how images are prepared for the file.

    Args:
        fit: one of FITS; by default the metadata's, else `crop`.
        color: the background; by default the metadata's, else white.
    """
    image = interface.input
    return _form((image.height, image.width, image.channels), interface.metadata, fit=fit, color=color)


def check_pictures(image: ImageInput) -> None:
    """Raise UsageError if a Core ML file does not take pictures."""
    if image.is_array:
        raise UsageError(f"The file takes {image.text}, not pictures: give it a data set of such arrays, npz:FILE.")


def _form(shape: tuple[int, ...], metadata: Metadata, *, fit: str | None = None, color: str | None = None) -> Form:
    height, width, channels = shape
    told = metadata.user_defined
    fit = fit or (told["fit"] if told.get("fit") in FITS else DEFAULTS.fit)
    if color is None:
        try:
            color = background(told.get("background", ""))
        except UsageError:  # of a file from elsewhere, or "none"
            color = str(DEFAULTS.background)
    return Form((height, width), "L" if channels == 1 else "RGB", cast(Fit, fit), color)


def read_one(file: Path, shape: tuple[int, ...], metadata: Metadata) -> Images:
    """Return the pixels of an image file as uint8 with a shape (height, width, channels); raises as `read` does."""
    return np.array(pixels.read(file, _form(shape, metadata)), np.uint8).reshape(shape)


def read(files: Sequence[str | Path], interface: Interface) -> Images:
    """Read image files as uint8 (N, height, width, channels), on all cores.

    Raises:
        UsageError: if the Core ML file does not take pictures.
        ProjectError: for a file that is not an image, or damaged.
    """
    check_pictures(interface.input)
    form, image = form_of(interface), interface.input
    shape = (len(files), image.height, image.width, image.channels)
    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(lambda file: pixels.read(Path(file), form), files))
    return np.array(found, np.uint8).reshape(shape)
