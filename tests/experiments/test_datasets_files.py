"""Data sets in a person's own files: what is read, how it is split and named, and a clear line for what is wrong."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from architectures.errors import ProjectError, UsageError
from experiments import datasets
from experiments.datasets import Options

SIDES = (6, 4)  # height and width


def pictures(count: int, *, seed: int = 0, channels: tuple[int, ...] = ()) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *SIDES, *channels), dtype=np.uint8)


def labels(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8) % 3


def write_idx(file: Path, array: np.ndarray, *, zipped: bool = False) -> None:
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    file.write_bytes(gzip.compress(content) if zipped else content)


@pytest.fixture
def mnist_like(tmp_path: Path) -> Path:
    for prefix, count, seed in (("train", 36, 1), ("t10k", 6, 2)):
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte", pictures(count, seed=seed))
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", labels(count), zipped=True)
    return tmp_path


def test_idx(mnist_like: Path) -> None:
    loaded = datasets.load(f"idx:{mnist_like}")
    assert [len(loaded.train), len(loaded.val), len(loaded.test)] == [33, 3, 6]
    assert loaded.input_shape == (*SIDES, 1)
    assert loaded.class_names == ("0", "1", "2")
    assert np.array_equal(loaded.test.images[..., 0], pictures(6, seed=2))
    assert sorted(loaded.val.labels) == [0, 1, 2]
    whole = sorted(image.tobytes() for image in pictures(36, seed=1))
    assert sorted(image.tobytes() for split in (loaded.train, loaded.val) for image in split.images) == whole
    plain, zipped = mnist_like / "train-images-idx3-ubyte", mnist_like / "train-images.idx3-ubyte.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert datasets.load(f"idx:{mnist_like}").digest == loaded.digest
    write_idx(zipped, pictures(36, seed=3))
    assert datasets.load(f"idx:{mnist_like}").digest != loaded.digest


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"
IDX_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (lambda path: ((path / IMAGES).unlink(), os.mkfifo(path / IMAGES)), "not a file but a folder, a pipe"),
    "missing": (lambda path: (path / LABELS).unlink(), "holds no train-labels-idx…-ubyte"),
    "truncated": (lambda path: (path / IMAGES).write_bytes((path / IMAGES).read_bytes()[:99]), "damaged.*too short"),
    "longer": (lambda path: (path / IMAGES).write_bytes((path / IMAGES).read_bytes() + b"x"), "damaged.*holds more"),
    "empty": (lambda path: (path / IMAGES).write_bytes(b""), "damaged or not an IDX file"),
    "zip cut": (lambda path: (path / LABELS).write_bytes((path / LABELS).read_bytes()[:-9]), "damaged"),
    "zip changed": (
        lambda path: (path / LABELS).write_bytes((path / LABELS).read_bytes()[:-8] + bytes(8)),
        "damaged.*CRC",
    ),
    "other file": (lambda path: (path / IMAGES).write_bytes(b"GIF89a and so on"), "not an IDX file of unsigned bytes"),
    "vast": (lambda path: (path / IMAGES).write_bytes(struct.pack(">HBB3I", 0, 8, 3, 9**9, 9**9, 9)), "too short"),
    "fewer labels": (lambda path: write_idx(path / LABELS, labels(35)), "36 images and .* 35 labels"),
    "one class": (lambda path: write_idx(path / LABELS, labels(36) * 0), "one class, '0'"),
    "empty class": (lambda path: write_idx(path / LABELS, labels(36) * 2), "class 1 is empty"),
    "none": (lambda path: (write_idx(path / LABELS, labels(0)), write_idx(path / IMAGES, pictures(0))), "no images"),
    "range": (
        lambda path: write_idx(path / "t10k-labels-idx1-ubyte.gz", labels(6) + 1),
        "test holds label 3, out of range: those of train are 0 to 2",
    ),
    "sizes": (
        lambda path: write_idx(path / "t10k-images-idx3-ubyte", np.zeros((6, 4, 6), np.uint8)),
        "train and test have different sizes, 6x4 and 4x6",
    ),
}


@pytest.mark.parametrize("fault", IDX_FAULTS)
def test_bad_idx(fault: str, mnist_like: Path) -> None:
    damage, message = IDX_FAULTS[fault]
    damage(mnist_like)
    with pytest.raises(ProjectError, match=message):
        datasets.load(f"idx:{mnist_like}")


def arrays(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    made = {"x_train": pictures(36), "y_train": labels(36), "x_test": pictures(6), "y_test": labels(6)} | changes
    return {key: value for key, value in made.items() if value is not None}


def test_npz(tmp_path: Path) -> None:
    file = tmp_path / "own.npz"
    np.savez_compressed(file, **arrays())
    loaded = datasets.load(f"npz:{file}")
    assert (loaded.name, loaded.input_shape) == ("npz-own", (*SIDES, 1))
    assert [len(loaded.train), len(loaded.val), len(loaded.test)] == [33, 3, 6]
    colored = pictures(36, channels=(3,)).astype(np.int64)
    parts = {"x_train": colored, "x_test": colored[:6], "x_val": colored[3:9], "y_val": labels(6)[:, None]}
    np.savez(file, **arrays(**parts))
    loaded = datasets.load(f"npz:{file}")
    assert [len(loaded.train), len(loaded.val), len(loaded.test)] == [36, 6, 6]
    assert np.array_equal(loaded.val.images, colored[3:9])
    bands = pictures(36, channels=(12,))
    np.savez(file, **arrays(x_train=bands, x_test=bands[:6]))
    assert datasets.load(f"npz:{file}").input_shape == (*SIDES, 12)


def test_members_of_an_npz_that_nobody_asked_for_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "own.npz"
    np.savez(file, **arrays())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more.npy", b"no array")  # nor is it one of 4 GiB
    assert len(datasets.load(f"npz:{file}").train) == 33


NPZ_FAULTS: dict[str, tuple[dict[str, np.ndarray | None], str]] = {
    "no test": ({"x_test": None}, "lacks x_test. It holds x_train"),
    "half a val": ({"x_val": pictures(6)}, "lacks y_val"),
    "floats": ({"x_train": pictures(36) / 255}, "x_train holds float64; images are whole numbers from 0 to 255"),
    "too bright": ({"x_train": pictures(36) * np.int64(2)}, "x_train holds int64; images are whole"),
    "shape": ({"x_train": pictures(36, channels=(2, 2))}, r"x_train has shape \(36, 6, 4, 2, 2\)"),
    "channels first": ({"x_train": np.zeros((36, 3, 6, 4), np.uint8)}, r"\(36, 3, 6, 4\): channels come last"),
    "one-hot": ({"y_train": np.eye(36, dtype=int)}, "labels are whole numbers .* not one-hot"),
    "one label": ({"y_test": np.array(3)}, r"y_test holds int64 of shape \(\); labels are whole numbers \(N,\)"),
    "text labels": ({"y_train": np.array(["cat", "dog"] * 18)}, "y_train holds text; labels are .* counted from 0"),
    "float labels": ({"y_train": labels(36) / 2}, "y_train holds float64"),
    "fewer labels": ({"y_train": labels(35)}, "x_train holds 36 images and y_train 35 labels"),
    "negative": ({"y_train": labels(36).astype(int) - 1}, "label -1"),
    "test negative": ({"y_test": labels(6).astype(int) - 1}, "test holds label -1, out of range"),
    "vast label": ({"y_train": labels(36) + np.uint64(2**63)}, "out of range"),
    "class of test alone": ({"y_test": labels(6) + 1}, "test holds label 3, out of range"),
    "class of train alone": ({"y_test": labels(6) % 2}, "class '2' is empty in test"),
    "few": ({"x_train": pictures(3), "y_train": labels(3)}, "class '0' has 1 training images, too few to hold out val"),
    "sizes": ({"x_test": pictures(6)[:, :5]}, "different sizes, 6x4 and 5x4"),
    "objects": ({"y_train": np.array([{}] * 36)}, "damaged or not an .npz file of plain arrays"),
}


@pytest.mark.parametrize("fault", NPZ_FAULTS)
def test_bad_npz(fault: str, tmp_path: Path) -> None:
    changes, message = NPZ_FAULTS[fault]
    np.savez(tmp_path / "bad.npz", **arrays(**changes))
    with pytest.raises(ProjectError, match=message):
        datasets.load(f"npz:{tmp_path / 'bad.npz'}")


@pytest.mark.parametrize("fault", ["no test", "floats", "shape", "one-hot", "one label", "fewer labels", "objects"])
def test_lines_about_an_npz_file_begin_with_its_name(fault: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.npz"
    np.savez(file, **arrays(**NPZ_FAULTS[fault][0]))
    with pytest.raises(ProjectError, match=f"^{re.escape(str(file))}"):
        datasets.load(f"npz:{file}")


def test_damaged_npz(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    np.savez(good, **arrays())
    content = good.read_bytes()
    flipped = bytearray(content)
    flipped[400] ^= 255
    file = tmp_path / "bad.npz"
    odd = io.BytesIO()
    with zipfile.ZipFile(odd, "w") as archive:  # NumPy's parser of heads raises what Python's tokenizer does
        archive.writestr("x_train.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': (((((\n")
    of_the_future = bytearray(content)
    of_the_future[content.index(b"PK\x01\x02") + 6] = 255  # the version of the format that is needed to extract
    for bad in (b"", b"PK", content[:500], bytes(flipped), odd.getvalue(), bytes(of_the_future)):
        file.write_bytes(bad)
        with pytest.raises(ProjectError, match=r"bad.npz is damaged or not an .npz file"):
            datasets.load(f"npz:{file}")
    np.save(tmp_path / "one.npy", pictures(3))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_train", "text")
    with pytest.raises(ProjectError, match="lacks x_train, .* It holds no array;"):
        datasets.load(f"npz:{file}")
    with pytest.raises(ProjectError, match="it holds one array"):
        datasets.load(f"npz:{tmp_path / 'one.npy'}")


def write_images(path: Path, count: int, *, mode: str = "L", sides: tuple[int, int] = SIDES, seed: int = 0) -> None:
    path.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *sides, 3), dtype=np.uint8)
    for place, image in enumerate(pixels):
        Image.fromarray(image).convert(mode).save(path / f"{place:03}.png")


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Twenty images each of two classes."""
    folder = tmp_path / "my animals"
    for place, name in enumerate(("cat", "dog")):
        write_images(folder / name, 20, seed=place)
    (folder / "cat" / "notes.txt").write_text("not an image")
    return folder


def test_folder(animals: Path) -> None:
    loaded = datasets.load(f"folder:{animals}")
    assert (loaded.name, loaded.class_names, loaded.input_shape) == ("folder-my-animals", ("cat", "dog"), (*SIDES, 1))
    assert [np.bincount(part.labels).tolist() for part in (loaded.train, loaded.val, loaded.test)] == [
        [16, 16],
        [2, 2],
        [2, 2],
    ]
    first = np.asarray(Image.open(animals / "dog" / "000.png"))
    held = [
        int(label)
        for part in (loaded.train, loaded.val, loaded.test)
        for image, label in zip(part.images, part.labels, strict=True)
        if np.array_equal(image[..., 0], first)
    ]
    assert held == [1]
    assert datasets.load(f"folder:{animals}").digest == loaded.digest
    assert datasets.load(f"folder:{animals}?color_mode=rgb").input_shape == (*SIDES, 3)
    Image.new("RGB", SIDES[::-1], "red").save(animals / "dog" / "red.png")
    assert datasets.load(f"folder:{animals}").input_shape == (*SIDES, 3)
    gray = datasets.load(f"folder:{animals}?color_mode=grayscale")
    assert gray.input_shape == (*SIDES, 1)
    assert gray.digest != loaded.digest


def test_folder_with_splits_of_images_of_many_sizes(tmp_path: Path) -> None:
    for part, count in (("train", 24), ("test", 4)):
        write_images(tmp_path / part / "a", count, mode="RGB")
        write_images(tmp_path / part / "b", count, mode="RGB", sides=(9, 9))
    with pytest.raises(UsageError, match=r"6x4 \(train/a/000.png\) and 9x9 \(train/b/000.png\).*--image-size HxW"):
        datasets.load(f"folder:{tmp_path}")
    loaded = datasets.load(f"folder:{tmp_path}?image_size=10x12")
    assert loaded.input_shape == (10, 12, 3)
    assert [len(loaded.train), len(loaded.val), len(loaded.test)] == [44, 4, 8]


def broken_image(folder: Path) -> None:
    file = folder / "cat" / "003.png"
    file.write_bytes(file.read_bytes()[:60])


def renamed(folder: Path, **names: str) -> None:
    for old, new in names.items():
        (folder / old).rename(folder / new)


def mismatched(folder: Path, *, test: tuple[str, str]) -> None:
    for part, names in (("train", ("x", "y")), ("test", test)):
        for name in names:
            write_images(folder / part / name, 3)


def only(folder: Path, *names: str) -> None:
    import shutil

    for name in ("cat", "dog"):
        shutil.rmtree(folder / name)
    for name in names:
        write_images(folder / name, 3)


FOLDER_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (broken_image, "003.png is not a readable image"),
    "no image": (lambda path: (path / "cat" / "000.png").write_text("x"), "000.png is not a readable image"),
    "empty file": (lambda path: (path / "cat" / "000.png").write_bytes(b""), "000.png is not a readable image"),
    "broken link": (lambda path: (path / "cat" / "x.png").symlink_to("gone"), "cat/x.png is a broken link"),
    "broken class": (lambda path: (path / "emu").symlink_to("gone"), "my animals/emu is a broken link"),
    "pipe": (lambda path: os.mkfifo(path / "cat" / "x.png"), "cat/x.png is not a file but a folder, a pipe"),
    "unprintable": (lambda path: renamed(path, cat="ca\nt"), r"a folder 'ca\\nt': class names must be printable"),
    "16 bits": (
        lambda path: Image.fromarray(np.zeros(SIDES, np.uint16)).save(path / "cat" / "000.png"),
        "000.png has pixels of more than 8 bits a component .*: mogrify -auto-level -depth 8 '.*/cat/\\*.png'",
    ),
    "empty class": (lambda path: (path / "emu").mkdir(), "class 'emu' is empty"),
    "one class": (lambda path: only(path, "cat"), "one class, 'cat'"),
    "no class": (lambda path: only(path), "holds no folders: one per class"),
    "few": (
        lambda path: write_images(path / "emu", 2, seed=9),
        "'emu' has 2 training images, .* test and val: at least 3",
    ),
    "both forms": (lambda path: (path / "train").mkdir(), "holds cat, dog next to train"),
    "no train": (lambda path: only(path, "test", "val"), "holds test and val, but no train"),
    "lacking": (lambda path: (only(path), mismatched(path, test=("x", "z"))), "differ: test lacks y and has also z"),
}


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_bad_folder(fault: str, animals: Path) -> None:
    damage, message = FOLDER_FAULTS[fault]
    damage(animals)
    with pytest.raises(ProjectError, match=message):
        datasets.load(f"folder:{animals}")


def test_names_that_are_not_utf_8(animals: Path) -> None:
    digest = datasets.load(f"folder:{animals}").digest
    os.rename(animals / "cat" / "019.png", os.fsencode(animals / "cat") + b"/019\xe9.png")  # Latin 1, of an old archive
    assert datasets.load(f"folder:{animals}").digest == digest


@pytest.mark.parametrize("name", ["क्\u200dष", "a\u00a0b", "👩\u200d🚀"])
def test_class_names_in_any_script(name: str, animals: Path) -> None:
    renamed(animals, cat=name)
    assert name in datasets.load(f"folder:{animals}").class_names


@pytest.mark.parametrize("name", ["folder:/no/such", "idx:/no/such", "npz:/no/such", "folder:/no/such?image_size=9x9"])
def test_files_that_are_not_there(name: str) -> None:
    with pytest.raises(UsageError, match=r"There is no f.*/no/such"):
        datasets.load(name)


@pytest.mark.parametrize("options", ["image_size=3x3", "color_mode=rgb", "image_size=3x3&color_mode=rgb"])
def test_only_folders_take_options(options: str, mnist_like: Path) -> None:
    np.savez(mnist_like / "ok.npz", **arrays())
    for name in (f"idx:{mnist_like}", f"npz:{mnist_like / 'ok.npz'}"):
        assert datasets.load(name).input_shape == (*SIDES, 1)
        with pytest.raises(UsageError, match=r"(image_size|color_mode|, )+: for folder:DIR alone, not for (idx|npz):"):
            datasets.load(f"{name}?{options}")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("mnist", "mnist"),
        ("idx:/usr/share/datasets/fashion-mnist", "idx-fashion-mnist"),
        ("npz:/a/b/own.v2.npz", "npz-own.v2"),
        ('folder:/a/it\'s "50%" new/?image_size=24x32&color_mode=rgb', "folder-it-s-50-new-24x32-rgb"),
        ("folder:/a/b?color_mode=rgb", "folder-b-rgb"),
        ("folder:/a/b?image_size=8x8&fit=pad&background=black", "folder-b-8x8-pad-black"),
        ("folder:/a/b?image_size=8x8&fit=crop&background=white", "folder-b-8x8"),
        ("folder:/", "folder"),
        ("folder:/a/what?", "folder-what"),
    ],
)
def test_titles_are_names_without_a_path(name: str, title: str) -> None:
    from architectures.fields import Name

    assert datasets.title(name) == Name()(title)


def test_a_recorded_name_holds_all_that_loading_needs(
    animals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded = datasets.located("folder:my animals", Options((12, 8), "rgb"))
    assert recorded == f"folder:{animals}?image_size=12x8&color_mode=rgb&fit=crop&background=white"
    assert datasets.located(recorded) == recorded
    monkeypatch.chdir("/")
    assert datasets.load(recorded).input_shape == (12, 8, 3)
    for name in ("mnist5k", "npz:own.npz"):
        with pytest.raises(UsageError, match="^--image-size, --fit: for --dataset folder:DIR alone, not for"):
            datasets.located(name, Options((12, 8), fit="pad"))
