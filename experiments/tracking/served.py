"""MLflow's side of a model made "from code": nothing is pickled, and loading the model runs its script.

Scripts in MLflow stores import `Predict` and `serve` from here: the names stay.
"""

# No `from __future__ import annotations`: MLflow reads the type of `predict`'s input, and warns if there is none.

from collections.abc import Callable
from pathlib import Path
from typing import Any

from architectures.errors import UsageError

Predict = Callable[[Any], Any]  # from an unchecked input, which it checks, to an output of the signature's type

ARTIFACT = "coreml"  # MLflow's name for the file that the script gets


def serve(load: Callable[[Path], Predict]) -> None:
    """Set this script's model: it calls `load` on its file, and predicts with the function that this returns."""
    import numpy as np
    from mlflow.exceptions import MlflowException
    from mlflow.models import set_model
    from mlflow.pyfunc import PythonModel

    class Served(PythonModel):
        def load_context(self, context: Any) -> None:
            self.answer = load(Path(context.artifacts[ARTIFACT]))

        def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> Any:
            try:
                return self.answer(model_input)
            except UsageError as error:  # a server answers 400
                raise MlflowException.invalid_parameter_value(str(error)) from None

    set_model(Served())
