"""Recognise files that are not Core ML by their first bytes or name, and say what to do."""

from __future__ import annotations

from pathlib import Path

from conversion.runtime.interface import CorruptModel, NotCoreML

HEAD_BYTES = 512  # enough for all marks below
CORE_ML = "not a Core ML file (.mlmodel or .mlpackage)"
COMPILED = "compiled; give the .mlmodel or .mlpackage that it was made of"
POINTER = b"version https://git-lfs.github.com/spec/"

MARKS = {  # first bytes of a kind of file
    b"\x89HDF\r\n\x1a\n": f"a Keras model in HDF5, {CORE_ML}",
    b"\x1f\x8b": "a gzip archive; unpack it and give the .mlmodel or .mlpackage in it",
    b"\x80\x02": f"a PyTorch file or another pickle, {CORE_ML}",
}
FORMAT_NAMES = {  # by suffix, if the contents do not tell
    ".h5": "a Keras model in HDF5",
    ".hdf5": "a Keras model in HDF5",
    ".keras": "a Keras model",
    ".onnx": "an ONNX model",
    ".pt": "a PyTorch file",
    ".pth": "a PyTorch file",
    ".tflite": "a TensorFlow Lite model",
}


def refuse_pointer(head: bytes, source: str) -> None:
    """Raise CorruptModel if a file is a Git LFS pointer to a large file."""
    if head.startswith(POINTER):
        raise CorruptModel(f"{source}: a Git LFS pointer, not the file itself: run git lfs pull.")


def refuse_foreign(path: Path, head: bytes, source: str) -> None:
    """Raise NotCoreML if a file is known to be of another kind.

    Args:
        path: of the file, for its name.
        head: its first HEAD_BYTES.
    """
    refuse_pointer(head, source)
    for mark, kind in MARKS.items():
        if head.startswith(mark):
            raise NotCoreML(f"{source}: {kind}.")
    if head[4:8] == b"TFL3":
        raise NotCoreML(f"{source}: {FORMAT_NAMES['.tflite']}, {CORE_ML}.")
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise NotCoreML(f"{source}: a web page, not the file that it shows: download the file itself.")
    suffix = path.suffix.lower()
    if suffix == ".mlmodelc":
        raise NotCoreML(f"{source}: {COMPILED}.")
    if suffix in FORMAT_NAMES:
        raise NotCoreML(f"{source}: {FORMAT_NAMES[suffix]}, {CORE_ML}.")
