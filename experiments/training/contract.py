"""The contracts of every registered optimizer and loss, as checks that any package can run on its own.

from experiments.training.contract import check_loss, check_optimizer

def test_mine():
    check_optimizer("mine")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from architectures.contract import hold, require
from experiments.config import CROSS_ENTROPY, PRECISIONS, RunConfig, usual_learning_rate
from experiments.datasets import Split
from experiments.training import losses, optimizers
from experiments.training.epoch_graph import epoch_function
from experiments.training.registered import Registered

if TYPE_CHECKING:
    import keras

CLASSES, SIDE, IMAGES, BATCH = 3, 6, 48, 16  # of the learning problem: dark, gray and light images
EPOCHS = 40  # of three steps, at a run's default constant rate
LEARNED = 0.9  # share of the first epoch's loss that the last one's must be below
SEED = 0
DECAY = 0.5
ROUNDING = 1e-5


def check_optimizer(name: str) -> None:
    """Check that a registered optimizer keeps the contract.

    Raises:
        ContractBroken: an AssertionError that lists every check that failed, with the reason.
        UsageError: for an unknown name.
    """
    checks: tuple[Callable[[Registered], None], ...] = (rate, weight_decay, momentum, state, learning)
    hold(f"Optimizer {name!r}", _named(checks), optimizers.get(name))


def check_loss(name: str) -> None:
    """Check that a registered loss keeps the contract; raise as `check_optimizer` does."""
    checks: tuple[Callable[[Registered], None], ...] = (each_image, certainty, order, label_smoothing, learning)
    hold(f"Loss {name!r}", _named(checks), losses.get(name))


def _named(checks: tuple[Callable[[Registered], None], ...]) -> dict[str, Callable[[Registered], None]]:
    return {check.__name__.replace("_", " "): check for check in checks}


def rate(optimizer: Registered) -> None:
    """Check that its steps have the given rate, a number or a schedule."""
    import keras

    config = _config(optimizer)
    waiting = keras.optimizers.schedules.PiecewiseConstantDecay([1000], [0.0, 1.0])
    require(np.array_equal(_stepped(config, waiting)[0], _start()[0]), "takes steps where its schedule is at 0")
    whole, half = (_stepped(config, rate)[0] for rate in (config.learning_rate, config.learning_rate / 2))
    require(not np.array_equal(whole, _start()[0]), f"takes no step at a rate of {config.learning_rate:g}")
    require(not np.allclose(whole, half, rtol=0, atol=ROUNDING * config.learning_rate), "steps alike at half the rate")


def weight_decay(optimizer: Registered) -> None:
    """Check that weight decay, if it takes one, shrinks only kernels, by the decay times the rate."""
    if "weight_decay" not in dict(optimizer.takes.own):
        return
    config = replace(_config(optimizer), weight_decay=DECAY)
    kernel, bias = _stepped(config, config.learning_rate, gradient=0.0, steps=1)
    left = 1 - DECAY * config.learning_rate
    require(np.allclose(kernel, _start()[0] * left, rtol=ROUNDING), "its weight decay is not AdamW's")
    require(np.array_equal(bias, _start()[1]), "lets weights decay that are excluded from it")


def momentum(optimizer: Registered) -> None:
    """Check that momentum, if it takes one, changes its steps."""
    if "momentum" not in dict(optimizer.takes.own):
        return
    config = _config(optimizer)
    none, some = (_stepped(replace(config, momentum=value), config.learning_rate)[0] for value in (0.0, 0.5))
    require(not np.array_equal(none, some), "takes the same steps whatever its momentum is")


def state(optimizer: Registered) -> None:
    """Check that its next step depends only on its variables."""
    config = _config(optimizer)
    once = _stepped(config, config.learning_rate, steps=4)
    moved = _stepped(config, config.learning_rate, steps=4, handed_on_after=2)
    require(all(map(np.array_equal, once, moved)), "continues differently when resumed from its variables")


def learning(part: Registered) -> None:
    """Check that a small network learns with it in both precisions, with the same bits a second time."""
    for precision in PRECISIONS:
        config = replace(_config(part), precision=precision)
        course, weights = trained(config)
        require(bool(np.isfinite(course).all()), f"the loss is not finite in {precision}")
        require(
            course[-1] < LEARNED * course[0],
            f"the loss went from {course[0]:.4g} to {course[-1]:.4g} in {EPOCHS} epochs of {IMAGES // BATCH} steps in "
            f"{precision}, at a rate of {config.learning_rate:g}",
        )
    again = trained(config)
    require(course == again[0] and all(map(np.array_equal, weights, again[1])), "the same seed gives other weights")


def each_image(loss: Registered) -> None:
    """Check that each image gets its own loss, independent of its batch, also with mixed labels."""
    labels, probabilities = _answers()
    for mixed in (labels, 0.6 * labels + 0.4 * np.roll(labels, 1, axis=1)):
        found = _losses(loss, mixed, probabilities)
        require(found.shape == (len(labels),), f"gives {found.shape} for {len(labels)} images")
        require(bool(np.isfinite(found).all()), "is not finite")
        alone = np.concatenate([_losses(loss, mixed[[i]], probabilities[[i]]) for i in range(len(labels))])
        require(np.allclose(found, alone, atol=ROUNDING), "changes when an image is batched with others")


def certainty(loss: Registered) -> None:
    """Check that the loss and its gradient are finite if a network is certain and wrong."""
    import tensorflow as tf

    labels = np.eye(CLASSES, dtype=np.float32)
    probabilities = tf.constant(np.roll(labels, 1, axis=1))
    with tf.GradientTape() as tape:
        tape.watch(probabilities)
        found = losses.build(_config(loss), CLASSES)(tf.constant(labels), probabilities)
    gradient = tape.gradient(found, probabilities)
    require(gradient is not None, "has no gradient")
    require(bool(np.isfinite(found).all() and np.isfinite(gradient).all()), "is not finite where a network is certain")


def order(loss: Registered) -> None:
    """Check that a correct prediction has a lower loss than a wrong one."""
    labels, right = _answers()
    wrong = np.roll(right, 1, axis=1)
    require(bool((_losses(loss, labels, right) < _losses(loss, labels, wrong)).all()), "a wrong answer costs less")


def label_smoothing(loss: Registered) -> None:
    """Check that label smoothing, if it takes it, changes the loss."""
    if "label_smoothing" not in dict(loss.takes.own):
        return
    none, some = (_losses(loss, *_answers(), label_smoothing=value) for value in (0.0, 0.2))
    require(not np.allclose(none, some, atol=ROUNDING), "is the same whatever its label smoothing is")


def _config(part: Registered) -> RunConfig:
    """Return a run's configuration with an optimizer or a loss, and its own hyperparameters."""
    takes = part.takes
    names = {"optimizer": "adam", "loss": CROSS_ENTROPY, takes.kind: takes.name}
    rate = usual_learning_rate("constant", (), takes.learning_rate_factor)
    return RunConfig(
        architecture="dense",
        dataset="shades",
        filters=None,
        dropout=0.0,
        batch_size=BATCH,
        learning_rate=rate,
        schedule="constant",
        seed=SEED,
        **names,  # type: ignore[arg-type]
        **dict(takes.own),  # type: ignore[arg-type]
    )


def _answers() -> tuple[np.ndarray, np.ndarray]:
    """Return one-hot labels, and different probabilities, of which the label's is the highest."""
    labels = np.eye(CLASSES, dtype=np.float32)
    others = np.linspace(0.2, 0.5, CLASSES, dtype=np.float32)[:, None]
    return labels, (1 - others) * labels + others / CLASSES


def _losses(loss: Registered, labels: np.ndarray, probabilities: np.ndarray, **changes: float) -> np.ndarray:
    import tensorflow as tf

    config = replace(_config(loss), **changes)  # type: ignore[arg-type]
    return losses.build(config, CLASSES)(tf.constant(labels), tf.constant(probabilities)).numpy()


def _start() -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel and a bias to step from."""
    random = np.random.default_rng(SEED)
    return random.normal(size=(4, 3)).astype(np.float32), random.normal(size=3).astype(np.float32)


def _stepped(
    config: RunConfig,
    rate: optimizers.Rate,
    *,
    gradient: float = 1.0,
    steps: int = 3,
    handed_on_after: int | None = None,
) -> list[np.ndarray]:
    """Return kernel and bias after some steps, `handed_on_after` some of them to another optimizer of the same kind."""
    import keras
    import tensorflow as tf

    weights = [keras.Variable(value) for value in _start()]
    random = np.random.default_rng(SEED)

    def built() -> keras.optimizers.Optimizer:
        made = optimizers.build(config, rate)
        made.exclude_from_weight_decay(var_list=weights[1:])
        made.build(weights)
        return made

    optimizer = built()
    for step in range(steps):
        if step == handed_on_after:
            before, optimizer = optimizer, built()
            for variable, other in zip(optimizer.variables, before.variables, strict=True):
                variable.assign(other)
        drawn = [gradient * random.normal(size=weight.shape).astype(np.float32) for weight in weights]
        optimizer.apply([tf.constant(each) for each in drawn], weights)
    return [np.array(weight) for weight in weights]


def trained(config: RunConfig) -> tuple[list[float], list[np.ndarray]]:
    """Return the loss of each epoch, and the weights, of a network of two dense layers."""
    import keras

    random = np.random.default_rng(SEED)
    labels = np.arange(IMAGES) % CLASSES
    images = random.integers(0, 60, (IMAGES, SIDE, SIDE, 1)) + 90 * labels[:, None, None, None]
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(config.precision)
    try:
        classifier = keras.Sequential(
            [
                keras.Input((SIDE, SIDE, 1)),
                keras.layers.Rescaling(1 / 255),
                keras.layers.Flatten(),
                keras.layers.Dense(8, activation="relu"),
                keras.layers.Dense(CLASSES, activation="softmax", dtype="float32"),
            ]
        )
    finally:
        keras.config.set_dtype_policy("float32")
    run_epoch = epoch_function(classifier, config, Split(images.astype(np.uint8), labels))
    order = random.permutation(IMAGES)
    course = [float(run_epoch(order, epoch)[0]) for epoch in range(1, EPOCHS + 1)]
    return course, classifier.get_weights()
