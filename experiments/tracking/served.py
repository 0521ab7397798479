"""What the script of an MLflow model made "from code" needs of MLflow: nothing is pickled, loading runs the script."""

# No `from __future__ import annotations`: MLflow reads the type of `predict`'s input, and warns where it finds none.

from collections.abc import Callable
from pathlib import Path
from typing import Any

from architectures.errors import UsageError

Predict = Callable[[Any], Any]  # from an input as it came, which it checks, to an output as the signature says

ARTIFACT = "coreml"  # MLflow's name of the file that the script is given


def serve(load: Callable[[Path], Predict]) -> None:
    """Make this script's model one that reads its file with `load` and answers with the function that this returns."""
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
