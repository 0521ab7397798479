"""Find and read pictures to classify: images, folders of images, and data sets, in the form that the file requires."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from architectures.errors import UsageError
from conversion.runtime import Interface
from conversion.runtime.reading import check_pictures
from experiments import datasets
from experiments.datasets import pixels
from experiments.datasets.layout import is_system, refuse, split_named
from experiments.datasets.pixels import Form
from experiments.datasets.source import COLOR_MODES, RESIZABLE, Options, Source, parse


@dataclass(frozen=True)
class Picture:
    """One image."""

    name: str  # its file, or its place in a data set
    truth: int | None  # index of its true label; None if unknown
    read: Callable[[], np.ndarray]  # uint8 (height, width[, channels]); raises ProjectError for a damaged file


def pictures_of(
    sources: Sequence[str], interface: Interface, form: Form, *, split: str
) -> tuple[list[Picture], list[str]]:
    """Return the pictures in files, folders and data sets, and notes on them for the user.

    Raises:
        UsageError: if a source does not exist, or its size or labels do not fit the file.
    """
    found: list[Picture] = []
    notes: list[str] = []
    for source in sources:
        path = Path(source).expanduser()
        if path.is_file():
            check_pictures(interface.input)
            found.append(Picture(source, None, partial(pixels.read, path, form)))
        elif path.is_dir() and not _holds_splits(path, interface):
            check_pictures(interface.input)
            found += _of_folder(path, interface, form, notes)
        else:
            name = f"{RESIZABLE}:{path}" if path.is_dir() else source
            if not path.is_dir() and parse(source) is None and not datasets.is_known(source):
                raise UsageError(f"There is no file, folder or data set {source!r}.")
            found += _of_dataset(name, interface, form, split, notes)
    if not found:
        raise UsageError(f"{', '.join(sources)}: no images were found ({', '.join(sorted(pixels.IMAGE_SUFFIXES))}).")
    return found, notes


def _holds_splits(folder: Path, interface: Interface) -> bool:
    """Return whether a folder is a data set: it, or the only folder in it, has subfolders for train, val or test."""
    inside = [entry for entry in folder.iterdir() if entry.is_dir() and not is_system(entry.name)]
    if any(split_named(entry.name) and entry.name not in interface.shown_labels for entry in inside):
        return True
    return len(inside) == 1 and _holds_splits(inside[0], interface)


def _of_folder(root: Path, interface: Interface, form: Form, notes: list[str]) -> Iterator[Picture]:
    """Yield all images below a folder; those in a folder named like a label have this label."""
    indices = {label: index for index, label in enumerate(interface.shown_labels)}
    unread: Counter[str] = Counter()
    unlabelled: Counter[str] = Counter()
    for place, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not is_system(name))
        parts = Path(place).relative_to(root).parts
        label = unicodedata.normalize("NFC", parts[0]) if parts else None
        truth = indices.get(label) if label is not None else None
        for name in sorted(name for name in files if not is_system(name)):
            file = Path(place, name)
            if file.suffix.lower() not in pixels.IMAGE_SUFFIXES:
                unread[file.suffix or "without an ending"] += 1
                continue
            if label is not None and truth is None:
                unlabelled[label] += 1
            yield Picture(str(file), truth, partial(pixels.read, file, form))
    if unread:
        notes.append(f"{root}: not read: {', '.join(f'{count:,} {kind}' for kind, count in sorted(unread.items()))}")
    if unlabelled:
        named = ", ".join(f"{label} ({count:,})" for label, count in sorted(unlabelled.items()))
        notes.append(f"{root}: no labels of the file, so their images do not count as right or wrong: {named}")


def _of_dataset(name: str, interface: Interface, form: Form, split: str, notes: list[str]) -> Iterator[Picture]:
    source = parse(name)
    if source and source.scheme == RESIZABLE:
        check_pictures(interface.input)
        name = str(_as_the_file_wants(source, form))
    dataset = datasets.load(name)
    notes += dataset.notes
    image = interface.input
    if dataset.input_shape != (image.height, image.width, image.channels):
        theirs = "x".join(map(str, dataset.input_shape))
        raise UsageError(
            f"{dataset.name} holds images of {theirs}; the file takes {image.height}x{image.width}x{image.channels}."
        )
    indices = {label: index for index, label in enumerate(interface.shown_labels)}
    unknown = [label for label in dataset.class_names if label not in indices]
    if unknown:
        raise UsageError(
            f"{dataset.name} has classes that are not labels of the file: {', '.join(unknown[:5])}. "
            f"The file's: {', '.join(interface.shown_labels[:5])}{', ...' * (len(indices) > 5)}."
        )
    part = {"train": dataset.train, "val": dataset.val}[split]
    for row, label in enumerate(part.labels.tolist()):
        shown = part.files[row] if part.files else f"{dataset.name} {split} #{row}"
        yield Picture(shown, indices[dataset.class_names[label]], partial(part.images.__getitem__, row))


def _as_the_file_wants(source: Source, form: Form) -> Source:
    mode = COLOR_MODES[form.mode == "RGB"]
    wanted = Options(image_size=form.size, color_mode=mode, fit=form.fit, background=form.background)
    return replace(source, path=source.path.expanduser().resolve(), options=wanted)
