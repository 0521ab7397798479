"""Registries of plugins, including those of installed packages through entry points.

A broken package causes a warning, not a failure, unless its entry point is asked for by name.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from architectures.display import say
from architectures.errors import PluginError, UsageError
from architectures.interrupts import raise_if_interrupted
from architectures.quiet import set_keras


def guarded_import(plugin: str, load: Callable[[], object]) -> None:
    """Call `load`, which imports a plugin.

    Raises:
        PluginError: for any error, SystemExit included.
    """
    try:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a plugin may print; stdout is the command's result
                load()
        finally:
            if keras := sys.modules.get("keras"):  # a plugin may have changed global settings
                set_keras()
                keras.config.set_dtype_policy("float32")
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plugin may even call sys.exit
        raise_if_interrupted(error)
        raise PluginError(f"Plugin {plugin} failed on import: {type(error).__name__}: {error}") from error


def plugin_sha256(plugin: str) -> str:
    """Return the SHA-256 of a plugin's code, without importing it; empty if there is none.

    For a file, this covers its bytes; for a module, all Python files of its package.
    """
    if plugin.endswith(".py"):
        files = [Path(plugin)]
    else:
        try:
            spec = importlib.util.find_spec(plugin.partition(".")[0])
        except (ImportError, ValueError):
            spec = None
        places = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
        files = sorted(file for place in places for file in place.rglob("*.py"))
        if spec and spec.origin and not places:
            files = [Path(spec.origin)]
    if not files or not all(file.is_file() for file in files):
        return ""
    if len(files) == 1:  # as a person would compute it
        return hashlib.sha256(files[0].read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def load_installed(group: str) -> dict[str, PluginError]:
    """Import every entry point of a group; warn of failures, and return them by the entry point's name."""
    broken = {}
    for point in entry_points(group=group):
        try:
            guarded_import(f"{point.name} ({point.value})", point.load)
        except PluginError as error:
            broken[point.name] = error
            say(f"warning: left out: {' '.join(str(error).split())}", file=sys.stderr)
    return broken


class Sourced(Protocol):
    """A builder and the file that defines it."""

    @property
    def builder(self) -> Callable[..., Any]: ...
    @property
    def source(self) -> str: ...


Plugin = TypeVar("Plugin")
SourcedPlugin = TypeVar("SourcedPlugin", bound=Sourced)


class PluginRegistry(Generic[Plugin]):
    """A registry for one kind of plugin: this project's, those of installed packages, and those of `--plugin`."""

    def __init__(self, kind: str, group: str, load_own: Callable[[], object] = lambda: None) -> None:
        """Prepare a registry.

        Args:
            kind: for messages, such as "architecture".
            group: of entry points.
            load_own: imports this project's modules that register.
        """
        self.kind, self.group, self._load_own = kind, group, load_own
        self.entries: dict[str, Plugin] = {}
        self.broken: dict[str, PluginError] = {}  # by the name of the entry point
        self.loaded = False

    def load(self) -> None:
        """Import this project's modules and installed plugins, once."""
        if self.loaded:
            return
        self.loaded = True  # first, so that a plugin may read the registry
        try:
            self._load_own()
            self.broken.update(load_installed(self.group))
        except BaseException:
            self.loaded = False
            raise

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self.load()
        return sorted(self.entries)

    def left_out(self) -> list[PluginError]:
        """Return the errors of installed plugins that failed on import."""
        self.load()
        return list(self.broken.values())

    def check_not_broken(self, name: str) -> None:
        """Raise PluginError for the name of an installed plugin that failed on import."""
        if name in self.broken:
            raise self.broken[name]

    def get(self, name: str) -> Plugin:
        """Return the entry that is registered under a name.

        Raises:
            UsageError: for an unknown name, with the choices.
            PluginError: for the name of an installed plugin that failed on import.
        """
        known = self.names()
        if name not in known:
            self.check_not_broken(name)
            raise UsageError(f"Unknown {self.kind} {name!r}. Registered: {', '.join(known)}.")
        return self.entries[name]


def source_of(builder: Callable[..., Any]) -> str:
    """Return the file that defines a builder."""
    return inspect.getsourcefile(builder) or builder.__module__


def check_free(registry: PluginRegistry[SourcedPlugin], name: str, builder: Callable[..., Any]) -> None:
    """Raise PluginError if a name is taken by another builder."""
    taken = registry.entries.get(name)
    if taken is None:
        return
    source, what = source_of(builder), f"{registry.kind.capitalize()} {name!r}"
    if taken.source != source:
        clash = f"{what} of {source} is already registered by {taken.source}"
    elif taken.builder.__code__.co_firstlineno != builder.__code__.co_firstlineno:
        clash = f"{what} is registered twice in {source}"
    else:
        return
    raise PluginError(f"{clash}. Give one of them another name, by name=... where it is registered.")
