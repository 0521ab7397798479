"""The data that a run was trained on, as its dataset input in MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from experiments.datasets import Dataset

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput

DIGEST_LENGTH = 36  # characters that MLflow keeps; the tag `dataset_digest` holds all


def dataset_facts(dataset: Dataset, source: str) -> dict[str, str]:
    """Return the facts that identify data in MLflow's dataset input.

    Args:
        dataset: the data; its name and digest are MLflow's.
        source: what `datasets.load` loads it from.
    """
    profile = {
        "train_images": len(dataset.train),
        "val_images": len(dataset.val),
        "test_images": len(dataset.test),
        "image_shape": dataset.input_shape,
        "class_names": dataset.class_names,
    }
    return {
        "name": dataset.name,
        "digest": dataset.digest[:DIGEST_LENGTH],
        "source_type": "local",
        "source": json.dumps({"uri": source}),
        "profile": json.dumps(profile),
    }


def as_dataset_input(facts: Mapping[str, str], *, context: str = "training") -> DatasetInput:
    """Return MLflow's dataset input for the result of `dataset_facts`; `context`: training or testing."""
    from mlflow.entities import Dataset as Entity
    from mlflow.entities import DatasetInput, InputTag

    return DatasetInput(Entity(**facts), [InputTag("mlflow.data.context", context)])


def log_input(client: MlflowClient, run_id: str, data: DatasetInput) -> None:
    """Write a run's input; repeating it changes nothing."""
    try:
        client.log_inputs(run_id, [data])
    except Exception as error:
        if "INTO datasets" not in f"{error} {error.__cause__}":
            raise
        client.log_inputs(run_id, [data])  # another run may have added the same new data at the same moment
