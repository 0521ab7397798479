"""Convert an image file to the pixels that a person sees: upright, in sRGB, opaque, fitted to a size.

Order of the steps: the file's first frame; its orientation (EXIF); its colour profile to sRGB; transparency on the
background; gray or RGB; size. A JPEG that becomes much smaller is decoded at a smaller size: libjpeg halves it as long
as three times the target size remains (Pillow's `reducing_gap`, from 3 on not visibly different from resizing all
pixels).
"""

from __future__ import annotations

import functools
import io
import shlex
import stat
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from PIL import Image, ImageCms, ImageColor, ImageOps
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import TiffImageFile

from architectures.errors import ProjectError
from experiments.datasets.source import WHITE, Fit

IMAGE_SUFFIXES = {  # of the files that are read, whatever their content: those of phones, cameras, scanners, the web
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png"),
    *(".tif", ".tiff", ".webp"),
}
GRAYSCALE = {"1", "L", "LA", "La"}  # Pillow's modes
COLORED = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
FRAMED = {"GIF", "PNG", "WEBP", "AVIF", "TIFF"}  # animations and pages; further frames of a JPEG are previews
TURNED = {5, 6, 7, 8}  # orientations that swap height and width
PROGRAMS = {"EPS"}  # PostScript: Pillow would run Ghostscript, whatever the file's name
UPRIGHT = {"TIFF", "HEIF"}  # formats whose size is already upright when they are opened
REDUCING_GAP = 3.0
MOST_PIXELS = 250_000_000  # of a file: a phone's photograph may have 200 million; a small file can claim far more
SHOWN = 5  # names of refused files besides the first
UNREADABLE = (  # the last two: damaged AVIF and HEIF files, and TIFF files that lack a tag
    *(OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, ImageCms.PyCMSError),
    *(RuntimeError, TypeError),
)
BROKEN_EXIF = (SyntaxError, ValueError, TypeError, KeyError, OverflowError, struct.error)
RESAMPLING = Image.Resampling.BILINEAR  # antialiased in Pillow


Read = TypeVar("Read")


@dataclass(frozen=True)
class Header:
    """The facts in a file's header, read before decoding."""

    size: tuple[int, int]  # height and width, upright
    mode: str  # Pillow's
    format: str  # Pillow's name: JPEG, PNG
    turned: bool  # by its EXIF orientation
    frames: int
    profile: str | None  # the name of its colour profile, if it is not sRGB

    @property
    def has_more_frames(self) -> bool:
        """Whether it has more frames than the first, which is read."""
        return self.frames > 1 and self.format in FRAMED

    @property
    def is_gray(self) -> bool:
        return self.mode in GRAYSCALE


@dataclass(frozen=True)
class Form:
    """The form that all images of a data set get."""

    size: tuple[int, int] | None  # height and width; None: as they are
    mode: str  # Pillow's: L or RGB
    fit: Fit = "crop"
    background: str = WHITE

    @property
    def color(self) -> tuple[int, int, int]:
        """The background's red, green and blue."""
        return color_of(self.background)


def color_of(background: str) -> tuple[int, int, int]:
    """Return red, green and blue of a colour, given its name or six hexadecimal digits."""
    try:
        found = ImageColor.getrgb(background)
    except ValueError:
        found = ImageColor.getrgb(f"#{background}")
    return found[:3]


@functools.cache
def _prepare_pillow() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None  # it warns of photographs from 89 megapixels on; MOST_PIXELS replaces it


def of_each(read_one: Callable[[Path], Read], files: Sequence[Path], pool: Executor) -> list[Read]:
    """Read each file, on all cores of a pool.

    Raises:
        ProjectError: of the first refused file, with the names of other refused ones.
    """

    def attempt(file: Path) -> Read | ProjectError:
        try:
            return read_one(file)
        except ProjectError as error:
            return error

    found: list[Read] = []
    refused: list[tuple[Path, ProjectError]] = []
    for file, one in zip(files, pool.map(attempt, files), strict=True):
        if isinstance(one, ProjectError):
            refused.append((file, one))
        else:
            found.append(one)
    if len(refused) > 1:
        others = [str(file) for file, _ in refused[1:]]
        shown = ", ".join(others[:SHOWN]) + ", ..." * (len(others) > SHOWN)
        raise ProjectError(f"{refused[0][1]} Other files are refused, too: {shown}") from refused[0][1]
    if refused:
        raise refused[0][1]
    return found


def header(file: Path) -> Header:
    """Read a file's header.

    Raises:
        ProjectError: if the file is not an image, or has more than 8 bits a component.
    """
    with _opened(file) as image:
        _check_depth(file, image)
        try:
            frames = getattr(image, "n_frames", 1)
        except UNREADABLE as error:
            raise _unreadable(file, error) from error
        orientation = _orientation(image)
        width, height = image.size
        if orientation in TURNED and image.format not in UPRIGHT:
            width, height = height, width
        return Header(
            (height, width),
            image.mode,
            image.format or "",
            orientation in range(2, 9),
            frames,
            _profile_name(image.info.get("icc_profile")),
        )


def read(file: Path, form: Form) -> np.ndarray:
    """Read the pixels of a file as uint8 (height, width[, 3]).

    Raises:
        ProjectError: if the file is not an image, is damaged, or has more than 8 bits a component.
    """
    with _opened(file) as image:
        _check_depth(file, image)
        try:
            return np.asarray(formed(image, form))
        except UNREADABLE as error:
            raise _unreadable(file, error) from error


def formed(image: Image.Image, form: Form) -> Image.Image:
    """Return an image, decoded or not, in a form."""
    if form.size:
        _draft(image, form.size)
    image.load()
    image = opaque(in_srgb(_upright(image)), form.color)
    image = image if image.mode == form.mode else image.convert(form.mode)  # otherwise Pillow would copy it
    return fitted(image, form) if form.size else image


def _draft(image: Image.Image, size: tuple[int, int]) -> None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size if that is still large enough in both directions."""
    least = int(REDUCING_GAP * max(size))  # in either orientation
    if min(image.size) > least:
        image.draft(None, (least, least))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF tag, or 1; this decodes nothing, while Pillow would decode a PNG to search its end."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    if image.format == "HEIF":  # pillow-heif has turned it already
        return image.info.get("original_orientation") or 1
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except BROKEN_EXIF:
        return 1


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(Base.Orientation, 1) != 1 else image
    except BROKEN_EXIF:  # viewers show it unrotated
        return image


def in_srgb(image: Image.Image) -> Image.Image:
    """Convert an image to sRGB; without a colour profile, or with a broken one, leave it unchanged."""
    profile = image.info.get("icc_profile")
    if not profile or _profile_name(profile) is None:
        return _from_lab(image) if image.mode == "LAB" else image
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode not in {"L", "RGB", "CMYK", "LAB"}:
        image = image.convert("L" if image.mode in GRAYSCALE else "RGB")
    try:
        converted = _transformed(image, _to_srgb(profile, image.mode))
    except ImageCms.PyCMSError:  # the profile is for another colour space: viewers ignore it
        converted = image
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def opaque(image: Image.Image, color: tuple[int, int, int]) -> Image.Image:
    """Return an image without transparency, on a background of one colour."""
    if not image.has_transparency_data:
        return image
    gray = image.mode in GRAYSCALE and len(set(color)) == 1
    beneath = Image.new("RGBA", image.size, (*color, 255))
    beneath.alpha_composite(image.convert("RGBA"))
    return beneath.convert("L" if gray else "RGB")


def fitted(image: Image.Image, form: Form) -> Image.Image:
    """Fit an image to the form's size: crop to its centre, pad it with margins, or squash it."""
    assert form.size
    size = form.size[::-1]
    if image.size == size:
        return image
    if form.fit == "crop":
        return ImageOps.fit(image, size, RESAMPLING)
    if form.fit == "pad":
        color = ImageColor.getcolor("#{:02x}{:02x}{:02x}".format(*form.color), image.mode)
        return ImageOps.pad(image, size, RESAMPLING, color=color)
    return image.resize(size, RESAMPLING)


@functools.lru_cache(maxsize=64)
def _profile_name(profile: bytes | None) -> str | None:
    """Return the name of a colour profile; None for no profile, a broken one, or sRGB."""
    if not profile:
        return None
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (OSError, ImageCms.PyCMSError):
        return None
    return None if name.lower().startswith("srgb") else name or "unnamed"


@functools.lru_cache(maxsize=64)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return _transformed(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    return cast(Image.Image, ImageCms.applyTransform(image, transform))  # None only if it works in place


def _opened(file: Path) -> Image.Image:
    _prepare_pillow()
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise ProjectError(f"{file} is not a file but a folder, a pipe or a device.")  # a pipe may never end
        image = Image.open(file)
    except UNREADABLE as error:
        raise _unreadable(file, error) from error
    if image.format in PROGRAMS:
        image.close()
        raise ProjectError(
            f"{file} is not a readable image: its content is a program ({image.format}), which is not run."
        )
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise ProjectError(
            f"{file} has {image.height:,}x{image.width:,} pixels: more than {MOST_PIXELS:,} are not read."
        )
    return image


def _unreadable(file: Path, error: Exception) -> ProjectError:
    return ProjectError(f"{file} is not a readable image: {str(error).rstrip('.')}.")


def _check_depth(file: Path, image: Image.Image) -> None:
    """Refuse more than 8 bits a component: Pillow truncates 16 bits in colour and clips them in gray."""
    raw = [str(tile.args) for tile in getattr(image, "tile", ())]
    deep = any(";16" in each and "BGR;16" not in each for each in raw)  # 5 or 6 bits a component: 16 a pixel
    if isinstance(image, TiffImageFile):  # its components may be stored in separate planes, each read as 8 bits
        deep = deep or max(image.tag_v2.get(Base.BitsPerSample, (1,))) > 8
    if deep or image.mode not in GRAYSCALE | COLORED:
        all_of_them = shlex.quote(f"{file.parent}/*{file.suffix}")  # a pattern that mogrify expands itself
        raise ProjectError(
            f"{file} has pixels of more than 8 bits a component ({image.mode}, {image.format}). Convert all such "
            f"files, which spreads their range over 8 bits: mogrify -auto-level -depth 8 {all_of_them}"
        )


def single_coloured(images: np.ndarray) -> np.ndarray:
    """Return which images (N, height, width[, channels]) have a single colour, as bool (N,)."""
    first = images[:, :1, :1]
    return (images == first).all(axis=tuple(range(1, images.ndim)))
