"""Every registered architecture as a parameter of a test; the heavier ones are left to the slow tests."""

from __future__ import annotations

from collections.abc import Container

import pytest
from _pytest.mark import ParameterSet

import architectures

OF_KERAS = ("keras_efficientnet_v2_b0", "keras_mobilenet_v2", "keras_mobilenet_v3_small")  # half a second to build


BACKBONES = (*OF_KERAS, "efficientnet_lite0")


def each(*, slow: Container[str] = BACKBONES) -> list[ParameterSet]:
    """A parameter for each name that is registered; those in `slow` carry the mark."""
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in architectures.names()]
