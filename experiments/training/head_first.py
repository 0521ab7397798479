"""Train the new head of a pretrained backbone before the backbone is fine-tuned.

Until the head has learned, its random weights would distort the features of the layers below (Kumar et al. 2022,
arXiv:2202.10054). Features that do not change are computed once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from architectures.registry import Architecture
from experiments.config import LEARNING_RATES, RunConfig
from experiments.datasets import Dataset, Split
from experiments.training import features
from experiments.training.epoch_graph import epoch_function

if TYPE_CHECKING:
    import keras

EPOCHS = 30  # some seconds on cached features


def learn_head(
    classifier: keras.Model,
    architecture: Architecture,
    config: RunConfig,
    dataset: Dataset,
    answers: np.ndarray | None = None,
) -> None:
    """Train the head of a classifier with Adam, on training images without augmentation.

    Args:
        classifier: its backbone has its pretrained weights; those of its head are changed.
        config: of the training afterwards.
        answers: a teacher's probabilities (N, num_classes), if there is one.
    """
    parts = features.apart(classifier, architecture)
    if parts is None:  # a plugin's architecture that does not mark the end of its backbone
        return
    of_head = replace(
        config,
        epochs=EPOCHS,
        optimizer=RunConfig.optimizer,  # other optimizers' rates are for the training afterwards
        learning_rate=LEARNING_RATES["cosine"],
        schedule="cosine",
        augment="off",
        mixup=0.0,
        cutmix=0.0,
    )
    train = Split(features.of_split(parts, dataset.train), dataset.train.labels)
    run_epoch = epoch_function(parts.head, of_head, train, answers=answers)
    shuffle = np.random.default_rng([config.seed, 1])  # another order than in the epochs afterwards
    for epoch in range(1, EPOCHS + 1):
        run_epoch(shuffle.permutation(len(train)), epoch)
