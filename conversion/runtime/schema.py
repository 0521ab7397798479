"""The protobuf classes of Core ML's format, without the rest of coremltools.

`import coremltools` takes over a second because it imports all converters; the generated classes take a tenth of that.
They are loaded under a package name of our own, so that nothing called `coremltools` is left half-imported. A real
`import coremltools` works before and after, and shares the classes, because protobuf has one per message type.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

ALIAS = f"{__package__}.coreml_proto"

_lock = threading.Lock()


def model_class() -> Any:
    """Return the class `CoreML.Specification.Model`, the root message of every Core ML file.

    Raises:
        ModuleNotFoundError: if coremltools is not installed.
    """
    return _module("Model_pb2").Model


def _module(name: str) -> ModuleType:
    already = sys.modules.get(f"coremltools.proto.{name}")
    if already is not None and hasattr(already, "Model"):
        return already
    with _lock:
        if ALIAS not in sys.modules:
            found = importlib.util.find_spec("coremltools")  # finds the top-level package without importing it
            if found is None or not found.submodule_search_locations:
                raise ModuleNotFoundError("Executing Core ML files needs coremltools: pip install coremltools.")
            package = ModuleType(ALIAS, "Generated protobuf classes of coremltools.")
            package.__path__ = [str(Path(root) / "proto") for root in found.submodule_search_locations]
            sys.modules[ALIAS] = package
        return importlib.import_module(f"{ALIAS}.{name}")
