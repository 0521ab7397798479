"""Which weight files an ML Program refers to, and in which operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from conversion.runtime.foreign import HEAD_BYTES, refuse_pointer
from conversion.runtime.interface import CorruptModel
from conversion.runtime.package import MissingMember, Package

MODEL_FOLDER = "@model_path/"  # the program's own folder


@dataclass(frozen=True)
class Reference:
    """A blob that an operation reads."""

    operation: Any  # its message
    file_name: str
    offset: int  # of the blob's header


def references(program: Any) -> Iterator[Reference]:
    """Yield every blob that a `Program` message reads."""
    for operation in operations(program):
        for _, value in values_of(operation):
            if value.WhichOneof("value") == "blobFileValue":
                yield Reference(operation, value.blobFileValue.fileName, value.blobFileValue.offset)


def operations(program: Any) -> Iterator[Any]:
    """Yield the operations of all functions of a `Program` message, including nested blocks."""
    for name in sorted(program.functions):
        blocks = program.functions[name].block_specializations
        waiting = [blocks[opset] for opset in sorted(blocks, reverse=True)]
        while waiting:
            for operation in waiting.pop().operations:
                yield operation
                waiting.extend(operation.blocks)


def values_of(operation: Any) -> Iterator[tuple[str, Any]]:
    """Return the constants in an operation's message, each with the name of its parameter."""
    for name in operation.attributes:
        yield name, operation.attributes[name]
    for name in operation.inputs:
        for argument in operation.inputs[name].arguments:
            if argument.WhichOneof("binding") == "value":
                yield name, argument.value


def check_weights(model: Any, package: Package | None, source: str) -> None:
    """Check that the weight files of a `Model` message exist.

    Raises:
        CorruptModel: if one is missing from the package, or is a Git LFS pointer.
    """
    for file_name in sorted({found.file_name for found in references(model.mlProgram)}):
        name = file_name.removeprefix(MODEL_FOLDER)
        if package is None:
            raise CorruptModel(
                f"{source}: its weights are in {file_name!r}, and this file is not in a package: give the package."
            )
        try:
            file = package.member(name, beside_model=True)
        except MissingMember as error:
            raise CorruptModel(f"{source}: its weights are missing: {error}.") from None
        except ValueError:  # a path outside of the package: reading the operation reports it
            continue
        with file.open("rb") as opened:
            refuse_pointer(opened.read(HEAD_BYTES), f"{source}: {name}")
