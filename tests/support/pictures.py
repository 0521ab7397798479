"""The golden pictures: photographs, and what a model is given of each.  Run: python -m tests.support.pictures

Pillow turns, converts and resizes them; the Swift package is held to every pixel. A picture is a formula, which both
languages compute, so that twelve megapixels take a line of the file.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from experiments.datasets.pixels import Form, formed
from experiments.datasets.source import FITS, Fit

FILE = Path(__file__).parents[2] / "ios/DigitKit/Tests/DigitKitTests/golden-pictures.json"
COUNT = 200
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Display P3 as Apple's own profile has it: colorants in D50, sRGB's curve (ICC.1:2010, parametric function 3).
COLORANTS = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


@dataclass(frozen=True)
class Picture:
    """A stored picture and the image that is wanted of it."""

    width: int
    height: int
    channels: int  # 1 gray, 3 RGB, 4 RGBA
    seed: int  # of its pixels
    orientation: int  # EXIF's
    space: str  # sRGB or displayP3
    target: tuple[int, int]  # width, height
    colors: str  # gray or rgb
    fit: Fit
    background: str = "white"

    @property
    def name(self) -> str:
        told = (
            "{width}x{height}x{channels} seed {seed}, turned {orientation}, {space}, {fit} to {target} on {background}"
        )
        return told.format(**asdict(self))


def pixels(picture: Picture) -> np.ndarray:
    """The stored pixels, (height, width, channels): slopes, noise and checks, by the seed."""
    y, x, c = np.ogrid[: picture.height, : picture.width, : picture.channels]
    index = ((y * picture.width + x) * picture.channels + c).astype(np.uint32)
    noise = index * np.uint32(2654435761) + np.uint32(picture.seed * 2246822519 % 2**32)
    noise ^= noise >> np.uint32(15)
    noise *= np.uint32(2246822519)
    noise ^= noise >> np.uint32(13)
    noises = (noise & np.uint32(255)).astype(np.int64)
    slope = x * 255 * (c + 1) // max(picture.width - 1, 1) + y * 255 * (picture.seed % 3 + 1) // max(
        picture.height - 1, 1
    )
    slope = 255 - abs(slope % 511 - 255)
    checks = ((x // 3 + y // 2) % 2) * 255 + 0 * c
    kind = picture.seed % 4
    return ((slope * 3 + noises) // 4 if kind == 0 else (noises, checks, slope)[kind - 1]).astype(np.uint8)


def fitted(picture: Picture) -> np.ndarray:
    """What a model is given: as a data set reads a file of these pixels."""
    stored = pixels(picture)
    image = Image.fromarray(stored[:, :, 0] if picture.channels == 1 else stored, MODES[picture.channels])
    image.getexif()[ExifTags.Base.Orientation] = picture.orientation
    if picture.space == "displayP3":
        image.info["icc_profile"] = display_p3()
    form = Form(picture.target[::-1], "L" if picture.colors == "gray" else "RGB", picture.fit, picture.background)
    return np.asarray(formed(image, form))


def display_p3() -> bytes:
    """The colour profile of an iPhone's photographs, as far as a conversion needs it."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.82491)}
    for color, colorant in zip(b"rgb", COLORANTS, strict=True):
        tags[bytes([color]) + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*colorant)
        tags[bytes([color]) + b"TRC"] = b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + fixed(*CURVE)
    start = 128 + 4 + 12 * len(tags)
    starts = itertools.accumulate(map(len, tags.values()), initial=start)
    table = b"".join(
        name + struct.pack(">II", place, len(value)) for (name, value), place in zip(tags.items(), starts, strict=False)
    )
    body = struct.pack(">I", len(tags)) + table + b"".join(tags.values())
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"", 0x04000000, b"mntr", b"RGB ", b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp"
    return (head.ljust(68, b"\0") + fixed(0.9642, 1.0, 0.82491)).ljust(128, b"\0") + body


def pictures() -> list[Picture]:
    """All golden pictures: those that are at an edge, then any."""
    plain = Picture(40, 30, 3, 0, 1, "sRGB", (12, 12), "rgb", "crop")
    found = [
        *(Picture(**{**asdict(plain), "orientation": turn, "seed": turn}) for turn in range(1, 9)),
        *(Picture(1, 1, channels, 5, 1, "sRGB", (7, 5), "rgb", fit) for channels in (1, 3, 4) for fit in FITS),
        Picture(4032, 3024, 3, 0, 6, "displayP3", (32, 32), "rgb", "crop"),  # as an iPhone stores it
        *(
            Picture(w, h, 3, 1, 1, "sRGB", (9, 9), "gray", fit)
            for w, h in ((1, 300), (300, 1), (999, 2))
            for fit in FITS
        ),
        *(Picture(12, 12, 1, seed, 1, "sRGB", (12, 12), "gray", "squash") for seed in range(4)),
    ]
    draw = random.Random(23)
    while len(found) < COUNT:
        channels = draw.choice((1, 3, 3, 4))
        found.append(
            Picture(
                width=draw.randint(2, 160),
                height=draw.randint(2, 160),
                channels=channels,
                seed=draw.randint(0, 10**6),
                orientation=draw.choice((1, 1, 3, 6, 8, draw.randint(1, 8))),
                space="displayP3" if channels > 1 and draw.random() < 0.3 else "sRGB",
                target=(draw.randint(1, 20), draw.randint(1, 20)) if draw.random() < 0.5 else (16, 16),
                colors=draw.choice(("gray", "rgb", "rgb")),
                fit=draw.choice(FITS),
                background=draw.choice(("white", "white", "black", "1e90ff")),
            )
        )
    return found


def content() -> str:
    """The golden file, a line per picture."""
    lines = [
        json.dumps(
            {"name": picture.name, **asdict(picture), "pixels": base64.b64encode(fitted(picture).tobytes()).decode()}
        )
        for picture in pictures()
    ]
    return '{"pictures": [\n' + ",\n".join(lines) + "\n]}\n"


def main() -> None:
    FILE.write_text(content())


if __name__ == "__main__":
    main()
