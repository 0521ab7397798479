"""Which part of a tracker makes a write."""

from __future__ import annotations

from experiments.tracking.models import Models
from experiments.tracking.promotions import Promotions
from experiments.tracking.registry import Registry
from experiments.tracking.writer import Writer


def part_with(write: str) -> type:
    """The class of the method with this name."""
    return next(part for part in (Promotions, Registry, Models, Writer) if write in vars(part))
