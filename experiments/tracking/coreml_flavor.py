"""Write the folder of an MLflow model that runs a Core ML file, as `mlflow.pyfunc.save_model` would.

That function would run the script, warn, and record this machine's paths.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from experiments.tracking.served import ARTIFACT
from experiments.tracking.source import PYTHON_ENV, write_environment


@dataclass(frozen=True)
class ServedFile:
    """A Core ML file with what its MLflow model states about it."""

    file: Path
    size_bytes: int
    script: Path  # calls `experiments.tracking.served.serve`
    packages: tuple[str, ...]  # that the script needs; their installed versions are recorded
    input_shape: tuple[int, int, int]  # height, width, channels
    columns: tuple[str, ...]  # of the answer: the most probable label, then the probability of each


def write_coreml_flavor(folder: Path, served: ServedFile, *, model_id: str, run_id: str) -> None:
    """Write the model into an existing folder; the Core ML file keeps its own name."""
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    target = folder / served.file.name
    if served.file.is_dir():
        shutil.copytree(served.file, target)
    else:
        shutil.copyfile(served.file, target)
    shutil.copyfile(served.script, folder / served.script.name)
    write_environment(folder, served.packages)
    model = Model(model_uuid=model_id, run_id=run_id, model_id=model_id)
    label, *classes = served.columns
    model.signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, *served.input_shape))]),
        outputs=Schema([ColSpec("string", label), *(ColSpec("float", name) for name in classes)]),
    )
    # The script checks the input: with a signature, MLflow would truncate 0.5 to 0 first.
    model.signature._is_signature_from_type_hint = True
    pyfunc.add_to_model(
        model,
        loader_module="mlflow.pyfunc.loaders.code_model",
        python_env=PYTHON_ENV,
        model_code_path=served.script.name,
        artifacts={ARTIFACT: {"path": target.name, "uri": target.name}},
    )
    model.model_size_bytes = served.size_bytes
    model.save(str(folder / "MLmodel"))
