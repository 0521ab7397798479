"""The script of a promoted file's MLflow model, which executes the file; a copy lies beside each file.

It needs this project installed: `mlflow.pyfunc.load_model("models:/NAME-coreml@champion").predict(images)`, or
`mlflow models serve --model-uri models:/NAME-coreml@champion --env-manager local`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conversion import runtime
from experiments.tracking.served import Predict, serve

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


def load(path: Path) -> Predict:
    """A function from uint8 images (N, height, width, channels) to a table: classLabel, a probability per label."""
    executable = runtime.load(path)
    names = executable.interface.shown_labels

    def predict(images: npt.NDArray[np.uint8]) -> pd.DataFrame:
        import pandas as pd

        answer = executable.predict(images)
        table = pd.DataFrame(answer.probabilities, columns=list(names))
        table.insert(0, executable.interface.label_name, [names[index] for index in answer.indices])
        return table

    return predict


serve(load)
