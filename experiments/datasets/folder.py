"""`folder:DIR`: a folder per class, as `keras.utils.image_dataset_from_directory` expects.

The classes may lie in subfolders train, val and test; those that are missing are held out of train, the same images
every time. Where there are none of them, DIR itself holds the classes.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from architectures.errors import ProjectError, UsageError
from experiments.datasets import cache
from experiments.datasets.registry import Dataset, register_source
from experiments.datasets.source import Source
from experiments.datasets.splits import Pixels, assemble

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

PARTS = ("train", "val", "test")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")  # Keras reads the same
GRAYSCALE = {"1", "L", "LA"}  # Pillow's modes
COLORED = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


@register_source("folder", takes="DIR")
def folder(source: Source) -> Dataset:
    """Images by class, labelled with the folders' names in alphabetical order.

    Images stay as they are, or are resized with an antialiased bilinear filter, regardless of their proportions. They
    are grayscale if all files are, else RGB, unless one is asked for. Transparency is dropped.

    Raises:
        UsageError: for a folder that is not there, or images of different sizes that are not to be resized.
        ProjectError: for images that cannot be read, or data that fit no classifier.
    """
    import numpy as np

    if not source.path.is_dir():
        raise UsageError(f"There is no folder {source.path}.")
    classes = {part: _classes(path) for part, path in _parts(source.path).items()}
    names = sorted(classes["train"])
    for part, found in classes.items():
        if sorted(found) != names:
            lacking, more = sorted(set(names) - set(found)), sorted(set(found) - set(names))
            said = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"has also {', '.join(more)}"] * bool(more)
            raise ProjectError(f"{source.path}: the classes of train and {part} differ: {part} {' and '.join(said)}.")
    files = {part: [file for name in names for file in found[name]] for part, found in classes.items()}
    everything = [file for part in files.values() for file in part]
    place = cache.folder_of(source, everything)
    if known := cache.opened(place):
        return known
    size, mode = _form(everything, source)
    parts = {}
    for part, found in classes.items():
        labels = np.repeat(np.arange(len(names)), [len(found[name]) for name in names])
        parts[part] = _pixels(files[part], size, mode), labels
    return assemble(source.title, names, parts, place)


def _parts(path: Path) -> dict[str, Path]:
    """The folders that hold classes, by split."""
    found = _subfolders(path)
    parts = {part: found[part] for part in PARTS if part in found}
    if not parts:
        if found and all(name.lower() in PARTS for name in found):
            raise ProjectError(f"{path} holds {', '.join(sorted(found))}: write train, val and test in small letters.")
        return {"train": path}
    if "train" not in parts:
        raise ProjectError(f"{path} holds {' and '.join(parts)}, but no train.")
    if others := sorted(found.keys() - parts):
        raise ProjectError(
            f"{path} holds {', '.join(others)} beside {', '.join(parts)}: either it holds train, val and test, or "
            f"a folder per class."
        )
    return parts


def _classes(path: Path) -> dict[str, list[Path]]:
    """The image files of each class, sorted."""
    found = {
        name: sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.name[0] != ".")
        for name, folder in _subfolders(path).items()
    }
    if not found:
        raise ProjectError(f"{path} holds no folders: one per class is expected, with its images.")
    if empty := sorted(name for name, files in found.items() if not files):
        raise ProjectError(f"{path}: class {empty[0]!r} is empty: no {', '.join(SUFFIXES)} in its folder.")
    return found


def _subfolders(path: Path) -> dict[str, Path]:
    """The folders in a folder by name, the hidden ones left out."""
    found = {}
    for entry in path.iterdir():
        if entry.name[0] == ".":
            continue
        if entry.is_symlink() and not entry.exists():
            raise ProjectError(f"{entry} is a broken link.")
        if entry.is_dir():
            if any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in entry.name):  # control, or no character
                raise ProjectError(f"{path} holds a folder {entry.name!r}: a class is named by printable characters.")
            found[entry.name] = entry
    return found


def _form(files: Sequence[Path], source: Source) -> tuple[tuple[int, int], str]:
    """Height, width and Pillow's mode that all images are to have; reads their headers."""

    sizes: dict[tuple[int, int], Path] = {}
    modes = set()
    for file in files:
        with _opened(file) as image:
            modes.add(image.mode)
            sizes.setdefault((image.height, image.width), file)
            if image.mode not in GRAYSCALE | COLORED:
                raise ProjectError(f"{file} has pixels of Pillow's mode {image.mode}, not 8 bits a component.")
    if source.image_size is None and len(sizes) > 1:
        shown = " and ".join(f"{h}x{w} ({file.relative_to(source.path)})" for (h, w), file in list(sizes.items())[:2])
        raise UsageError(f"{source.path} holds images of different sizes, {shown}. Resize all: --image-size HxW.")
    size = source.image_size or next(iter(sizes))
    gray = source.color_mode == "grayscale" if source.color_mode else modes <= GRAYSCALE
    return size, "L" if gray else "RGB"


def _pixels(files: Sequence[Path], size: tuple[int, int], mode: str) -> Pixels:
    """Images as uint8 (N, height, width[, 3]), decoded block by block when they are wanted."""
    import numpy as np

    shape = (*size, 3) if mode == "RGB" else size
    some = max(1, cache.BLOCK_BYTES // math.prod(shape))

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(files), some):
            yield np.stack([_decoded(file, size, mode) for file in files[first : first + some]])

    return Pixels((len(files), *shape), blocks)


def _decoded(file: Path, size: tuple[int, int], mode: str) -> np.ndarray:
    import numpy as np
    from PIL import Image

    with _opened(file) as image:
        try:
            pixels = image.convert(mode)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise ProjectError(f"{file} is not a readable image: {error}.") from error
        return np.asarray(pixels.resize(size[::-1], Image.Resampling.BILINEAR))


def _opened(file: Path) -> Image.Image:
    from PIL import Image

    try:
        return Image.open(file)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ProjectError(f"{file} is not a readable image: {error}.") from error
