"""The registry of builders that optimizers and losses share.

Builders are found in the registry's own module, in installed packages through an entry-point group, and in modules or
files given to `--plugin`. A builder takes those hyperparameters of `experiments/recipe.py` that are among its keywords,
with the keywords' defaults; a run that asks for another one is refused, because it would have no effect.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from architectures.errors import PluginError, ProjectError, UsageError
from architectures.fields import InvalidValue, Name, allowed
from architectures.plugins import PluginRegistry, check_free, source_of
from experiments.recipe import RECIPE_OPTIONS, Recipe


@dataclass(frozen=True)
class Takes:
    """The recipe options that a builder takes; it can be sent between processes, unlike the builder."""

    kind: str  # optimizer or loss
    name: str
    own: tuple[tuple[str, float], ...]  # the hyperparameters that it takes, with its defaults
    learning_rate_factor: float = 1.0  # of an optimizer: its default rate as a multiple of Adam's

    def resolved(self, asked: Mapping[str, Any]) -> dict[str, float]:
        """Return its defaults for hyperparameters that were not given (None); 0 for those that it does not take.

        Args:
            asked: values by name, of all hyperparameters of its kind.

        Raises:
            UsageError: if one was given that it does not take.
        """
        own = dict(self.own)
        for name, value in asked.items():
            if value is not None and name not in own:
                known = ", ".join(map(_option, own)) or "no such options"
                raise UsageError(f"The {self.kind} {self.name!r} takes no {_option(name)}; it takes {known}.")
        return {name: own.get(name, 0.0) for name, value in asked.items() if value is None}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class Registered:
    """A builder with its name."""

    builder: Callable[..., Any]
    source: str  # file that defines the builder, for messages about name clashes
    takes: Takes

    def check(self, recipe: Recipe) -> None:
        """Raise UsageError if a recipe has an option that the builder does not take."""
        self.takes.resolved({name: getattr(recipe, name) or None for name in taken_by(self.takes.kind)})

    def build(self, argument: object, recipe: Recipe, made: type) -> Any:
        """Call the builder with its argument and its part of a recipe; return an instance of `made`.

        Raises:
            UsageError: if the recipe has a hyperparameter that it does not take.
            PluginError: if it raises, or returns anything else.
        """
        self.check(recipe)
        values = {name: getattr(recipe, name) for name, _ in self.takes.own}
        fault = f"{self.takes.kind.capitalize()} {self.takes.name!r} ({self.source})"
        try:
            found = self.builder(argument, **values)
        except ProjectError:  # in the builder's own words
            raise
        except Exception as error:
            raise PluginError(f"{fault} failed to build: {type(error).__name__}: {error}") from error
        if not isinstance(found, made):
            raise PluginError(f"{fault} returned {type(found).__name__}, not a keras.{made.__name__}.")
        return found


def taken_by(kind: str) -> tuple[str, ...]:
    """Return the hyperparameters that a builder of this kind may take.

    >>> taken_by("optimizer"), taken_by("loss")
    (('weight_decay', 'momentum'), ('label_smoothing',))
    """
    return tuple(name for name, asked in RECIPE_OPTIONS.items() if asked.taken_by == kind)


class BuilderRegistry(PluginRegistry[Registered]):
    """All builders of a kind.

    >>> from experiments.training import losses, optimizers
    >>> optimizers.get("sgd").takes.own, optimizers.get("sgd").takes.learning_rate_factor
    ((('momentum', 0.9), ('weight_decay', 0.0)), 10.0)
    >>> losses.get("focal").takes.own
    (('label_smoothing', 0.0),)
    >>> optimizers.get("banana")
    Traceback (most recent call last):
    architectures.errors.UsageError: Unknown optimizer 'banana'. Registered: adam, adamw, sgd.
    """

    def __init__(self, kind: str, *, group: str, argument: str) -> None:
        """Prepare a registry; `argument` is the positional argument of its builders."""
        super().__init__(kind, group)
        self.argument = argument

    def register(self, builder: Callable[..., Any], name: str, learning_rate_factor: float = 1.0) -> None:
        """Register a builder; raise PluginError if the name is taken or invalid, or the signature is wrong."""
        source = source_of(builder)
        try:
            Name().check(name)
        except InvalidValue as error:
            raise PluginError(f"{self.kind.capitalize()} {name!r} of {source}: {error}.") from None
        check_free(self, name, builder)
        own = self._keywords(builder, f"Builder {name!r} of {source}")
        self.entries[name] = Registered(builder, source, Takes(self.kind, name, own, learning_rate_factor))

    def _keywords(self, builder: Callable[..., Any], what: str) -> tuple[tuple[str, float], ...]:
        parameters = inspect.signature(builder).parameters.values()
        positional = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
        keywords = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
        may_take = taken_by(self.kind)
        if positional != [self.argument] or not keywords.keys() <= set(may_take):
            raise PluginError(
                f"{what} has the signature {inspect.signature(builder)}. Change it to ({self.argument}), or with some "
                f"of these keywords, ({self.argument}, *, {', '.join(may_take)})."
            )
        own = {}
        for name, default in keywords.items():
            try:
                own[name] = allowed(Recipe, name).check(0.0 if default is inspect.Parameter.empty else default)
            except InvalidValue as error:
                raise PluginError(f"{what} has an invalid default of {name}: {error}.") from None
        return tuple(sorted(own.items()))
