"""Choose the executor for a saved file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import conversion.runtime.mlprogram as mlprogram
import conversion.runtime.neuralnetwork as neuralnetwork
from conversion.runtime.archives import extracted
from conversion.runtime.executable import BatchedExecutable
from conversion.runtime.interface import NotCheckable
from conversion.runtime.limits import one_network
from conversion.runtime.model_file import content_of, parse_model
from conversion.runtime.package import Package, is_package
from conversion.runtime.stages import unknown
from conversion.runtime.weight_references import check_weights

CLASSIFIER_KINDS = (neuralnetwork.KIND, mlprogram.KIND)


def load(path: Path) -> BatchedExecutable:
    """Load a file or a package; see `conversion.runtime.load`."""
    with extracted(path) as found:
        return _load(found, str(path))


def _load(path: Path, source: str) -> BatchedExecutable:
    package = Package(path, source=source) if is_package(path) else None
    content = package.model if package else content_of(path, source=source)
    model, unknown_field = parse_model(content, source)
    check_kind(model, source)
    if unknown_field:
        raise NotCheckable(f"{source}: {unknown_field} has a field that this version does not know.")
    check_weights(model, package, source)
    size_bytes = package.size_bytes if package else len(content)
    with one_network():
        if model.WhichOneof("Type") == neuralnetwork.KIND:
            return neuralnetwork.load(model, source=source, size_bytes=size_bytes)
        return mlprogram.load(model, package, source=source, size_bytes=size_bytes)


def check_kind(model: Any, source: str) -> None:
    """Raise NotCheckable if there is no executor for this kind of model."""
    kind = model.WhichOneof("Type")
    if kind not in CLASSIFIER_KINDS:
        if reason := unknown(model):
            raise NotCheckable(f"{source}: {reason}")
        known = " and ".join(CLASSIFIER_KINDS)
        raise NotCheckable(
            f"{source}: holds a model of the type {kind}; only {known} are classifiers of images. "
            "Of other kinds many are executed by python -m conversion.runtime."
        )
