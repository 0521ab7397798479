"""Train the new head of a pretrained backbone before the backbone learns on.

Until the head has learned, its random weights would distort the features of the layers below (Kumar et al. 2022,
arXiv:2202.10054). While they do not change, they are computed once.
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
    """Train what follows a classifier's backbone, by Adam, on training images as they are.

    Args:
        classifier: whose backbone has its pretrained weights; those of its head are changed.
        config: what it is trained with afterwards.
        answers: a teacher's (N, num_classes), if there is one.
    """
    parts = features.apart(classifier, architecture)
    if parts is None:  # an architecture of a plugin that does not say where its backbone ends
        return
    of_head = replace(
        config,
        epochs=EPOCHS,
        optimizer=RunConfig.optimizer,  # the rates of others suit what follows
        learning_rate=LEARNING_RATES["cosine"],
        schedule="cosine",
        augment="off",
        mixup=0.0,
        cutmix=0.0,
    )
    train = Split(features.of_split(parts, dataset.train), dataset.train.labels)
    run_epoch = epoch_function(parts.head, of_head, train, answers=answers)
    shuffle = np.random.default_rng([config.seed, 1])  # not the order of the epochs that follow
    for epoch in range(1, EPOCHS + 1):
        run_epoch(shuffle.permutation(len(train)), epoch)
