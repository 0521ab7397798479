"""Find out which files of a folder are images of which class and split, and which are not read.

The classes are in the folder itself, or in folders for train, val and test, in any spelling. System files are skipped
and counted, and so are all other files that are not read.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from architectures.errors import ProjectError
from experiments.datasets.pixels import IMAGE_SUFFIXES
from experiments.datasets.registry import SPLITS

SPELLINGS = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "dev"},
    "test": {"test", "testing", "tst"},
}
UNLABELLED = {"pred", "prediction", "predict"}  # the test split if it has classes and no other exists
BESIDE = {"data", "dataset", "image", "images", "img", "imgs", "photos", "pictures", "seg", "set", "split"}
SYSTEM = {  # in addition to names that begin with a dot
    *("@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "__macosx", "lost+found"),
    *("system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
SYSTEM_ENDS = (":zone.identifier", "zone.identifier", "@synoeastream", "@synoresource", "~")


@dataclass
class Layout:
    """The images of a folder by split and class, and counts of other files."""

    root: Path
    files: dict[str, dict[str, list[Path]]] = field(default_factory=dict)
    unread: Counter[str] = field(default_factory=Counter)  # files of other kinds, by their ending
    skipped: int = 0  # hidden and system files and folders
    nested: int = 0  # images in subfolders of their class
    remarks: list[str] = field(default_factory=list)

    @property
    def class_names(self) -> list[str]:
        return sorted(self.files["train"])

    @property
    def notes(self) -> list[str]:
        """Return remarks for the user, a sentence each."""
        told = list(self.remarks)
        if self.unread:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.unread.items()))
            told.append(f"{_files(self.unread.total())} not read: {kinds}")
        if self.skipped:
            told.append(f"{self.skipped:,} hidden or system files and folders skipped")
        if self.nested:
            many = f"{self.nested:,} images are in subfolders of their class, and belong to it"
            told.append(many if self.nested > 1 else "1 image is in a subfolder of its class, and belongs to it")
        return told


def layout(root: Path) -> Layout:
    """Find the images of a folder.

    Raises:
        ProjectError: if it is not clear which images are of which class.
    """
    found = Layout(root)
    for split, folder in _split_folders(root, found).items():
        found.files[split] = _classes(folder, found)
    names = found.class_names
    for split, classes in found.files.items():
        if sorted(classes) != names:
            lacking, more = sorted(set(names) - set(classes)), sorted(set(classes) - set(names))
            said = [f"lacks {', '.join(lacking)}"] * bool(lacking) + [f"has also {', '.join(more)}"] * bool(more)
            raise ProjectError(f"{root}: the classes of train and {split} differ: {split} {' and '.join(said)}.")
    return found


def split_named(name: str) -> str | None:
    """Return the split that a folder's name stands for.

    >>> [split_named(name) for name in ("Training", "seg_test", "valid-images", "trains", "pred")]
    ['train', 'test', 'val', None, None]
    """
    words = _words(name)
    splits = [split for split, spellings in SPELLINGS.items() if words and words <= spellings]
    return splits[0] if splits else None


def _words(name: str) -> set[str]:
    """Return the words of a folder's name without meaningless ones: "Train-Images" and "trainset" are train."""
    bare = (re.sub(rf"(?<=.)(?:{'|'.join(BESIDE)})$", "", word) for word in re.findall(r"[^\W\d_]+", name.lower()))
    return set(bare) - BESIDE


def is_system(name: str) -> bool:
    """Return whether a file or folder is hidden or belongs to the operating system.

    >>> [is_system(name) for name in (".ipynb_checkpoints", "Thumbs.db", "a.jpg:Zone.Identifier", "a.jpg")]
    [True, True, True, False]
    """
    return name[:1] == "." or name.lower() in SYSTEM or name.lower().endswith(SYSTEM_ENDS)


def _split_folders(root: Path, found: Layout) -> dict[str, Path]:
    """Return the folders that contain the classes, by split."""
    folders = _subfolders(root)
    while len(folders) == 1 and not split_named(*folders) and not _images_in(*folders.values()):
        _subfolders(root, found)  # counts other files there
        (root,) = folders.values()  # an archive's folder in a folder with the same name
        folders = _subfolders(root)
    splits = {name: split for name in folders if (split := split_named(name))}
    others = sorted(folders.keys() - splits.keys())
    if not splits:
        return {"train": root}
    flat = [name for name in splits if not _subfolders(folders[name]) and _images_in(folders[name])]
    if others and len(flat) == len(splits):
        hold = "hold" if len(splits) > 1 else "holds"
        found.remarks.append(
            f"{' and '.join(sorted(splits))} {hold} images next to {', '.join(others)}: read as classes"
        )
        return {"train": root}
    predicted = [name for name in others if (words := _words(name)) and words <= UNLABELLED]
    for name in predicted:
        others.remove(name)
        if "test" not in splits.values() and _subfolders(folders[name]):
            splits[name] = "test"
        else:
            found.remarks.append(f"{_count(folders[name])} images in {name} not read: they have no class")
    if others:
        raise ProjectError(
            f"{root} holds {', '.join(others)} next to {', '.join(sorted(splits))}: it has to hold either train, val "
            f"and test, or a folder per class. Put a class of such a name into the folder of its split: train/train."
        )
    for split in SPLITS:
        if len(same := sorted(name for name in splits if splits[name] == split)) > 1:
            raise ProjectError(f"{root} holds {' and '.join(same)}: which of them is {split}?")
    if "train" not in splits.values():
        raise ProjectError(f"{root} holds {' and '.join(sorted(splits))}, but no train.")
    _subfolders(root, found)  # counts other files there
    parts = {}
    for split, name in sorted((split, name) for name, split in splits.items()):
        folder = folders[name]
        while len(within := _subfolders(folder)) == 1 and split_named(*within) == split:
            (folder,) = within.values()
        if not within and split != "train":
            found.remarks.append(f"{_count(folder)} images in {name} not read: they have no class")
        else:
            parts[split] = folder
    return {split: parts[split] for split in SPLITS if split in parts}


def _classes(folder: Path, found: Layout) -> dict[str, list[Path]]:
    """Return the image files of each class, sorted."""
    folders = _subfolders(folder, found)
    if not folders:
        raise ProjectError(f"{folder} holds no folders: one per class is expected, with its images.")
    _check_depth(folder, folders)
    classes: dict[str, list[Path]] = {}
    for name, path in sorted(folders.items()):
        classes.setdefault(unicodedata.normalize("NFC", name), []).extend(_images(path, found))
    if empty := sorted(name for name, files in classes.items() if not files):
        raise ProjectError(
            f"{folder}: class {empty[0]!r} is empty: no {', '.join(sorted(IMAGE_SUFFIXES))} in its folder."
        )
    return classes


def _check_depth(folder: Path, folders: dict[str, Path]) -> None:
    """Raise ProjectError if all folders contain the same folders of images, because these are hardly classes."""
    within = [{name for name, path in _subfolders(each).items() if _count(path)} for each in folders.values()]
    if len(folders) > 1 and len(within[0]) > 1 and all(names == within[0] for names in within):
        outer, inner = ", ".join(sorted(folders)), ", ".join(sorted(within[0]))
        raise ProjectError(
            f"{folder}: each of {outer} holds the folders {inner}. Which are the classes? Put the images of a class "
            f"into one folder with its name, next to those of the other classes."
        )


def _images(folder: Path, found: Layout) -> list[Path]:
    images = []
    for place, names, files in os.walk(folder, onerror=refuse):
        shown = [name for name in names if not is_system(name)]
        found.skipped += len(names) - len(shown)
        found.unread["links to folders"] += sum(os.path.islink(Path(place, name)) for name in shown)
        names[:] = shown
        for name in files:
            if is_system(name):
                found.skipped += 1
            elif Path(name).suffix.lower() in IMAGE_SUFFIXES:
                images.append(Path(place, name))
                found.nested += place != str(folder)
            else:
                found.unread[_ending(name)] += 1
    found.unread += Counter()  # removes counts of zero
    return sorted(images)


def refuse(error: OSError) -> NoReturn:
    """Raise ProjectError from `os.walk`, which would skip a folder that it cannot list."""
    raise ProjectError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _subfolders(path: Path, found: Layout | None = None) -> dict[str, Path]:
    """Return the folders in a folder by name, without the system's; `found`, if given, counts everything else."""
    folders = {}
    for entry in path.iterdir():
        if is_system(entry.name):
            if found:
                found.skipped += 1
            continue
        if entry.is_symlink() and not entry.exists():
            raise ProjectError(f"{entry} is a broken link.")
        if entry.is_dir():
            if any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in entry.name):  # control, or no character
                raise ProjectError(f"{path} holds a folder {entry.name!r}: class names must be printable.")
            folders[entry.name] = entry
        elif found:
            found.unread[_ending(entry.name)] += 1
    return folders


def _images_in(folder: Path) -> bool:
    return any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in folder.iterdir() if not is_system(entry.name))


def _count(folder: Path) -> int:
    """Return the number of images in a folder and its subfolders."""
    return len(_images(folder, Layout(folder)))


def _ending(name: str) -> str:
    """Return the key for counting unread files: the suffix, or two if the first is an image's (.tif.part)."""
    suffixes = Path(name).suffixes
    told = suffixes[-2:] if len(suffixes) > 1 and suffixes[-2].lower() in IMAGE_SUFFIXES else suffixes[-1:]
    return "".join(told) or "without an ending"


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"
