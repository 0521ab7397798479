"""The script of a promoted file's MLflow model, which runs the file; each file has a copy next to it.

It needs this project installed: `mlflow.pyfunc.load_model("models:/NAME-coreml@champion").predict(images)`, or
`mlflow models serve --model-uri models:/NAME-coreml@champion --env-manager local`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from architectures.errors import UsageError
from conversion import runtime
from experiments.tracking.served import Predict, serve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


def load(path: Path) -> Predict:
    """Return a function from images (N, height, width, channels) to a table with classLabel and all probabilities."""
    executable = runtime.load(path)
    names = executable.interface.shown_labels

    def predict(given: object) -> pd.DataFrame:
        import pandas as pd

        images = as_images(given)
        if images.ndim != 4:  # each image is a row of the table
            raise UsageError(f"Images must be (N, height, width, channels), not {images.shape}.")
        answer = executable.predict(images)
        table = pd.DataFrame(answer.probabilities, columns=list(names))
        table.insert(0, executable.interface.label_name, [names[index] for index in answer.indices])
        return table

    return predict


def as_images(given: object) -> npt.NDArray[np.uint8]:
    """Convert images from an array or lists, whose pixels are whole numbers from 0 to 255, possibly stored as floats.

    Raises:
        UsageError: for anything else; nothing is rounded, clipped or scaled.

    >>> as_images([[0, 255.0]])
    array([[  0, 255]], dtype=uint8)
    >>> as_images([[0.0, 0.5]])
    Traceback (most recent call last):
    architectures.errors.UsageError: Pixels must be whole numbers from 0 to 255, not 0.5. ...
    """
    import numpy as np

    try:
        array = np.asarray(given if isinstance(given, list | np.ndarray) else None)
    except ValueError:
        raise UsageError("Images must be lists of equal lengths.") from None
    if array.dtype.kind not in "uif":
        raise UsageError(f"Images must be an array or lists of numbers, not {type(given).__name__} of {array.dtype}.")
    wrong = array[(array != np.floor(array)) | (array < 0) | (array > 255)]  # NaN is unequal to itself
    scaled = array.dtype.kind == "f" and 0 < array.max(initial=0) <= 1
    if wrong.size or scaled:
        found = f"{wrong[0]:g}" if wrong.size else "floats from 0 to 1"
        raise UsageError(
            f"Pixels must be whole numbers from 0 to 255, not {found}. Multiply by 255 and round those from 0 to 1."
        )
    return array.astype(np.uint8)


serve(load)
