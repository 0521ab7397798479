"""A Core ML file in memory: the bytes that ship, their size and their digests."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from conversion.coreml.formats import Format
from conversion.runtime.archives import extracted
from conversion.runtime.model_file import content_of, parse_model
from conversion.runtime.package import MANIFEST, Package

MODEL_MEMBER = "Data/com.apple.CoreML/model.mlmodel"  # of a package: the program
WEIGHTS_FOLDER = "Data/com.apple.CoreML/weights"  # of a package: the program's weights
ONLY_MEMBER = "model.mlmodel"  # of an mlmodel, which is one file
DATE_KEY = "com.github.apple.coremltools.conversion_date"  # user metadata that coremltools writes


@dataclass(frozen=True)
class CoreMLFile:
    """A converted file: one member for an `.mlmodel`, the relative paths of all its files for an `.mlpackage`."""

    format: Format
    members: Mapping[str, bytes]  # content by path inside the package, with forward slashes

    def __post_init__(self) -> None:
        ordered = {name: self.members[name] for name in sorted(self.members, key=str.encode)}
        object.__setattr__(self, "members", MappingProxyType(ordered))

    @property
    def suffix(self) -> str:
        """File suffix."""
        return f".{self.format}"

    @property
    def size_bytes(self) -> int:
        """Exact bytes of all members."""
        return sum(map(len, self.members.values()))

    @property
    def sha256(self) -> str:
        """Digest of the content.

        For an `.mlmodel`, it is what `sha256sum FILE` prints. For an `.mlpackage`, it is the digest of the list that
        `sha256sum` prints for its files in the order of their paths' bytes; inside the package:
        `find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`
        """
        if self.format == "mlmodel":
            return _digest(self.members[ONLY_MEMBER])
        lines = (f"{_digest(content)}  ./{name}\n" for name, content in self.members.items())
        return _digest("".join(lines).encode())

    @property
    def reproducible_sha256(self) -> str:
        """`sha256` of the same file written without the day of its conversion.

        The protobuf message is parsed, `com.github.apple.coremltools.conversion_date` is removed from its user
        metadata, and it is serialized with `SerializeToString(deterministic=True)`; nothing else is touched. By hand:

            from coremltools.proto.Model_pb2 import Model
            model = Model.FromString(open("X.mlmodel", "rb").read())
            del model.description.metadata.userDefined["com.github.apple.coremltools.conversion_date"]
            hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()

        For a package, write this content over the model in `Data/com.apple.CoreML` and compute the package's digest.

        Raises:
            CorruptModel: if the member that should hold the message does not.
        """
        name = self._message_member()
        model, _ = parse_model(self.members[name], source=name)
        model.description.metadata.userDefined.pop(DATE_KEY, None)
        content = model.SerializeToString(deterministic=True)
        return replace(self, members={**self.members, name: content}).sha256

    def _message_member(self) -> str:
        if self.format == "mlmodel":
            return ONLY_MEMBER
        manifest = json.loads(self.members[MANIFEST])
        return f"Data/{manifest['itemInfoEntries'][manifest['rootModelIdentifier']]['path']}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def mlmodel(content: bytes) -> CoreMLFile:
    """Return a neuralnetwork file with this content.

    >>> file = mlmodel(b"content")
    >>> file.size_bytes, file.sha256[:12]
    (7, 'ed7002b439e9')
    """
    return CoreMLFile("mlmodel", {ONLY_MEMBER: content})


def mlpackage(program: bytes, weights: Mapping[str, bytes]) -> CoreMLFile:
    """Return a package of an ML Program and its weight files.

    Args:
        program: the serialized message.
        weights: content by file name; none if the program holds all of its values.

    Returns:
        A package whose bytes depend only on the arguments: coremltools would use random identifiers in the manifest.
        The layout is that of coremltools, which rewrites the manifest whenever it opens a package.
    """
    items = {"model": ("CoreML Model Specification", "model.mlmodel", "com.apple.CoreML/model.mlmodel")}
    if weights:
        items["weights"] = ("CoreML Model Weights", "weights", "com.apple.CoreML/weights")
    entries = {
        _identifier(path): {"author": "com.apple.CoreML", "description": description, "name": name, "path": path}
        for description, name, path in items.values()
    }
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": _identifier(items["model"][2]),
    }
    return CoreMLFile(
        "mlpackage",
        {MANIFEST: (json.dumps(manifest, indent=4, sort_keys=True) + "\n").encode(), MODEL_MEMBER: program}
        | {f"{WEIGHTS_FOLDER}/{name}": content for name, content in weights.items()},
    )


def _identifier(path: str) -> str:
    """Return the identifier of a manifest's entry: unique in the package, and the same for the same path.

    >>> _identifier("com.apple.CoreML/weights") == _identifier("com.apple.CoreML/weights")
    True
    """
    return str(uuid.uuid5(uuid.NAMESPACE_URL, path))


def read(path: Path) -> CoreMLFile:
    """Read a file or a package from disk.

    Raises:
        CorruptModel: if it is missing or not a Core ML file, or anything points outside of a package.
        NotCheckable: if it is too large.
    """
    with extracted(path) as place:
        if not place.is_dir():
            return mlmodel(content_of(place, source=str(path)))
        Package(place, source=str(path))  # refuses links and names that leave the folder
        found = {file.relative_to(place).as_posix(): file for file in place.rglob("*") if file.is_file()}
        return CoreMLFile("mlpackage", {name: _content(file) for name, file in found.items()})


def _content(path: Path) -> bytes:
    """Return a member's bytes, possibly none."""
    return content_of(path) if path.stat().st_size else b""
