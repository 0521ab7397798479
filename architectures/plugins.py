"""What installed packages add through entry points; a broken one costs a warning, not the command."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from importlib.metadata import entry_points

from architectures.errors import PluginError


def guarded_import(plugin: str, load: Callable[[], object]) -> None:
    """Call `load`, which imports a plugin.

    Raises:
        PluginError: whatever it raises, SystemExit included.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a plugin may print; stdout is the command's result
            load()
    except (PluginError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plugin may even call sys.exit
        raise PluginError(f"Plugin {plugin} failed on import: {type(error).__name__}: {error}") from error


def load_installed(group: str) -> dict[str, PluginError]:
    """Import every entry point of a group; returns what failed, by the entry point's name, each warned of in a line."""
    broken = {}
    for point in entry_points(group=group):
        try:
            guarded_import(f"{point.name} ({point.value})", point.load)
        except PluginError as error:
            broken[point.name] = error
            print(f"warning: left out: {' '.join(str(error).split())}", file=sys.stderr)
    return broken
