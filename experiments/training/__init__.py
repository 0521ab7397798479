"""Train one configuration: the loop, optimizers and losses by name, precision.

from experiments.training import register_loss, register_optimizer
"""

from experiments.training.losses import register_loss
from experiments.training.optimizers import register_optimizer

__all__ = ["register_loss", "register_optimizer"]
