"""Sizes of networks, measured once for all trials with the same network."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

from experiments.config import Environment, ModelSize
from experiments.tracking import code_identity
from search.engines.cluster import facts
from search.study.study import Study


class Sizes:
    """Known sizes by `RunConfig.network`, measured by this sweep or by another one of the study with the same code."""

    def __init__(self, study: Study, environment: Environment) -> None:
        self._study, self._environment = study, environment
        self._known: dict[tuple[object, ...], ModelSize] = {}

    def of(self, network: tuple[object, ...]) -> ModelSize | None:
        """Return a network's sizes, if they are known."""
        if network not in self._known and (size := self._study.size(network, self._code)):
            self._known[network] = size
        return self._known.get(network)

    def measured(self, network: tuple[object, ...], size: ModelSize) -> None:
        """Record a network's sizes for later trials, and for other sweeps of the study."""
        if network not in self._known:
            self._study.share_size(network, self._code, size)
        self._known[network] = size

    @cached_property
    def _code(self) -> str:
        """A digest of the code and packages that determine a network's sizes."""
        decisive = [facts(), code_identity(), self._environment.plugins]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
