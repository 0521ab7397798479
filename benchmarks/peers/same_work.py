"""The work that this project and its peers are timed at: the same networks, digits, epochs and optimizer.

The trials are those that a default sweep starts with, each family as published, but at batch size 128.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from experiments.datasets import Dataset

TRIALS = [
    {"architecture": "allconv", "filters": 16, "dropout": 0.1, "batch_size": 128},
    {"architecture": "chollet", "filters": 32, "dropout": 0.25, "batch_size": 128},
    {"architecture": "convmixer", "filters": 32, "dropout": 0.1, "batch_size": 128},
    {"architecture": "malireddi", "filters": 32, "dropout": 0.2, "batch_size": 128},
    {"architecture": "mobilenet", "filters": 16, "dropout": 0.1, "batch_size": 128},
    {"architecture": "mobilenet_v3", "filters": 8, "dropout": 0.1, "batch_size": 128},
    {"architecture": "pocket", "filters": 8, "dropout": 0.1, "batch_size": 128},
    {"architecture": "resnet", "filters": 8, "dropout": 0.1, "batch_size": 128},
]
PEAK_RATE = 3e-3  # of Adam, from where a cosine falls to 0: the default of search.sweep
USUAL_RATE = 1e-3  # of Keras' "adam"


def options(description: str | None) -> argparse.Namespace:
    """The command line of a peer."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--usual", action="store_true", help="Adam at Keras' rate, not at search.sweep's")
    parser.add_argument("--augment", action="store_true", help="as search.sweep does with drawings")
    parser.add_argument("--drawn", type=int, default=0, help="further trials that the search draws")
    parser.add_argument("--enqueue", type=Path, help="JSON list of configurations, as for search.sweep (default: all)")
    return parser.parse_args()


def configurations(file: Path | None) -> list[dict]:
    return json.loads(file.read_text(encoding="utf-8")) if file else TRIALS


def compiled(
    data: Dataset, *, epochs: int, usual: bool, architecture: str, filters: int, dropout: float, batch_size: int
) -> keras.Model:
    """A registered network as a Keras user would train it: float32, Adam at its usual rate or with a cosine."""
    import keras

    from architectures import registry
    from experiments.classifier import as_classifier

    network = registry.get(architecture).build(data.input_shape, data.num_classes, filters=filters, dropout=dropout)
    model = as_classifier(network)
    steps = epochs * -(-len(data.train) // batch_size)
    rate = USUAL_RATE if usual else keras.optimizers.schedules.CosineDecay(PEAK_RATE, decay_steps=steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def augmented_batches(data: Dataset, batch_size: int) -> tf.data.Dataset:
    """Shuffled batches of augmented training images."""
    import tensorflow as tf

    from experiments.training.augmentation import augmented

    def augment(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        seed = tf.random.uniform((2,), maxval=2**31, dtype=tf.int64)
        return augmented(tf.cast(images, tf.float32), seed=seed), labels

    images = tf.data.Dataset.from_tensor_slices((data.train.images, data.train.labels))
    batches = images.shuffle(len(data.train)).batch(batch_size)
    return batches.map(augment, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
