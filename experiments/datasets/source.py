"""Names of data in files: `folder:/my/images?image_size=24x32` for loading, `folder-images-24x32` for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from architectures.errors import UsageError

COLOR_MODES = ("grayscale", "rgb")  # the names in `keras.utils.image_dataset_from_directory`
RESIZABLE = "folder"  # the scheme whose images may be resized and converted
WHITE = "white"

Fit = Literal["crop", "pad", "squash"]  # the names that `experiments.datasets.pixels` implements
FITS: tuple[Fit, ...] = get_args(Fit)

_NAME_LENGTH = 100  # characters of a file's name in a title
_TEXT = re.compile(r"(?P<scheme>[a-z][a-z0-9_]*):(?P<path>.+)", re.DOTALL)


def image_size(text: str) -> tuple[int, int]:
    """Parse height and width.

    Raises:
        UsageError: for anything but HxW of 1 to 9,999 pixels.

    >>> image_size("24x32")
    (24, 32)
    """
    found = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if not found:
        raise UsageError(f"image size: {text!r} is not HEIGHTxWIDTH, as 28x28, each from 1 to 9999.")
    return int(found[1]), int(found[2])


def color_mode(text: str) -> str:
    return _one_of("color mode", text, COLOR_MODES)


def fit(text: str) -> str:
    return _one_of("fit", text, FITS)


def background(text: str) -> str:
    """Parse a colour: its name in CSS, or six hexadecimal digits.

    Raises:
        UsageError: for anything else.

    >>> background("White"), background("#FFF"), background("102030")
    ('white', 'white', '102030')
    """
    from PIL import ImageColor

    for spelled in (text, f"#{text}"):
        try:
            color = ImageColor.getrgb(spelled)
        except ValueError:
            continue
        if len(color) == 3:
            code = "{:02x}{:02x}{:02x}".format(*color)
            return next((name for name in (WHITE, "black") if ImageColor.getrgb(name) == color), code)
    raise UsageError(f"background: {text!r} is not a colour, such as white, black or 1e90ff.")


def _one_of(what: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise UsageError(f"{what}: {text!r} is none of {', '.join(allowed)}.")
    return text


_OPTIONS: dict[str, Callable[[str], object]] = {
    "image_size": image_size,
    "color_mode": color_mode,
    "fit": fit,
    "background": background,
}
_OPTION = rf"(?:{'|'.join(_OPTIONS)})=[^&]*"
_QUERY = re.compile(rf"(?P<path>.+?)\?(?P<query>{_OPTION}(?:&{_OPTION})*)", re.DOTALL)


@dataclass(frozen=True)
class Options:
    """How image files are converted to the images of a data set; None: the reader's default."""

    image_size: tuple[int, int] | None = None  # height and width of all images; None: unchanged
    color_mode: str | None = None  # one of COLOR_MODES; None: that of the files
    fit: str | None = None  # one of FITS: how to resize to `image_size`
    background: str | None = None  # colour of transparent pixels and of margins

    @property
    def any(self) -> bool:
        """Whether any option is given."""
        return self != Options()

    def over(self, others: Options) -> Options:
        """Return these options, and `others` for those that are not given."""
        return Options(**{name: ours if ours is not None else vars(others)[name] for name, ours in vars(self).items()})


DEFAULTS = Options(fit="crop", background=WHITE)


@dataclass(frozen=True)
class Source:
    """Files to read a data set from."""

    scheme: str  # the registered reader: folder, idx, npz
    path: Path
    options: Options = Options()

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        told = {name: value for name, value in vars(self.options).items() if value is not None}
        if self.options.image_size:
            told["image_size"] = "{}x{}".format(*self.options.image_size)
        query = "&".join(f"{name}={value}" for name, value in told.items())
        return f"{self.scheme}:{self.path}" + (f"?{query}" if query else "")

    @property
    def title(self) -> str:
        """A name for experiments and models, without the folder's path and default options."""
        stem = self.path.name.removesuffix(f".{self.scheme}")
        options = self.options
        parts: list[str | None] = [self.scheme, re.sub(r"[^\w.]+", "-", stem)[:_NAME_LENGTH].strip("-")]
        if options.image_size:
            parts.append("{}x{}".format(*options.image_size))
        parts.append(options.color_mode)
        parts.append(None if options.fit == DEFAULTS.fit else options.fit)
        parts.append(None if options.background == DEFAULTS.background else options.background)
        return "-".join(part for part in parts if part)


def parse(text: str) -> Source | None:
    """Return the files that a data set's name stands for; None for the name of a registered data set.

    Raises:
        UsageError: for an invalid value of an option.
    """
    found = _TEXT.fullmatch(text)
    if not found:
        return None
    path = found["path"]
    values: dict[str, Any] = {}
    if asked := _QUERY.fullmatch(path):
        path = asked["path"]
        for part in asked["query"].split("&"):
            name, _, value = part.partition("=")
            values[name] = _OPTIONS[name](value)
    return Source(found["scheme"], Path(path), Options(**values))


def title(text: str) -> str:
    """Return the title of a data set, which its experiments, registered models and studies are named after.

    >>> title("mnist5k"), title("folder:/data/road signs?image_size=24x32")
    ('mnist5k', 'folder-road-signs-24x32')
    """
    source = parse(text)
    return source.title if source else text


def reading_of(text: str) -> dict[str, str]:
    """Return fit and background of a data set in files, which runs and Core ML files record.

    >>> reading_of("mnist5k"), reading_of("folder:/data/pets?image_size=96x96&fit=pad")
    ({}, {'fit': 'pad', 'background': 'white'})
    """
    source = parse(text)
    if source is None or source.scheme != RESIZABLE:
        return {}
    options = source.options.over(DEFAULTS)
    return {"fit": str(options.fit), "background": str(options.background)}


def located(text: str, options: Options = Options()) -> str:
    """Return a data set's name with its options and an absolute path, as runs record it.

    Raises:
        UsageError: for options that the data set does not take.
    """
    source = parse(text)
    if source is None or source.scheme != RESIZABLE:
        if options.any:
            given = ", ".join(f"--{name.replace('_', '-')}" for name, value in vars(options).items() if value)
            raise UsageError(f"{given}: for --dataset {RESIZABLE}:DIR alone, not for {text}.{did_you_mean(text)}")
        if source is None:
            return text
        options = source.options
    else:
        options = options.over(source.options).over(DEFAULTS)
    return str(replace(source, path=source.path.expanduser().resolve(), options=options))


def did_you_mean(text: str) -> str:
    """Return a hint if the text is a path without a scheme; empty otherwise."""
    path = Path(text).expanduser()
    meant = None
    if text and path.is_dir():
        meant = "idx" if any(path.glob("*idx[13]-ubyte*")) else RESIZABLE
    elif path.suffix == ".npz" and path.is_file():
        meant = "npz"
    return f" Did you mean {meant}:{text}?" if meant else ""
