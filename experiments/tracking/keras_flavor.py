"""Write the folder that MLflow's Keras flavor would write, from the `.keras` file alone."""

from __future__ import annotations

from pathlib import Path

from experiments.config import RunResult
from experiments.tracking.source import PYTHON_ENV, write_environment

MODEL_FILE = "data/model.keras"  # where MLflow's own Keras flavor looks for it
PROBABILITIES_FILE = "val_probabilities.npy"  # next to it: the model's predictions on the validation images


def write_keras_flavor(folder: Path, result: RunResult, model_id: str, run_id: str) -> None:
    """Write the folder of MLflow's Keras flavor, from the `.keras` file alone, with the predictions next to it."""
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    data = folder / MODEL_FILE
    data.parent.mkdir()
    data.write_bytes(result.keras_file.read_bytes())
    (data.parent / "keras_module.txt").write_text("keras", encoding="utf-8")
    np.save(folder / PROBABILITIES_FILE, result.val_probabilities)
    found = write_environment(folder, ("tensorflow", "keras", "numpy"))
    model = Model(model_uuid=model_id, run_id=run_id, model_id=model_id)
    model.signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *result.input_shape))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, result.num_classes))]),
    )
    model.add_flavor(
        "keras", data="data", keras_version=found["keras"], keras_backend="tensorflow", save_exported_model=False
    )
    pyfunc.add_to_model(model, loader_module="mlflow.keras", python_env=PYTHON_ENV)
    model.model_size_bytes = result.keras_bytes
    model.save(str(folder / "MLmodel"))
