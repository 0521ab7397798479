"""Load what installed packages add through entry points; a broken one causes a warning, not a failure."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from architectures.display import say
from architectures.errors import PluginError
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
        raise PluginError(f"Plugin {plugin} failed on import: {type(error).__name__}: {error}") from error


def plugin_sha256(plugin: str) -> str:
    """SHA-256 of a plugin's code, without importing it; empty if there is none.

    Of a file its bytes; of a module all Python files of the package that it lies in.
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
    """Import every entry point of a group; returns what failed, by the entry point's name, each warned of in a line."""
    broken = {}
    for point in entry_points(group=group):
        try:
            guarded_import(f"{point.name} ({point.value})", point.load)
        except PluginError as error:
            broken[point.name] = error
            say(f"warning: left out: {' '.join(str(error).split())}", file=sys.stderr)
    return broken
