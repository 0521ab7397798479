"""Which files of a folder are images of which class in which split; what is none is told."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from architectures.errors import ProjectError
from experiments.datasets.layout import is_system, layout, split_named
from tests.support.photographs import PARTS, images_of, load, picture, write


def test_what_is_not_read_is_counted_and_told(tmp_path: Path) -> None:
    write(tmp_path)
    for number in range(4):
        (tmp_path / "top" / f"{number}.tif.part").write_bytes(b"II*\0")
    for number in range(3):
        (tmp_path / "bottom" / f"{number}.txt").write_text("x")
    (tmp_path / "bottom" / "LICENSE").write_text("x")
    (tmp_path / "labels.csv").write_text("x")
    (told,) = load(tmp_path).notes
    assert told == "9 files not read: 1 .csv, 4 .tif.part, 3 .txt, 1 without an ending"


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path: Path) -> None:
    """Its path is too long for the system, which keeps even root from listing it."""
    write(tmp_path)
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tmp_path / "top")
        for _ in range(20):
            os.mkdir("a" * 250)
            os.chdir("a" * 250)
    finally:
        os.fchdir(before)
        os.close(before)
    with pytest.raises(ProjectError, match=r"/a+ cannot be read: File name too long\."):
        layout(tmp_path)


LEFTOVERS = (
    *(".ipynb_checkpoints/0-checkpoint.png", "@eaDir/0.png", "deep/er/.Trash-1000/0.png", "__MACOSX/top/._0.png"),
    *("Thumbs.db", "._00.png", "desktop.ini", "00.png:Zone.Identifier", "Icon\r", ".DS_Store", "#recycle/0.png"),
)


@pytest.mark.parametrize("place", LEFTOVERS)
def test_what_a_computer_leaves_is_skipped_at_every_depth(place: str, tmp_path: Path) -> None:
    write(tmp_path)
    expected = images_of(load(tmp_path)).keys()
    for folder in (tmp_path, tmp_path / "top"):
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(1).save(file, "PNG")
    if "deep" in place:  # an ordinary folder, which at the top would be a class
        (tmp_path / "deep" / "er" / "1.png").write_bytes((tmp_path / "top" / "00.png").read_bytes())
        (tmp_path / "deep").rename(tmp_path / "bottom" / "deep")
        expected = expected | {"bottom/deep/er/1.png"}
    found = load(tmp_path)
    assert images_of(found).keys() == expected
    assert any("hidden or system files and folders skipped" in note for note in found.notes)


SPLITS = [
    *(("train", "test"), ("training", "testing"), ("Training", "Testing"), ("TRAIN", "VALIDATION"), ("train", "valid")),
    *(("seg_train", "seg_test"), ("seg_train", "seg_pred"), ("train_images", "test-images"), ("trainset", "testset")),
    *(("Train Data", "Test Data"), ("train", "val", "test"), ("01_train", "02_dev")),
]


@pytest.mark.parametrize("names", SPLITS)
def test_splits_are_known_whatever_their_spelling(names: tuple[str, ...], tmp_path: Path) -> None:
    for place, name in enumerate(names):
        write(tmp_path / name, 12 - 2 * place)
    dataset = load(tmp_path)
    assert dataset.class_names == ("bottom", "top")
    assert sum(len(getattr(dataset, part)) for part in PARTS) == sum(
        2 * (12 - 2 * place) for place in range(len(names))
    )
    assert all(name.startswith(names[0]) for name in dataset.train.files or ())
    if "pred" in names[1] or "est" in names[1]:
        assert all(name.startswith(names[1]) for name in dataset.test.files or ())


def test_an_archive_in_a_folder_of_its_name_and_images_without_a_class(tmp_path: Path) -> None:
    write(tmp_path / "seg_train" / "seg_train")
    write(tmp_path / "seg_test" / "seg_test", 3)
    (tmp_path / "seg_pred" / "seg_pred").mkdir(parents=True)
    picture(0).save(tmp_path / "seg_pred" / "seg_pred" / "0.png")
    dataset = load(tmp_path)
    assert [len(dataset.train), len(dataset.val), len(dataset.test)] == [22, 2, 6]
    assert dataset.notes == ("1 images in seg_pred not read: they have no class",)
    assert load(tmp_path).digest == dataset.digest
    (tmp_path / "outer").mkdir()
    for name in ("seg_train", "seg_test", "seg_pred"):
        (tmp_path / name).rename(tmp_path / "outer" / name)
    assert load(tmp_path).digest == dataset.digest


@pytest.mark.parametrize("name", ["images", "data", "2024", "_"])
def test_a_folder_whose_name_says_nothing_is_no_split(name: str, tmp_path: Path) -> None:
    write(tmp_path / "train")
    write(tmp_path / name, 3)
    with pytest.raises(ProjectError, match=f"holds {name} next to train: it has to hold either train, val and test"):
        load(tmp_path)


def test_what_lies_beside_an_archives_folder_is_told(tmp_path: Path) -> None:
    write(tmp_path / "pets")
    (tmp_path / "README.md").write_text("x")
    assert load(tmp_path).notes == ("1 file not read: 1 .md",)


def test_a_class_that_is_named_like_a_split(tmp_path: Path) -> None:
    beside = write(tmp_path / "beside", classes=("car", "plane", "train"))
    dataset = load(beside)
    assert dataset.class_names == ("car", "plane", "train")
    assert dataset.notes == ("train holds images next to car, plane: read as classes",)
    within = write(tmp_path / "within" / "train", classes=("car", "test", "train"))
    assert load(within.parent).class_names == ("car", "test", "train")


def by_site(folder: Path) -> None:
    for site in ("north", "south"):
        write(folder / site)


def both_spellings(folder: Path) -> None:
    write(folder / "train")
    write(folder / "Training")


def splits_in_classes(folder: Path) -> None:
    for name in ("cat", "dog"):
        write(folder / name, classes=("train", "test"))


STRUCTURES: dict[str, tuple[Callable[[Path], object], str]] = {
    "folders of classes": (by_site, "each of north, south holds the folders bottom, top. Which are the classes?"),
    "splits within": (splits_in_classes, "each of cat, dog holds the folders test, train. Which are the classes?"),
    "one split twice": (both_spellings, "holds Training and train: which of them is train?"),
    "flat": (lambda path: write(path, classes=("train", "test")), "train holds no folders: one per class"),
}


@pytest.mark.parametrize("kind", STRUCTURES)
def test_a_structure_that_raises_a_question(kind: str, tmp_path: Path) -> None:
    make, message = STRUCTURES[kind]
    make(tmp_path)
    with pytest.raises(ProjectError) as refused:
        load(tmp_path)
    assert message in str(refused.value)


def test_images_in_subfolders_belong_to_their_class(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "top" / "holiday").mkdir()
    picture(0).save(tmp_path / "top" / "holiday" / "x.png")
    dataset = load(tmp_path)
    assert "top/holiday/x.png" in images_of(dataset)
    assert dataset.notes == ("1 image is in a subfolder of its class, and belongs to it",)


def test_names_are_normalised(tmp_path: Path) -> None:
    """A Mac writes an accent as a sign of its own."""
    apart, together = unicodedata.normalize("NFD", "café"), unicodedata.normalize("NFC", "café")
    write(tmp_path / "train", classes=(apart, "bar"))
    write(tmp_path / "test", 2, classes=(together, "bar"))
    assert load(tmp_path).class_names == ("bar", together)


def test_names_of_splits_and_of_systems() -> None:
    assert split_named("trains") is None
    assert split_named("latest") is None
    assert split_named("train test") is None
    assert not is_system("eaDir.png")


def test_what_lies_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path)
    found = layout(tmp_path)
    assert (found.class_names, found.notes) == (["bottom", "top"], [])
