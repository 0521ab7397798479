"""`npz:FILE`: NumPy arrays `x_train y_train [x_val y_val] x_test y_test` in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from architectures.errors import ProjectError, UsageError
from experiments.datasets.parts import StoredSplit
from experiments.datasets.registry import Dataset, register_source
from experiments.datasets.source import Source
from experiments.datasets.splits import numbered

if TYPE_CHECKING:
    import numpy as np


PARTS = ("train", "val", "test")
NAMES = tuple(f"{kind}_{part}" for part in PARTS for kind in "xy")  # of the arrays that are read
FEW_ROWS = 4  # with at most this many rows, and fewer than columns and channels, channels probably come first


@register_source("npz", takes="FILE")
def npz(source: Source) -> Dataset:
    """Load images of whole numbers 0 to 255 (N, height, width[, channels]) and labels (N,).

    Without `x_val` and `y_val`, a twelfth of train becomes val.

    Raises:
        UsageError: for a missing file.
        ProjectError: if the file is damaged, lacks an array, or its data cannot train a classifier.
    """
    import numpy as np

    if not source.path.is_file():
        raise UsageError(f"There is no file {source.path}.")
    try:
        opened = np.load(source.path, allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array")
        with opened as file:
            members = file.zip.namelist() if file.zip else []
            held = [name.removesuffix(".npy") for name in members if name.endswith(".npy")]
            arrays = {key: file[f"{key}.npy"] for key in NAMES if key in held}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("a member is no array")
    except Exception as error:  # NumPy and zipfile raise all kinds of errors
        raise ProjectError(f"{source.path} is damaged or not an .npz file of plain arrays: {error}.") from error
    given = [part for part in PARTS if part != "val" or {"x_val", "y_val"} & arrays.keys()]
    if missing := [f"{kind}_{part}" for part in given for kind in "xy" if f"{kind}_{part}" not in arrays]:
        raise ProjectError(
            f"{source.path} lacks {', '.join(missing)}. It holds {', '.join(held) or 'no array'}; expected are "
            f"x_train, y_train, x_test, y_test, and optionally x_val, y_val."
        )
    parts = {}
    for part in given:
        x = _images(f"{source.path}: x_{part}", arrays[f"x_{part}"])
        y = _labels(f"{source.path}: y_{part}", arrays[f"y_{part}"])
        if len(x) != len(y):
            raise ProjectError(f"{source.path}: x_{part} holds {len(x)} images and y_{part} {len(y)} labels.")
        parts[part] = StoredSplit(x, y)
    return numbered(source.title, parts)


def _images(what: str, array: np.ndarray) -> np.ndarray:
    if array.ndim not in (3, 4) or 0 in array.shape[1:]:
        raise ProjectError(f"{what} has shape {array.shape}; images are (N, height, width[, channels]).")
    if (
        array.ndim == 4
        and array.shape[1] < min(array.shape[2:])
        and (array.shape[1] <= FEW_ROWS or array.shape[2] == array.shape[3])
    ):
        raise ProjectError(f"{what} has shape {array.shape}: channels come last, (N, height, width, channels).")
    if array.dtype == "uint8":
        return array
    if array.dtype.kind not in "iu" or (array.size and (array.min() < 0 or array.max() > 255)):
        raise ProjectError(f"{what} holds {array.dtype}; images are whole numbers from 0 to 255, preferably uint8.")
    return array.astype("uint8")


def _labels(what: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "SU":
        raise ProjectError(f"{what} holds text; labels are the numbers of the classes, counted from 0.")
    if array.dtype.kind not in "iu" or (array.ndim != 1 and array.shape[1:] != (1,)):
        raise ProjectError(
            f"{what} holds {array.dtype} of shape {array.shape}; labels are whole numbers (N,), not one-hot."
        )
    if array.size and array.max() > 2**31:
        raise ProjectError(f"{what} holds label {array.max()}, out of range.")
    return array.reshape(-1).astype("int64")
