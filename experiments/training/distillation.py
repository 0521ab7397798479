"""Distillation: a teacher's softened probabilities of the training images, computed once, are part of the loss.

Hinton and others, 2015. Keras' own `keras.distillation.Distiller` runs the teacher in every step of a `Model.fit` and
takes logits, which the networks here do not give: their last layer is a softmax. For an augmented image, the teacher's
probabilities are those of the original image; MixUp and CutMix mix them as they mix labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from architectures.errors import ProjectError, UsageError
from architectures.knobs import PIN
from experiments.classifier import forward_function, load_classifier, predict
from experiments.config import RunConfig
from experiments.datasets import Dataset, cache
from experiments.recipe import RECIPE_OPTIONS, TEACHER
from experiments.training.array_cache import cached_array, surroundings
from experiments.training.registered import taken_by

if TYPE_CHECKING:
    import tensorflow as tf

    Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

VERSION = 1  # of the teacher's probabilities
DIGEST = re.compile(r"[0-9a-f]{64}")
SMALLEST_PROBABILITY = 1e-7  # keras.config.epsilon(): keeps the logarithm finite


def resolved(teacher: str, asked: Mapping[str, Any]) -> dict[str, float]:
    """Return the defaults for values that were not given (None); 0 without a teacher.

    Raises:
        UsageError: for a value that was given without a teacher.

    >>> resolved("chollet", {"temperature": None, "distillation_weight": 0.9})
    {'temperature': 3.0}
    """
    for name, value in asked.items():
        if value is not None and not teacher:
            raise UsageError(f"--{name.replace('_', '-')} needs a --teacher.")
    return {name: RECIPE_OPTIONS[name].usual if teacher else 0.0 for name, value in asked.items() if value is None}


def file_of(teacher: str) -> Path:
    """Return the cached model file of a teacher, recorded as ID#sha256=DIGEST.

    Raises:
        UsageError: for a teacher without a digest.
    """
    _, _, digest = teacher.partition(PIN)
    if not DIGEST.fullmatch(digest):
        raise UsageError(f"The teacher {teacher!r} has no digest: a run's is recorded as ID{PIN}DIGEST.")
    return cache.root() / "teachers" / f"{digest}.keras"


def answers(config: RunConfig, dataset: Dataset) -> np.ndarray | None:
    """Return the teacher's softened probabilities (N, num_classes) of the training images; None without a teacher.

    Raises:
        UsageError: for a teacher of other images or classes, or an incomplete recipe of distillation.
        ProjectError: if its file is not in the cache, or does not have the recorded digest.
    """
    values = {name: getattr(config, name) for name in taken_by(TEACHER)}
    if not config.teacher:
        resolved("", {name: value or None for name, value in values.items()})
        return None
    for name, value in values.items():
        if not value:
            raise UsageError(f"{name} is 0: it has to be larger with a teacher.")
    file, split = file_of(config.teacher), dataset.train

    def answered() -> np.ndarray:
        if not file.is_file():
            raise ProjectError(
                f"{file} is not on this host: it holds the teacher's model. Hosts that train together must share a "
                f"cache: set XDG_CACHE_HOME to a shared folder."
            )
        teacher = load_classifier(file, file.stem)
        if (teacher.input_shape[1:], teacher.output_shape[1:]) != (dataset.input_shape, (dataset.num_classes,)):
            takes, gives = "x".join(map(str, teacher.input_shape[1:])), teacher.output_shape[-1]
            raise UsageError(
                f"The teacher {config.teacher.partition(PIN)[0]} knows {gives} classes of {takes} images; "
                f"{dataset.name} has {dataset.num_classes} of {'x'.join(map(str, dataset.input_shape))}."
            )
        return predict(forward_function(teacher), split.images)

    decisive = repr([VERSION, file.stem, split.images_digest, *surroundings()])
    return softened(cached_array("answers", decisive, (len(split), dataset.num_classes), answered), config.temperature)


def softened(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities that result if the logits are divided by a temperature.

    >>> softened(np.array([[0.8, 0.2]], np.float32), 2).round(3)
    array([[0.667, 0.333]], dtype=float32)
    """
    powers = np.maximum(probabilities, SMALLEST_PROBABILITY).astype(np.float64) ** (1 / temperature)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def taught(of_label: Loss, config: RunConfig) -> Loss:
    """Return a loss for each image (N,), given label shares joined with the teacher's softened ones (N, 2 num_classes).

    The distance from the teacher is multiplied by the square of the temperature, because its gradients shrink by that.
    """
    import tensorflow as tf

    weight, temperature = config.distillation_weight, config.temperature

    def of_each(target: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        shares, wanted = tf.split(target, 2, axis=1)
        logits = tf.math.log(tf.maximum(probabilities, SMALLEST_PROBABILITY)) / temperature
        distance = tf.nn.softmax_cross_entropy_with_logits(wanted, logits)
        return (1 - weight) * of_label(shares, probabilities) + weight * temperature**2 * distance

    return of_each
