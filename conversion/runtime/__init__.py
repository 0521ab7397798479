"""Execution of saved Core ML files in NumPy, on any system: what a file answers is measured on the file itself."""

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
    """Load a saved Core ML classifier for images, reading nothing but the file or the package.

    Everything is checked here, one blank image included: a file that loads can be executed.

    Args:
        path: an `.mlmodel` file that holds a neuralnetwork, an `.mlpackage` folder that holds an ML Program, or a
            `.zip` of either.

    Returns:
        The file, ready to answer `predict`. It computes in float32, whatever the precision of the stored weights.

    Raises:
        CorruptModel: if the file is missing, damaged, or contradicts itself.
        NotCoreML: if it is a file of another kind, a CorruptModel that says which.
        NotCheckable: if it holds anything that this executor does not know.

    >>> load("missing.mlmodel")
    Traceback (most recent call last):
    conversion.runtime.interface.CorruptModel: missing.mlmodel...

    What it answers is shown in docs/api.md.
    """
    path = Path(path)
    from conversion.runtime import loading  # NumPy, SciPy and protobuf, which a mere import should not cost

    return loading.load(path)


def load_model(path: str | os.PathLike[str]) -> Model:
    """Load a Core ML file of any kind that can be executed: features by name go in and come out.

    Args:
        path: an `.mlmodel` file, an `.mlpackage` folder, or a `.zip` of either.

    Raises:
        CorruptModel: if the file is missing, damaged, or contradicts itself.
        NotCoreML: if it is a file of another kind, a CorruptModel that says which.
        NotCheckable: if it holds anything that this executor does not know, or only Apple's systems have.
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
