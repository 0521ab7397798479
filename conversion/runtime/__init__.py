"""Run saved Core ML files in NumPy on any system, so that results are measured on the file itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from conversion.runtime.interface import (
    CorruptModel,
    Executable,
    ImageInput,
    Interface,
    Metadata,
    NotCheckable,
    NotCoreML,
    Prediction,
)

if TYPE_CHECKING:
    from conversion.runtime.model import Model


def load(path: str | os.PathLike[str]) -> Executable:
    """Load a saved Core ML image classifier. Only the file or package is read.

    This checks everything by running one blank image: a file that loads can be executed.

    Args:
        path: an `.mlmodel` file with a neuralnetwork, an `.mlpackage` folder with an ML Program, or a `.zip` of either.

    Returns:
        The file, ready to `predict`. It computes in float32, whatever the precision of the stored weights.

    Raises:
        CorruptModel: if the file is missing, damaged, or contradicts itself.
        NotCoreML: a CorruptModel that says which other kind of file it is.
        NotCheckable: if the file has anything that this executor does not support.

    >>> load("missing.mlmodel")
    Traceback (most recent call last):
    conversion.runtime.interface.CorruptModel: missing.mlmodel...

    docs/api.md shows predictions.
    """
    path = Path(path)
    from conversion.runtime import loading  # NumPy, SciPy and protobuf: importing this package should be cheap

    return loading.load(path)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Load a Core ML file of any supported kind, with named features as inputs and outputs.

    Args:
        path: an `.mlmodel` file, an `.mlpackage` folder, or a `.zip` of either.

    Raises:
        CorruptModel: if the file is missing, damaged, or contradicts itself.
        NotCoreML: a CorruptModel that says which other kind of file it is.
        NotCheckable: if the file has anything that this executor does not support, or that only Apple's systems have.
    """
    path = Path(path)
    from conversion.runtime import model

    return model.load_model(path)


__all__ = [
    "CorruptModel",
    "Executable",
    "ImageInput",
    "Interface",
    "Metadata",
    "NotCheckable",
    "NotCoreML",
    "Prediction",
    "load",
    "load_model",
]
