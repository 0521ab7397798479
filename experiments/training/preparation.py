"""Build the networks and graphs of a training, which are used again when a paused training resumes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from architectures import registry
from architectures.errors import ProjectError, UsageError
from architectures.fields import validate
from experiments.classifier import build_classifier, forward_function
from experiments.config import ModelSize, RunConfig
from experiments.datasets import Dataset, Split
from experiments.training import distillation, features, losses, optimizers
from experiments.training.averages import Averages
from experiments.training.epoch_graph import built_optimizer, epoch_function

if TYPE_CHECKING:
    import keras


class TrainingStopped(ProjectError):
    """The caller ended a run, as pruning does."""


@dataclass
class Prepared:
    """What a training computes with. Its weights are the initial ones until it has begun."""

    config: RunConfig
    dataset: Dataset
    size: ModelSize
    kept: keras.Model  # the classifier that is written in the end
    forward: Callable[[np.ndarray], np.ndarray]  # of it
    learning: keras.Model  # what is validated, in float32: the classifier, or the head of a frozen backbone
    validated: Callable[[np.ndarray], np.ndarray]  # forward function of it
    trained: keras.Model  # what learns, in the configuration's precision
    variables: list[keras.Variable]  # that an epoch reads and writes
    run_epoch: Callable[[np.ndarray, int], tuple[SupportsFloat, SupportsFloat]]
    averages: Averages
    val: Split  # with a frozen backbone, features in place of images
    answers: np.ndarray | None  # of a teacher (N, num_classes)
    shared: bool  # whether it has layers of a frozen backbone's classifier, which the next training changes
    begun: bool = False

    def renew(self) -> None:
        """Build and trace all of it again, with the initial weights."""
        vars(self).update(vars(prepare(self.config, self.dataset, size=self.size)))


def prepare(
    config: RunConfig,
    dataset: Dataset,
    *,
    size: ModelSize | Callable[[keras.Model], ModelSize],
    on_built: Callable[[ModelSize], bool] = lambda _: True,
) -> Prepared:
    """Build and trace what a configuration trains with on a data set.

    Arguments and errors are those of `experiments.training.loop.train`.
    """
    import keras

    from experiments.training.kernels import with_fast_kernels

    validate(config)  # one from an older record was not judged
    if config.batch_size > len(dataset.train):
        raise UsageError(f"batch_size {config.batch_size} exceeds the {len(dataset.train)} training images.")
    architecture = registry.get(config.architecture)
    optimizers.get(config.optimizer).check(config)
    losses.get(config.loss).check(config)
    keras.backend.clear_session()
    _make_deterministic()

    def build(precision: str) -> keras.Model:
        return build_classifier(architecture, config, dataset.input_shape, dataset.num_classes, precision)

    model_size = size if isinstance(size, ModelSize) else size(build("float32"))
    if not on_built(model_size):
        raise TrainingStopped("Ended before the first epoch.")

    answers = distillation.answers(config, dataset)  # before the seed is set
    train_split, val_split = dataset.train, dataset.val
    built = features.taken_apart(config, architecture, dataset, lambda: build("float32"))
    frozen = _frozen(built, config)
    kept = built.classifier if isinstance(built, features.Frozen) else built
    forward = frozen.forward if frozen else forward_function(kept)
    if frozen:  # in float32, whatever the precision
        train_split, val_split = _featured(frozen, config, dataset)
        trained = learning = frozen.head
        validated = forward_function(learning, "float32")
    else:
        trained = kept if config.precision == "float32" else build(config.precision)
        learning, validated = kept, forward
    images = len(dataset.train)
    fast = with_fast_kernels(trained)
    optimizer = built_optimizer(fast, config, images // config.batch_size)
    return Prepared(
        config=config,
        dataset=dataset,
        size=model_size,
        kept=kept,
        forward=forward,
        learning=learning,
        validated=validated,
        trained=trained,
        variables=[*fast.variables, *optimizer.variables],
        run_epoch=epoch_function(fast, config, train_split, images, optimizer, answers),
        averages=Averages(learning, train_split, config.batch_size),
        val=val_split,
        answers=answers,
        shared=isinstance(built, features.Frozen),
    )


def _make_deterministic() -> None:
    """Set TensorFlow so that the same record gives the same bits; before the first graph is traced."""
    import tensorflow as tf

    # An AddN of three or more adds in the order in which threads free its inputs. So gradients are added in pairs (but
    # for those inside a plugin's own loops and branches), and this optimisation, which would join the pairs, is off.
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    if tf.config.list_physical_devices("GPU") and "TF_DETERMINISTIC_OPS" not in os.environ:
        tf.config.experimental.enable_op_determinism()  # costs nothing that could be measured (LOG.md)


def _frozen(prepared: features.Frozen | keras.Model, config: RunConfig) -> features.Frozen | None:
    """The classifier taken apart where features can stand for images: where epochs see the same ones, or views of them.

    Raises:
        UsageError: where views were asked for that nothing would see.
    """
    frozen = prepared if isinstance(prepared, features.Frozen) else None
    if config.views and not (frozen and config.augment != "off"):
        raise UsageError(
            f"views {config.views} caches the features of augmented images: it needs augmentation and "
            f"the knob train=head."
        )
    return frozen if config.views or config.augment == "off" else None


def _featured(frozen: features.Frozen, config: RunConfig, dataset: Dataset) -> tuple[Split, Split]:
    """Training and validation data with features for images; of the former one view after another."""
    train, val = dataset.train, dataset.val
    if config.views:
        how: Any = {"augment": config.augment, "seed": config.seed}
        views = [features.of_split(frozen, train, **how, view=view) for view in range(config.views)]
        train = Split(np.concatenate(views), np.tile(train.labels, config.views))
    else:
        train = Split(features.of_split(frozen, train), train.labels)
    return train, Split(features.of_split(frozen, val), val.labels)
