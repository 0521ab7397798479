"""The registry of architectures: builders by name, which a sweep can search over.

Builders are found in this folder, in installed packages through the entry-point group `architectures`, and in
modules or files given to `load_plugin` (the command line's `--plugin`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.errors import PluginError, ProjectError, UsageError
from architectures.knobs import Knob, Setting, allows, check_knob, described
from architectures.plugins import PluginRegistry, check_free, guarded_import, source_of
from architectures.quiet import import_tensorflow, set_keras
from architectures.weights import WEIGHTS, Find, pinned, weights_file

if TYPE_CHECKING:
    import keras

FAMILIES = Path(__file__).with_name("families")

LARGEST_SIDE_TRIED = 96  # pixels, in the search for the smallest image that a network accepts

Builder = Callable[..., "keras.Model"]
Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Architecture:
    """A registered builder with its published values."""

    name: str
    builder: Builder
    default_filters: int | None  # width of the first stage; None: fixed widths
    default_dropout: float  # rate of the first dropout layer
    source: str  # file that defines the builder, for messages about name clashes
    knobs: Mapping[str, tuple[Knob, ...]] = field(default_factory=dict)  # choices by name, the default one first
    smallest_side: int = 1  # pixels of an image's height and width
    find_weights: Find | None = None  # of a backbone: returns the file for `imagenet` in its knob `weights`

    @property
    def summary(self) -> str:
        """First line of the builder's docstring."""
        return (inspect.getdoc(self.builder) or "").partition("\n")[0]

    @property
    def family(self) -> str:
        """The line `Family: ...` of the docstring; empty without one."""
        return self._noted("Family")

    @property
    def paper(self) -> str:
        """The line `Paper: ...` of the docstring; empty without one."""
        return self._noted("Paper")

    def _noted(self, key: str) -> str:
        found = re.search(rf"^{key}: (.+)$", inspect.getdoc(self.builder) or "", re.MULTILINE)
        return found.group(1).strip() if found else ""

    def build(
        self,
        input_shape: Shape,
        num_classes: int,
        *,
        filters: int | None = None,
        dropout: float | None = None,
        knobs: Mapping[str, Knob] | None = None,
    ) -> keras.Model:
        """Build the network and check what all later steps rely on.

        Args:
            input_shape: height, width and channels of an image whose values are scaled to [0, 1].
            num_classes: width of the output.
            filters: width of the first stage; the published width by default. None for fixed widths.
            dropout: rate in [0, 1) of the dropout layers; the published rate by default.
            knobs: values of the architecture's own hyperparameters; the first choice of each by default.

        Returns:
            An uncompiled model from (N, height, width, channels) to (N, num_classes) probabilities.

        Raises:
            UsageError: for values out of bounds, or images too small for the network.
            PluginError: if the builder raises, or does not return the model described above.

        >>> get("malireddi").build((28, 28, 1), 10, filters=8).output_shape
        (None, 10)
        >>> get("malireddi").build((28, 28, 1), 10, dropout=1.0)
        Traceback (most recent call last):
        architectures.errors.UsageError: dropout must be at least 0 and below 1, not 1.0.
        """
        widths = self._widths(filters)
        dropout = self.default_dropout if dropout is None else dropout
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, not {dropout}.")
        values: dict[str, object] = {**widths, "dropout": dropout, **self.knob_values(knobs or {})}
        height, width, channels = input_shape
        if min(height, width) < self.smallest_side:
            raise self._too_small(input_shape, (self.smallest_side, self.smallest_side, channels))
        if self.find_weights:
            values[WEIGHTS] = weights_file(str(values[WEIGHTS]), functools.partial(self._weights_found, values))
        shape = (height, width, channels)  # a plain tuple, whatever sequence was given
        set_keras()  # a plugin may have changed the settings
        try:
            with contextlib.redirect_stdout(sys.stderr):
                model = self.builder(shape, num_classes, **values)
        except ProjectError:  # in the builder's own words
            raise
        except Exception as error:
            smallest = self._smallest_size(input_shape, num_classes, **values)
            if smallest:
                raise self._too_small(input_shape, smallest) from error
            raise PluginError(f"Architecture {self.name!r} ({self.source}) failed to build: {error}") from error
        _check_model(model, self, shape, num_classes)
        return model

    def knob_values(self, given: Mapping[str, Knob]) -> dict[str, Knob]:
        """Return the value of every knob; raise UsageError for an unknown knob or a value that is not a choice."""
        for name, value in given.items():
            self.check_knob(name, value)
        return {name: choices[0] for name, choices in self.knobs.items()} | dict(given)

    def check_knob(self, name: str, value: Knob) -> None:
        """Raise UsageError for a knob that the architecture does not have, or a value that it does not take."""
        if name not in self.knobs:
            known = ", ".join(self.knobs) or "none"
            raise UsageError(f"Architecture {self.name!r} has no knob {name!r}. Its knobs: {known}.")
        if not allows(self.knobs[name], value):
            raise UsageError(f"Knob {name!r} of {self.name!r} is one of {described(self.knobs[name])}, not {value}.")

    def pinned(self, knobs: Mapping[str, Knob]) -> dict[str, Knob]:
        """Return values of knobs as a run records them: weights with their file's SHA-256.

        Raises:
            UsageError: for a value that is not allowed, or missing weights.
        """
        values = self.knob_values(knobs)
        if self.find_weights:
            values[WEIGHTS] = pinned(str(values[WEIGHTS]), functools.partial(self._weights_found, values))
        return values

    def _weights_found(self, values: Mapping[str, object]) -> Path:
        assert self.find_weights
        own = {name: values[name] for name in inspect.signature(self.find_weights).parameters}
        return self.find_weights(**own)

    def _widths(self, filters: int | None) -> dict[str, int]:
        """Return the builder's keyword for the width of the first stage, if it takes one."""
        if self.default_filters is None:
            if filters is not None:
                raise UsageError(f"Architecture {self.name!r} has fixed widths: it takes no filters.")
            return {}
        filters = self.default_filters if filters is None else filters
        if filters < 1:
            raise UsageError(f"filters must be at least 1, not {filters}.")
        return {"filters": filters}

    def _too_small(self, shape: Shape, smallest: Shape) -> UsageError:
        return UsageError(
            f"Architecture {self.name!r} cannot take {_size(shape)} images: the smallest that work are "
            f"{_size(smallest)}."
        )

    def _smallest_size(self, input_shape: Shape, num_classes: int, **values: object) -> Shape | None:
        """Return the smallest square image, larger than this one in some direction, that the builder accepts."""
        height, width, channels = input_shape
        for side in range(min(height, width) + 1, LARGEST_SIDE_TRIED + 1):
            try:
                self.builder((side, side, channels), num_classes, **values)
            except Exception:  # any failure of the builder means "still too small"
                continue
            return side, side, channels
        return None


def _load_families() -> None:
    import_tensorflow()
    for module in pkgutil.iter_modules([str(FAMILIES)]):
        place = f"architectures.families.{module.name}"
        guarded_import(module.name, functools.partial(importlib.import_module, place))


_registry: PluginRegistry[Architecture] = PluginRegistry("architecture", "architectures", _load_families)
left_out = _registry.left_out


def register(
    *,
    default_filters: int | None = None,
    default_dropout: float = 0.25,
    name: str | None = None,
    knobs: Mapping[str, tuple[Knob, ...]] | None = None,
    smallest_side: int = 1,
    find_weights: Find | None = None,
) -> Callable[[Builder], Builder]:
    """Register a builder `(input_shape, num_classes, *, filters, dropout) -> keras.Model` under its function's name.

    Args:
        default_filters: the published width of the first stage. None: the builder takes no `filters`.
        default_dropout: the published rate of the first dropout layer.
        name: instead of the function's name.
        knobs: hyperparameters of this architecture only, `{"kernel_size": (3, 5)}`: each is a further keyword of the
            builder, and a sweep searches its choices; the first one is the default. For a `Setting`, a sweep uses only
            the default, unless --knob gives others.
        smallest_side: the least height and width in pixels, if that is known without building.
        find_weights: makes it a backbone with a knob `weights`, which a sweep only uses if it is requested by name. It
            returns the file for `imagenet`, and takes as keywords the knobs that determine it; the builder gets the
            chosen file, or None.

    Raises:
        PluginError: if the name is taken, the builder's signature differs, or a knob has no choices.

    >>> @register(default_filters=16)
    ... def mine(input_shape, num_classes, filters):
    ...     return keras.Sequential([...])
    Traceback (most recent call last):
    architectures.errors.PluginError: Builder 'mine' of ... has the signature (input_shape, num_classes, filters). ...
    """
    own = {knob: each if isinstance(each, Setting) else tuple(each) for knob, each in (knobs or {}).items()}

    def decorate(builder: Builder) -> Builder:
        chosen = name or builder.__name__
        source = source_of(builder)
        check_free(_registry, chosen, builder)
        parameters = inspect.signature(builder).parameters
        positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        keyword = {p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
        wanted = [*(["filters"] if default_filters is not None else []), "dropout", *own]
        if positional != ["input_shape", "num_classes"] or keyword != set(wanted):
            raise PluginError(
                f"Builder {chosen!r} of {source} has the signature {inspect.signature(builder)}. "
                f"Change it to {chosen}(input_shape, num_classes, *, {', '.join(wanted)})."
            )
        if find_weights and WEIGHTS not in own:
            raise PluginError(f"Architecture {chosen!r} ({source}) finds weights and has no knob {WEIGHTS!r}.")
        for knob, choices in own.items():
            check_knob(f"Knob {knob!r} of architecture {chosen!r} ({source})", knob, choices)
        _registry.entries[chosen] = Architecture(
            chosen, builder, default_filters, default_dropout, source, own, smallest_side, find_weights
        )
        return builder

    return decorate


def load_plugin(plugin: str) -> None:
    """Import a plugin, which registers its parts: a module by its dotted name, or a file by its path ending in .py.

    Raises:
        UsageError: if there is no such module or file.
        PluginError: if importing it raises.

    >>> load_plugin("missing.py")
    Traceback (most recent call last):
    architectures.errors.UsageError: Plugin file missing.py does not exist.
    """
    _registry.load()  # first, so that a name clash is reported as the plugin's
    path = Path(plugin).resolve()
    if plugin.endswith(".py"):
        if not path.is_file():
            raise UsageError(f"Plugin file {plugin} does not exist.")
        if any(getattr(module, "__file__", None) == str(path) for module in list(sys.modules.values())):
            return
        spec = importlib.util.spec_from_file_location(f"plugin_{path.stem}", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        try:
            guarded_import(plugin, lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
        except BaseException:
            del sys.modules[spec.name]  # a second attempt must fail, too
            raise
    else:
        try:
            found = importlib.util.find_spec(plugin)
        except (ImportError, ValueError):
            found = None
        if found is None:
            raise UsageError(f"Plugin module {plugin!r} was not found. Give a module's dotted name or a .py file.")
        guarded_import(plugin, lambda: importlib.import_module(plugin))


def names() -> list[str]:
    """Return the names of all registered architectures, sorted.

    >>> {"chollet", "malireddi", "pocket"} <= set(names())
    True
    """
    return _registry.names()


def get(name: str) -> Architecture:
    """Return the architecture registered as `name`.

    Raises:
        UsageError: for an unknown name, with the choices.
        PluginError: for the name of an installed plugin that failed on import.

    >>> get("malireddi").default_filters, get("malireddi").default_dropout
    (32, 0.2)
    >>> get("lenet")
    Traceback (most recent call last):
    architectures.errors.UsageError: Unknown architecture 'lenet'. Registered: allconv, chollet, ...
    """
    return _registry.get(name)


def build(name: str, input_shape: Shape, num_classes: int, **values: float) -> keras.Model:
    """Build an architecture: short for `get(name).build(...)`.

    >>> build("malireddi", (28, 28, 1), 10).count_params()
    94602
    """
    return get(name).build(input_shape, num_classes, **values)  # type: ignore[arg-type]


def _size(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _check_model(model: object, architecture: Architecture, input_shape: Shape, num_classes: int) -> None:
    """Check a freshly built model against the contract of builders."""
    import keras

    def fault(text: str) -> PluginError:
        return PluginError(f"Architecture {architecture.name!r} ({architecture.source}) {text}")

    if not isinstance(model, keras.Model):
        raise fault(f"returned {type(model).__name__}, not a keras.Model.")
    if model.compiled:
        raise fault("returned a compiled model. Leave compile() to the training loop.")
    if tuple(model.input_shape) != (None, *input_shape):
        raise fault(f"takes {model.input_shape}, not {(None, *input_shape)}. Start it with keras.Input(input_shape).")
    if tuple(model.output_shape) != (None, num_classes):
        raise fault(f"gives {model.output_shape}, not {(None, num_classes)}. End it with one Dense(num_classes).")
    layers = model._flatten_layers(include_self=False, recursive=True)
    for layer in layers:
        if isinstance(layer, keras.layers.Lambda):
            raise fault(
                f"holds a Lambda layer ({layer.name}), which cannot be loaded safely. "
                f"Use a Keras layer or keras.ops function instead."
            )
    if head_of(model) is None:
        raise fault("does not end in probabilities. Give its last layer activation='softmax' or 'sigmoid'.")


def head_of(model: keras.Model) -> str | None:
    """Return `softmax` or `sigmoid`, whichever computes a model's output; None for anything else."""
    import keras

    last = model.outputs[0]._keras_history.operation
    if isinstance(last, keras.Model):
        return head_of(last)
    function = getattr(last, "activation", None) or last  # a layer's activation, or the layer or operation itself
    name = getattr(function, "__name__", type(function).__name__).lower()
    return name if name in {"softmax", "sigmoid"} else None
