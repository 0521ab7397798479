"""The data a run was trained on, as MLflow shows it: the run's dataset input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from experiments.datasets import Dataset

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

DIGEST_LENGTH = 36  # characters that MLflow keeps; the tag `dataset_digest` holds all


def dataset_input(dataset: Dataset, source: str, *, context: str = "training") -> DatasetInput:
    """An MLflow dataset with what identifies the data.

    Args:
        dataset: the data; its name and digest are MLflow's.
        source: what `datasets.load` loads it from.
        context: what the run does with it, in MLflow's words: training or testing.
    """
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    profile = {
        "train_images": len(dataset.train),
        "val_images": len(dataset.val),
        "test_images": len(dataset.test),
        "image_shape": dataset.input_shape,
        "class_names": dataset.class_names,
    }
    entity = Entity(
        name=dataset.name,
        digest=dataset.digest[:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": source}),
        profile=json.dumps(profile),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", context)])
