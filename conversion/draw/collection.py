"""Corrected drawings as a data set: a folder per label, a PNG per drawing, its strokes inside the PNG."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from architectures.errors import UsageError
from architectures.scratch import scratch_beside
from conversion.draw.request import Correction
from experiments.evaluation.strokes import render_strokes
from experiments.names import is_file_name

STROKES_KEY = "strokes"  # of the PNG's text: drawings can be rendered again if the preprocessing changes
NAME_LENGTH = 16  # hexadecimal characters of the drawing's SHA-256


@dataclass(frozen=True)
class Collection:
    """A folder in the layout of `keras.utils.image_dataset_from_directory`."""

    folder: Path
    _adding: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, correction: Correction) -> Path:
        """Save a drawing as the model sees it, under its label; thread-safe.

        A second label for the same drawing replaces the first.

        Args:
            correction: the drawing and its label, which is a plain folder name.

        Raises:
            OSError: if the file cannot be written; then nothing is changed.
        """
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        drawing = correction.drawing
        strokes = drawing.as_json()
        text = PngInfo()
        text.add_text(STROKES_KEY, strokes)
        content = io.BytesIO()
        Image.fromarray(render_strokes(drawing.strokes, pad=drawing.pad)).save(content, "PNG", pnginfo=text)
        name = f"{hashlib.sha256(strokes.encode()).hexdigest()[:NAME_LENGTH]}.png"
        path = self.folder / correction.label / name
        with self._adding:  # otherwise concurrent labels for one drawing could remove each other
            path.parent.mkdir(parents=True, exist_ok=True)
            with scratch_beside(path) as folder:
                (folder / name).write_bytes(content.getvalue())
                (folder / name).replace(path)
            for other in self.folder.glob(f"*/{name}"):
                if other != path:
                    other.unlink()
        return path

    def __len__(self) -> int:
        return sum(1 for _ in self.folder.glob("*/*.png"))


def collection_in(folder: Path, labels: Sequence[str]) -> Collection:
    """Create a folder for a collection.

    Raises:
        UsageError: if a label cannot be the name of a folder, or the folder is a file.
        OSError: if the folder cannot be created.
    """
    for label in labels:
        if (
            not is_file_name(label)
            or not label.strip(". ")
            or set(label) & set('/\\:*?"<>|')
            or not label.isprintable()
        ):
            raise UsageError(f"Drawings of the label {label!r} cannot be kept: it is not a folder's name.")
    if folder.is_file():
        raise UsageError(f"{folder} is a file, not a folder for drawings.")
    folder.mkdir(parents=True, exist_ok=True)
    return Collection(folder)
