"""How data in files are named: `folder:/my/images?image_size=24x32` for loading, `folder-images-24x32` for people."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from architectures.errors import UsageError

COLOR_MODES = ("grayscale", "rgb")  # as `keras.utils.image_dataset_from_directory` calls them
RESIZABLE = "folder"  # the scheme whose images may be resized and change their colours

_NAME_LENGTH = 100  # characters of a file's name that a title keeps
_TEXT = re.compile(
    r"(?P<scheme>[a-z][a-z0-9_]*):(?P<path>.+?)"
    r"(?:\?(?:image_size=(?P<height>[1-9]\d{0,3})x(?P<width>[1-9]\d{0,3}))?&?(?:color_mode=(?P<color_mode>grayscale|rgb))?)?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Source:
    """Files to read a data set from."""

    scheme: str  # the registered reader: folder, idx, npz
    path: Path
    image_size: tuple[int, int] | None = None  # height and width to resize to; None: as they are
    color_mode: str | None = None  # one of COLOR_MODES; None: as the files have it

    def __str__(self) -> str:
        """The text that `parse` reads."""
        options = []
        if self.image_size:
            options.append("image_size={}x{}".format(*self.image_size))
        if self.color_mode:
            options.append(f"color_mode={self.color_mode}")
        return f"{self.scheme}:{self.path}" + (f"?{'&'.join(options)}" if options else "")

    @property
    def title(self) -> str:
        """A name for experiments and models, without the place on this machine."""
        stem = self.path.name.removesuffix(f".{self.scheme}")
        parts = [self.scheme, re.sub(r"[^\w.]+", "-", stem)[:_NAME_LENGTH].strip("-")]
        if self.image_size:
            parts.append("{}x{}".format(*self.image_size))
        if self.color_mode:
            parts.append(self.color_mode)
        return "-".join(part for part in parts if part)


def parse(text: str) -> Source | None:
    """The files that a data set's name stands for; None where it is the name of a registered data set."""
    found = _TEXT.fullmatch(text)
    if not found:
        return None
    size = (int(found["height"]), int(found["width"])) if found["height"] else None
    return Source(found["scheme"], Path(found["path"]), size, found["color_mode"])


def title(text: str) -> str:
    """What experiments, registered models and studies of a data set are named after.

    >>> title("mnist5k"), title("folder:/data/road signs?image_size=24x32")
    ('mnist5k', 'folder-road-signs-24x32')
    """
    source = parse(text)
    return source.title if source else text


def located(text: str, image_size: tuple[int, int] | None = None, color_mode: str | None = None) -> str:
    """A data set's name with its options in it and its path absolute: what a run records.

    Raises:
        UsageError: for options that the data set does not take.
    """
    source = parse(text)
    if (image_size or color_mode) and (source is None or source.scheme != RESIZABLE):
        raise UsageError(
            f"--image-size and --color-mode are for --dataset {RESIZABLE}:DIR, not for {text}.{did_you_mean(text)}"
        )
    if source is None:
        return text
    return str(
        replace(
            source,
            path=source.path.expanduser().resolve(),
            image_size=image_size or source.image_size,
            color_mode=color_mode or source.color_mode,
        )
    )


def did_you_mean(text: str) -> str:
    """A sentence that names files of this name as a data set, for a person who forgot to say how to read them."""
    path = Path(text).expanduser()
    meant = None
    if text and path.is_dir():
        meant = "idx" if any(path.glob("*idx[13]-ubyte*")) else RESIZABLE
    elif path.suffix == ".npz" and path.is_file():
        meant = "npz"
    return f" Did you mean {meant}:{text}?" if meant else ""
