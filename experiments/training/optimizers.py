"""The registered optimizers: Adam, AdamW, stochastic gradient descent, and those of plugins.

@register_optimizer(learning_rate_factor=0.1)
def lion(learning_rate, *, weight_decay) -> keras.optimizers.Optimizer:
    return keras.optimizers.Lion(learning_rate, weight_decay=weight_decay)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from architectures.errors import PluginError
from architectures.fields import InvalidValue, Number
from experiments.config import RunConfig
from experiments.training.registered import BuilderRegistry

if TYPE_CHECKING:
    import keras

    Rate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule
    OptimizerBuilder: TypeAlias = Callable[..., keras.optimizers.Optimizer]

ADAMW_DECAY = 0.004  # keras.optimizers.AdamW's own
SGD_MOMENTUM = 0.9  # Sutskever and others, 2013, and nearly every published recipe since
SGD_FACTOR = 10.0  # a constant rate of 0.01, keras.optimizers.SGD's own, for Adam's 0.001
FACTORS = Number(1e-3, 100)  # keeps the default rates within the allowed range

_optimizers = BuilderRegistry("optimizer", group="optimizers", argument="learning_rate")
get, names, left_out = _optimizers.get, _optimizers.names, _optimizers.left_out


def register_optimizer(
    *, learning_rate_factor: float = 1.0, name: str | None = None
) -> Callable[[OptimizerBuilder], OptimizerBuilder]:
    """Register a builder `(learning_rate[, *, momentum, weight_decay]) -> keras.optimizers.Optimizer`.

    Args:
        learning_rate_factor: its default learning rate as a multiple of Adam's.
        name: instead of the function's name.

    The builder gets a number or a schedule for `learning_rate`. Runs with it refuse options that are not among its
    keywords; the default of a keyword applies if the option is not given.
    `experiments.training.contract.check_optimizer` tests it.

    Raises:
        PluginError: if the name is taken, the builder's signature differs, or the factor is invalid.

    >>> @register_optimizer()
    ... def adam(learning_rate): ...
    Traceback (most recent call last):
    architectures.errors.PluginError: Optimizer 'adam' of ... is already registered by ...
    """

    def decorate(builder: OptimizerBuilder) -> OptimizerBuilder:
        chosen = name or builder.__name__
        try:
            factor = FACTORS.check(learning_rate_factor)
        except InvalidValue as error:
            raise PluginError(f"Optimizer {chosen!r} has an invalid learning_rate_factor: {error}.") from None
        _optimizers.register(builder, chosen, factor)
        return builder

    return decorate


@register_optimizer()
def adam(learning_rate: Rate, *, weight_decay: float) -> keras.optimizers.Optimizer:
    """Adam, and AdamW with a weight decay.

    Paper: Kingma and Ba, 2015
    """
    from experiments.training.kernels import FusedAdam

    return FusedAdam(learning_rate, weight_decay=weight_decay or None)


@register_optimizer()
def adamw(learning_rate: Rate, *, weight_decay: float = ADAMW_DECAY) -> keras.optimizers.Optimizer:
    """Adam with a weight decay that is not part of the gradient, 0.004 by default.

    Paper: Loshchilov and Hutter, 2019
    """
    return adam(learning_rate, weight_decay=weight_decay)


@register_optimizer(learning_rate_factor=SGD_FACTOR)
def sgd(learning_rate: Rate, *, momentum: float = SGD_MOMENTUM, weight_decay: float) -> keras.optimizers.Optimizer:
    """Stochastic gradient descent with momentum; its weight decay is not part of the gradient either.

    Paper: Sutskever and others, 2013
    """
    import keras

    return keras.optimizers.SGD(learning_rate, momentum=momentum, weight_decay=weight_decay or None)


def build(config: RunConfig, learning_rate: Rate) -> keras.optimizers.Optimizer:
    """Build the optimizer of a run; raise UsageError and PluginError as `Registered.build`."""
    import keras

    return get(config.optimizer).build(learning_rate, config, keras.optimizers.Optimizer)
