"""`folder:DIR`: a folder per class, as `keras.utils.image_dataset_from_directory` expects, or such folders by split.

`experiments.datasets.layout` decides which files are read, `experiments.datasets.pixels` how. Missing splits are held
out of train, always the same images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from architectures.errors import UsageError
from experiments.cores import cores
from experiments.datasets import cache, pixels
from experiments.datasets.copies import copies_in
from experiments.datasets.layout import layout
from experiments.datasets.parts import Pixels, StoredSplit
from experiments.datasets.pixels import Form, Header, single_coloured
from experiments.datasets.places import Copies
from experiments.datasets.registry import SPLITS, Dataset, register_source
from experiments.datasets.source import DEFAULTS, Fit, Source
from experiments.datasets.splits import assemble

SHOWN = 3  # names in a note


@register_source("folder", takes="DIR")
def folder(source: Source) -> Dataset:
    """Load images by class, labelled with the folders' names in alphabetical order.

    Images are resized if a size is given; otherwise all must have the same size. They are grayscale if all files are,
    else RGB, unless a colour mode is given. Other remarks for the user are in the data set's `notes`.

    Raises:
        UsageError: for a missing folder, or images of different sizes without a size to resize them to.
        ProjectError: for unreadable images, or data that cannot train a classifier.
    """
    if source.path.is_file():
        raise UsageError(f"{source.path} is a file, not a folder with a folder per class.")
    if not source.path.is_dir():
        raise UsageError(f"There is no folder {source.path}.")
    source = replace(source, options=source.options.over(DEFAULTS))
    found = layout(source.path)
    names = found.class_names
    files = {split: [file for name in names for file in classes[name]] for split, classes in found.files.items()}
    everything = [file for part in files.values() for file in part]
    place = cache.folder_of(source, everything)
    copies: Copies | None = None
    dataset, notes = cache.open_cached(place), cache.notes(place)  # notes on the images only: other files may change
    if dataset is None or notes is None:
        with ThreadPoolExecutor(cores()) as pool:
            headers = dict(zip(everything, pixels.of_each(pixels.header, everything, pool), strict=True))
            form = _form(headers, source)
            parts = {}
            for split, classes in found.files.items():
                labels = np.repeat(np.arange(len(names)), [len(classes[name]) for name in names])
                shown = [str(file.relative_to(source.path)) for file in files[split]]
                parts[split] = StoredSplit(_pixels(files[split], form, pool), labels, shown)
            dataset = dataset or assemble(source.title, names, parts, place)
        copies = copies_in(dataset)
        notes = [*_notes_of_headers(headers, source.path), *_notes_of_pixels(dataset, copies)]
        cache.write_notes(place, notes)
    return cache.with_notes(dataset, [*found.notes, *notes], copies)


def _form(headers: Mapping[Path, Header], source: Source) -> Form:
    """Return the size and colour mode for all images."""
    sizes: dict[tuple[int, int], Path] = {}
    for file, header in headers.items():
        sizes.setdefault(header.size, file)
    options = source.options
    if options.image_size is None and len(sizes) > 1:
        first = list(sizes.items())[:2]
        shown = " and ".join(f"{h}x{w} ({file.relative_to(source.path)})" for (h, w), file in first)
        raise UsageError(f"{source.path} holds images of different sizes, {shown}. Resize all: --image-size HxW.")
    found = "grayscale" if all(header.is_gray for header in headers.values()) else "rgb"
    mode = "L" if (options.color_mode or found) == "grayscale" else "RGB"
    size = options.image_size or next(iter(sizes))
    return Form(size, mode, cast(Fit, options.fit), options.background or "")


def _pixels(files: Sequence[Path], form: Form, pool: ThreadPoolExecutor) -> Pixels:
    """Return images as uint8 (N, height, width[, 3]), decoded block by block on demand, on all cores."""
    assert form.size
    shape = (*form.size, 3) if form.mode == "RGB" else form.size
    some = max(1, cache.BLOCK_BYTES // math.prod(shape))

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(files), some):
            yield np.stack(pixels.of_each(lambda file: pixels.read(file, form), files[first : first + some], pool))

    return Pixels((len(files), *shape), blocks)


def _notes_of_headers(headers: Mapping[Path, Header], root: Path) -> list[str]:
    several = [file for file, header in headers.items() if header.has_more_frames]
    return [f"the first frame is read of {_listed(several, root)}"] if several else []


def _notes_of_pixels(dataset: Dataset, copies: Copies) -> list[str]:
    told = []
    blank = [
        name
        for split in SPLITS
        for name, is_blank in zip(getattr(dataset, split).files, _constant(getattr(dataset, split).images), strict=True)
        if is_blank
    ]
    if blank:
        told.append(f"{_listed(blank)} {'are' if len(blank) > 1 else 'is'} of a single colour")
    return told + copies.notes


def _constant(images: np.ndarray) -> Iterator[bool]:
    for block in cache.in_blocks(images):
        yield from single_coloured(block)


def _listed(files: Sequence[Path | str], root: Path | None = None) -> str:
    names = [str(file.relative_to(root)) if root and isinstance(file, Path) else str(file) for file in files]
    shown = ", ".join(names[:SHOWN])
    return f"{len(files):,} images ({shown}{', ...' * (len(names) > SHOWN)})" if len(files) > 1 else shown
