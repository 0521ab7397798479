"""The places of images in a data set, and which images exist more than once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN = 3  # names of copies in a note


@dataclass(frozen=True)
class ImagePlace:
    """The place of an image in a data set."""

    split: str
    row: int
    label: int
    file: str  # empty if it has none

    def __str__(self) -> str:
        return self.file or f"{self.split} {self.row}"

    def as_json(self, class_names: Sequence[str]) -> dict[str, object]:
        return {"split": self.split, "row": self.row, "class": class_names[self.label], "file": self.file}


@dataclass(frozen=True)
class Copies:
    """The images of a data set that exist more than once, each with all its places."""

    groups: tuple[tuple[ImagePlace, ...], ...]

    @property
    def across_splits(self) -> tuple[tuple[ImagePlace, ...], ...]:
        """The images in more than one split: leaks."""
        return tuple(group for group in self.groups if len({place.split for place in group}) > 1)

    @property
    def across_classes(self) -> tuple[tuple[ImagePlace, ...], ...]:
        """The images with more than one label."""
        return tuple(group for group in self.groups if len({place.label for place in group}) > 1)

    @property
    def notes(self) -> list[str]:
        """Return remarks for the user, a sentence each."""
        kinds = (
            ("of several classes", self.across_classes),
            ("in several splits", self.across_splits),
        )
        told = []
        if self.groups:
            more = sum(len(group) - 1 for group in self.groups)
            told.append(f"{_images(more)} a copy of another: {_named(self.groups)}")
        told += [f"{_images(len(groups))} {kind}: {_named(groups)}" for kind, groups in kinds if groups]
        return told


def _images(count: int) -> str:
    return f"{count:,} image{'s are' if count != 1 else ' is'}"


def _named(groups: Sequence[Sequence[ImagePlace]]) -> str:
    named = [" = ".join(map(str, group)) for group in groups[:SHOWN]]
    return ", ".join(named) + (", ..." if len(groups) > SHOWN else "")
