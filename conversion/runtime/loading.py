"""Which executor a saved file is for."""

from __future__ import annotations

from pathlib import Path

import conversion.runtime.mlprogram as mlprogram
import conversion.runtime.neuralnetwork as neuralnetwork
from conversion.runtime.executable import BatchedExecutable
from conversion.runtime.interface import NotCheckable
from conversion.runtime.limits import one_network
from conversion.runtime.model_file import content_of, parsed
from conversion.runtime.opening import opened
from conversion.runtime.package import Package, is_package
from conversion.runtime.weight_references import check_weights


def load(path: Path) -> BatchedExecutable:
    """Load a file or a package; see `conversion.runtime.load`."""
    with opened(path) as found:
        return _load(found, str(path))


def _load(path: Path, source: str) -> BatchedExecutable:
    package = Package(path, source=source) if is_package(path) else None
    content = package.model if package else content_of(path, source=source)
    model, unknown = parsed(content, source)
    kind = model.WhichOneof("Type")
    known = (neuralnetwork.KIND, mlprogram.KIND)
    if kind not in known:
        raise NotCheckable(f"{source}: holds a model of the type {kind}; only {' and '.join(known)} can be executed.")
    if unknown:
        raise NotCheckable(f"{source}: {unknown} has a field that this version does not know.")
    check_weights(model, package, source)
    size_bytes = package.size_bytes if package else len(content)
    with one_network():
        if kind == neuralnetwork.KIND:
            return neuralnetwork.load(model, source=source, size_bytes=size_bytes)
        return mlprogram.load(model, package, source=source, size_bytes=size_bytes)
