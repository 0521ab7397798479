"""A person's own pictures are read as they are seen, whatever wrote them, and what is not read is told."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps

from architectures.errors import ProjectError, UsageError
from experiments import datasets
from experiments.datasets import pixels
from experiments.datasets.pixels import IMAGE_SUFFIXES, Form
from experiments.evaluation.metrics import evaluate
from tests.support import profiles
from tests.support.photographs import RNG, SIDE, images_of, load, picture, write


def read(file: Path, **form: object) -> np.ndarray:
    return pixels.read(file, Form(**({"size": None, "mode": "RGB"} | form)))


WRITERS: dict[str, str] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".apng": "PNG",
    ".bmp": "BMP",
    ".dib": "DIB",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
}


def test_every_format_is_read(tmp_path: Path) -> None:
    assert set(WRITERS) == IMAGE_SUFFIXES
    pillow_heif.register_heif_opener()
    write(tmp_path, 3)
    smooth = Image.fromarray(np.linspace(0, 255, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3).astype(np.uint8))
    for suffix, writer in WRITERS.items():
        smooth.save(tmp_path / "top" / f"smooth{suffix}", writer)
        smooth.save(tmp_path / "top" / f"LOUD{suffix.upper()}", writer)
    dataset = load(tmp_path)
    found = images_of(dataset)
    assert len(found) == 6 + 2 * len(WRITERS)
    for suffix in WRITERS:
        difference = np.abs(found[f"top/smooth{suffix}"].astype(int) - np.asarray(smooth)).mean()
        assert difference < 12, suffix
    assert not any("not read" in note for note in dataset.notes)


def test_a_suffix_that_lies_is_read_by_content(tmp_path: Path) -> None:
    write(tmp_path)
    shown = picture(0)
    shown.save(tmp_path / "top" / "lie.jpg", "PNG")
    assert np.array_equal(images_of(load(tmp_path))["top/lie.jpg"], np.asarray(shown))


def test_postscript_is_not_run_whatever_it_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    picture(0).save(file, "EPS")
    for asked in (pixels.header, read):
        with pytest.raises(ProjectError, match=r"x\.jpg is not a readable image: its content is a program \(EPS\)"):
            asked(file)


ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_turned_as_the_camera_was_held(orientation: int, suffix: str, tmp_path: Path) -> None:
    seen = picture(0, size=(12, 20))
    tag = Image.Exif()
    tag[0x0112] = orientation
    file = tmp_path / f"turned{suffix}"
    lossless = {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": 0}
    seen.transpose(ORIENTATIONS[orientation]).save(file, exif=tag, **(lossless if suffix != ".tif" else {}))
    header = pixels.header(file)
    assert header.size == (12, 20)
    assert header.turned
    difference = np.abs(read(file).astype(int) - np.asarray(seen))
    assert difference.max() <= (16 if suffix == ".jpg" else 0)


def test_a_phone_s_heic_is_told_as_turned(tmp_path: Path) -> None:
    """Its container turns it, and so does pillow-heif: the EXIF tag is not applied twice."""
    pillow_heif.register_heif_opener()
    seen = Image.new("RGB", (20, 12), "red")
    seen.paste("blue", (0, 6, 20, 12))
    tag = Image.Exif()
    tag[0x0112] = 6
    file = tmp_path / "turned.heic"
    seen.transpose(ORIENTATIONS[6]).save(file, exif=tag.tobytes(), quality=95)
    header = pixels.header(file)
    assert header.size == (12, 20)
    assert header.turned
    assert read(file)[2, 5].argmax() == 0
    assert read(file)[9, 15].argmax() == 2


DAMAGE = {  # the box that names the image, and the type of the offset at which it begins
    "AVIF": (b"pitm", b"none"),
    "TIFF": (struct.pack("<HH", 273, 4), struct.pack("<HH", 273, 2)),
}


@pytest.mark.parametrize("format_name", DAMAGE)
def test_damage_of_any_kind_is_told_with_the_file_s_name(format_name: str, tmp_path: Path) -> None:
    pillow_heif.register_heif_opener()
    file = tmp_path / "x.jpg"
    picture(0, size=(64, 72)).save(file, format_name)
    sound, damaged = DAMAGE[format_name]
    assert sound in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(sound, damaged))
    with pytest.raises(ProjectError, match=r"x\.jpg is not a readable image: "):
        read(file)


def claiming(height: int, width: int) -> bytes:
    """A small PNG that says it is large, and is truncated."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def test_a_phone_s_largest_photograph_is_read_and_a_bomb_is_not(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(claiming(12_240, 16_320))  # 200 megapixels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels.header(file).size == (12_240, 16_320)
    file.write_bytes(claiming(50_000, 50_000))
    for asked in (pixels.header, read):
        with pytest.raises(
            ProjectError, match=r"x\.png has 50,000x50,000 pixels: more than 250,000,000 are not read\."
        ):
            asked(file)


def test_a_broken_exif_is_no_broken_image(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    picture(0).save(file, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read(file).shape == (SIDE, SIDE, 3)
    assert not pixels.header(file).turned


@pytest.mark.parametrize("primaries", [profiles.DISPLAY_P3, profiles.ADOBE_RGB], ids=["Display P3", "Adobe RGB"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_profiles_become_srgb(primaries: tuple[tuple[float, ...], ...], mode: str, tmp_path: Path) -> None:
    values = RNG.integers(0, 256, (8, 8, 3), np.uint8)
    shown = Image.fromarray(values)
    shown = shown.quantize(64) if mode == "P" else shown.convert(mode)
    values = np.asarray(shown.convert("RGB"))
    profile = profiles.profile(primaries, b"a wide display")
    shown.save(tmp_path / "wide.png", icc_profile=profile)
    assert pixels.header(tmp_path / "wide.png").profile == "a wide display"
    found = read(tmp_path / "wide.png").astype(int)
    assert np.abs(found - profiles.as_srgb(values, primaries)).max() <= 2
    assert np.abs(found - values).max() > 10
    shown.save(tmp_path / "same.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.array_equal(read(tmp_path / "same.png"), values)


def test_a_profile_of_lab_becomes_srgb(tmp_path: Path) -> None:
    """Lightness 53, a 80, b 67 is sRGB's red."""
    lab = np.zeros((SIDE, SIDE, 3), np.uint8)
    lab[:] = (round(53.24 * 2.55), 80, 67)
    Image.fromarray(lab, "LAB").save(tmp_path / "x.tif")
    assert np.abs(read(tmp_path / "x.tif")[0, 0].astype(int) - (255, 0, 0)).max() < 12


def test_a_broken_profile_is_shown_without(tmp_path: Path) -> None:
    shown = picture(0)
    shown.save(tmp_path / "x.png", icc_profile=b"nothing of the kind")
    assert np.array_equal(read(tmp_path / "x.png"), np.asarray(shown))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L and a transparent gray", "RGB and a transparent colour"])
def test_transparency_lies_on_the_background(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "icon.png"
    if " " in mode:
        icon = Image.new(mode.split()[0], (SIDE, SIDE), 0)
        icon.paste(Image.new(icon.mode, (4, 4), "white"), (2, 2))
        icon.save(file, transparency=255 if icon.mode == "L" else (255, 255, 255))
        seen = np.asarray(icon.convert("L")) == 0
    else:
        values = np.zeros((SIDE, SIDE, 4), np.uint8)
        values[2:6, 2:6, 3] = 255
        icon = Image.fromarray(values)
        (icon.quantize(4) if mode == "P" else icon.convert(mode)).save(file)
        seen = values[..., 3] == 255
    for background, expected in (("white", (255, 255, 255)), ("102030", (16, 32, 48))):
        found = read(file, background=background)
        assert np.abs(found[~seen].astype(int) - expected).max() <= 1
        assert np.abs(found[seen].astype(int)).max() <= 1


def test_icons_are_told_apart_by_their_shape_and_the_background_is_recorded(tmp_path: Path) -> None:
    for label, name in enumerate(("left", "right")):
        (tmp_path / name).mkdir()
        for number in range(12):
            values = np.zeros((SIDE, SIDE, 4), np.uint8)
            values[number : number + 3, 8 * label : 8 * label + 6, 3] = 255
            Image.fromarray(values).save(tmp_path / name / f"{number}.png")
    white, gray = load(tmp_path), load(tmp_path, background="808080")
    assert min(image.min() for image in images_of(white).values()) == 0
    assert white.notes == ()
    assert gray.digest != white.digest
    assert gray.name.endswith("-808080")
    with pytest.raises(ProjectError, match=r"has 0 training images that are no copies of others \(12 with these\)"):
        load(tmp_path, background="black")
    assert datasets.located(f"folder:{tmp_path}").endswith("?fit=crop&background=white")


def sixteen_bit_png(channels: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + bytes(2 * channels * SIDE) for _ in range(SIDE))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_tiff(mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (SIDE, SIDE)).save(buffer, "TIFF")
    return buffer.getvalue()


def planar_tiff() -> bytes:
    """16 bits of red, then of green, then of blue, which Pillow reads as 8 bits of each."""
    plane, start = 2 * SIDE * SIDE, 8 + 2 + 10 * 12 + 4
    longs = struct.pack("<3I", *(start + 30 + plane * number for number in range(3))) + struct.pack("<3I", *[plane] * 3)
    short, long = 3, 4
    entries = (
        *((256, long, 1, SIDE), (257, long, 1, SIDE), (258, short, 3, start + 24), (259, short, 1, 1)),
        *((262, short, 1, 2), (273, long, 3, start), (277, short, 1, 3), (278, long, 1, SIDE)),
        *((279, long, 3, start + 12), (284, short, 1, 2)),
    )
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II" + struct.pack("<HIH", 42, 8, len(entries)) + table + bytes(4)
    return head + longs + struct.pack("<3H", 16, 16, 16) + bytes(3 * plane)


def test_sixteen_bits_a_pixel_are_read(tmp_path: Path) -> None:
    """Five or six bits a component, as small displays have them."""
    red = struct.pack("<H", 0b11111_000000_00000) * SIDE * SIDE
    head = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 16, 3, len(red), 0, 0, 0, 0)
    masks = struct.pack("<III", 0b11111 << 11, 0b111111 << 5, 0b11111)
    start = 14 + len(head) + len(masks)
    (tmp_path / "x.bmp").write_bytes(b"BM" + struct.pack("<IHHI", start + len(red), 0, 0, start) + head + masks + red)
    assert read(tmp_path / "x.bmp")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", [1, 2, 3, 4, "I;16", "I", "F", "planes"])
def test_more_than_8_bits_are_refused_alike(kind: int | str, tmp_path: Path) -> None:
    write(tmp_path, suffix=".tif")
    content = sixteen_bit_png(kind) if isinstance(kind, int) else planar_tiff() if kind == "planes" else deep_tiff(kind)
    (tmp_path / "top" / "00.tif").write_bytes(content)
    with pytest.raises(
        ProjectError, match=r"00.tif has pixels of more than 8 bits .*mogrify -auto-level -depth 8 '.*/top/\*\.tif'"
    ):
        load(tmp_path)


def test_fits(tmp_path: Path) -> None:
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:30] = 200
    file = tmp_path / "wide.png"
    Image.fromarray(wide).save(file)
    crop, pad, squash = (read(file, size=(10, 10), fit=fit) for fit in ("crop", "pad", "squash"))
    assert crop[:, 1:-1].min() == 200  # the centre alone
    assert pad[[0, -1]].min() == 255  # margins above and below
    assert (pad[5, 0].max(), pad[5, 5].min()) == (0, 200)
    assert (squash[:, 0].max(), squash[:, 5].min()) == (0, 200)
    gray = read(file, size=(10, 10), fit="pad", mode="L", background="black")
    assert gray.shape == (10, 10)
    assert gray[0].max() == 0


def test_the_fit_is_part_of_what_is_recorded(tmp_path: Path) -> None:
    write(tmp_path)
    picture(0, size=(SIDE, 2 * SIDE)).save(tmp_path / "top" / "wide.png")
    digests = {fit: load(tmp_path, image_size=(SIDE, SIDE), fit=fit).digest for fit in datasets.FITS}
    assert len(set(digests.values())) == 3
    assert load(tmp_path, image_size=(SIDE, SIDE)).digest == digests["crop"]
    with pytest.raises(UsageError, match="fit: 'stretch' is none of crop, pad, squash"):
        datasets.load(f"folder:{tmp_path}?image_size=8x8&fit=stretch")
    with pytest.raises(UsageError, match="background: 'sky' is not a colour"):
        datasets.load(f"folder:{tmp_path}?background=sky")


def test_a_photograph_that_is_decoded_smaller_looks_the_same(tmp_path: Path) -> None:
    smooth = np.add.outer(np.linspace(0, 120, 1200), np.linspace(0, 120, 1600)).astype(np.uint8)
    file = tmp_path / "large.jpg"
    Image.fromarray(smooth).convert("RGB").save(file, quality=95)
    with Image.open(file) as image:
        whole = np.asarray(ImageOps.fit(image, (60, 40), Image.Resampling.BILINEAR))
    assert np.abs(read(file, size=(40, 60)).astype(int) - whole).max() <= 2


def test_animations_are_read_by_their_first_frame(tmp_path: Path) -> None:
    write(tmp_path)
    frames = [Image.new("RGB", (SIDE, SIDE), color) for color in ("red", "blue")]
    suffixes = (".gif", ".apng", ".webp", ".tif")  # a scan of several pages, too
    for suffix in suffixes:
        frames[0].save(
            tmp_path / "top" / f"moving{suffix}",
            "PNG" if suffix == ".apng" else None,
            save_all=True,
            append_images=frames[1:],
        )
    dataset = load(tmp_path)
    assert all(images_of(dataset)[f"top/moving{suffix}"][0, 0, 0] > 240 for suffix in suffixes)
    assert any(note.startswith("the first frame is read of 4 images (") for note in dataset.notes)


def test_images_of_one_colour_are_told(tmp_path: Path) -> None:
    write(tmp_path)
    Image.new("RGB", (SIDE, SIDE), "red").save(tmp_path / "top" / "red.png")
    assert load(tmp_path).notes == ("top/red.png is of a single colour",)


def test_mistakes_have_the_names_of_their_files(tmp_path: Path) -> None:
    dataset = load(write(tmp_path))
    answers = np.eye(2, dtype=np.float32)[1 - dataset.val.labels]
    found = evaluate(answers, dataset.val.labels, dataset.class_names, dataset.val.files)
    assert {mistake.name for mistake in found.mistakes} == set(dataset.val.files or ())
    assert {mistake.name[:3] for mistake in found.mistakes} == {"bot", "top"}
    nameless = evaluate(answers, dataset.val.labels, dataset.class_names)
    assert {mistake.name for mistake in nameless.mistakes} == {f"#{row}" for row in range(len(dataset.val))}
