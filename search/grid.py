"""All combinations of a finite search space."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from search.engines.messages import KnownArchitecture
from search.space import SearchSpace


@dataclass(frozen=True)
class Grid:
    """The combinations of a space, numbered from 0. Each has only the hyperparameters of its architecture.

    >>> grid = Grid((("pocket", {"filters": (8, 16), "dropout": (0.1,)}), ("mlp", {"dropout": (0.1,)})))
    >>> grid.size, grid.combination(1), grid.number(grid.combination(2))
    (3, {'architecture': 'pocket', 'filters': 16, 'dropout': 0.1}, 2)
    """

    architectures: tuple[tuple[str, Mapping[str, Sequence[object]]], ...]  # each with its choices by a study's names

    @property
    def size(self) -> int:
        """The number of combinations."""
        return sum(map(_size, (choices for _, choices in self.architectures)))

    def combination(self, number: int) -> dict[str, object]:
        """Return the values of a combination, by a study's names."""
        for architecture, choices in self.architectures:
            if number < _size(choices):
                values: dict[str, object] = {}
                for name, of in choices.items():
                    number, place = divmod(number, len(of))
                    values[name] = of[place]
                return {"architecture": architecture, **values}
            number -= _size(choices)
        raise IndexError(number)

    def number(self, values: Mapping[str, object]) -> int | None:
        """Return the number of the combination of these values; None if they are not in the grid."""
        before = 0
        for architecture, choices in self.architectures:
            if architecture == values.get("architecture"):
                if any(name not in values or values[name] not in of for name, of in choices.items()):
                    return None
                scale = 1
                for name, of in choices.items():
                    before += scale * of.index(values[name])
                    scale *= len(of)
                return before
            before += _size(choices)
        return None

    def untried(self, tried: Collection[int], chance: random.Random) -> dict[str, object]:
        """Return a random combination whose number is not in `tried`, each with the same probability."""
        place = chance.randrange(self.size - len(tried))
        for number in sorted(tried):
            if number > place:
                break
            place += 1
        return self.combination(place)


def _size(choices: Mapping[str, Sequence[object]]) -> int:
    return prod(map(len, choices.values()))


def grid_of(space: SearchSpace, architectures: Sequence[KnownArchitecture]) -> Grid:
    """Return all combinations of a space that has no continuous range."""
    return Grid(tuple((known.name, space.choices(known)) for known in architectures))
