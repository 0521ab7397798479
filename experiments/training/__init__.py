"""Training of one configuration: the loop, the optimizers and losses by name, what it computes with.

from experiments.training import register_loss, register_optimizer
"""

from experiments.training.losses import register_loss
from experiments.training.optimizers import register_optimizer

__all__ = ["register_loss", "register_optimizer"]
