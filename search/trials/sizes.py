"""Sizes of networks, which all trials of the same widths share."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property

from experiments.config import Environment, ModelSize
from experiments.tracking import code_tags
from search.engines.cluster import facts
from search.study.study import Study


class Sizes:
    """What this sweep, or another one of the study with the same code, has measured, by `RunConfig.network`."""

    def __init__(self, study: Study, environment: Environment) -> None:
        self._study, self._environment = study, environment
        self._known: dict[tuple[object, ...], ModelSize] = {}

    def of(self, network: tuple[object, ...]) -> ModelSize | None:
        """A network's sizes, where they have been measured."""
        if network not in self._known and (size := self._study.size(network, self._code)):
            self._known[network] = size
        return self._known.get(network)

    def measured(self, network: tuple[object, ...], size: ModelSize) -> None:
        """Note a network's sizes, for those that follow and for other sweeps of the study."""
        if network not in self._known:
            self._study.share_size(network, self._code, size)
        self._known[network] = size

    @cached_property
    def _code(self) -> str:
        """The code and packages that decide a network's sizes."""
        decisive = [facts(), code_tags(), self._environment.plugins]
        return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()
