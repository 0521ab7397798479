"""Registered Keras architectures, one file per family.  Run: python -m architectures

Importing the package is cheap: families, and with them Keras, are imported when the registry is first read.
"""

from architectures.quiet import set_defaults

set_defaults()

from architectures.registry import Architecture, build, get, load_plugin, names, register  # noqa: E402

__all__ = ["Architecture", "build", "get", "load_plugin", "names", "register"]
