"""The value of a backbone's knob `weights`, and the file that it stands for.

`none` is no file, `imagenet` is the file that the architecture finds, and anything else is a path. Runs record the
file's SHA-256 as well, `imagenet#sha256=5793...`, so that other weights are refused later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from architectures.errors import ProjectError, UsageError
from architectures.knobs import PIN

WEIGHTS = "weights"  # the knob
NONE, IMAGENET = "none", "imagenet"
TRAIN, HEAD = "train", "head"  # the knob for how much learns, and its value for the head only
FEATURES = "features"  # the layer of a backbone whose output the head takes

Find = Callable[..., Path]  # the file of `imagenet`; keywords are the architecture's other knobs


def weights_file(value: str, find: Callable[[], Path]) -> Path | None:
    """Return the file of a value; None for no weights.

    Raises:
        UsageError: if there is no such file.
        ProjectError: if its SHA-256 differs from that in the value.
    """
    name, pinned, digest = value.partition(PIN)
    if name == NONE:
        return None
    path = find() if name == IMAGENET else Path(name)
    if not path.is_file():
        raise UsageError(f"There is no file {path} with weights.")
    if pinned and (found := _sha256(path)) != digest:
        raise ProjectError(f"{path} has SHA-256 {found[:12]}..., not {digest[:12]}...: the weights differ.")
    return path


def pinned(value: str, find: Callable[[], Path]) -> str:
    """Return a value as runs record it: with an absolute path and the file's SHA-256.

    >>> pinned("none", lambda: Path())
    'none'
    """
    path = weights_file(value, find)
    if path is None:
        return NONE
    name = value.partition(PIN)[0]
    return f"{name if name == IMAGENET else path.resolve()}{PIN}{_sha256(path)}"


def knob_text(value: object) -> str:
    """Return a knob's value, shortened for a table.

    >>> knob_text("/home/me/cats.pth#sha256=579344248a93e23026e6"), knob_text(5)
    ('cats.pth 57934424', '5')
    """
    name, pin, digest = str(value).partition(PIN)
    return f"{Path(name).name} {digest[:8]}" if pin else name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
