"""`experiments.inspect`: what a data set holds, and what is wrong with it, is told before a night is spent on it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from experiments.datasets.inspection import inspect
from experiments.datasets.near_copies import near_copies
from tests.support.commands import Command

SIDE = 24


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Forty smooth pictures of two classes, of different sizes."""
    rng = np.random.default_rng(1)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(20):
            image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
            image.resize((40, SIDE + number), Image.Resampling.BICUBIC).save(
                tmp_path / "pets" / name / f"{number:02}.png"
            )
    return tmp_path / "pets"


def test_a_sound_folder(pets: Path, command: Command) -> None:
    found = command("experiments.inspect", f"folder:{pets}", "--image-size", f"{SIDE}x{SIDE}", "--strict", "--json")
    assert found.code == 0, found.err
    told = found.json
    assert told["classes"] == ["cat", "dog"]
    assert told["counts"] == {"train": [16, 16], "val": [2, 2], "test": [2, 2]}
    assert told["files"]["formats"] == {"PNG": 40}
    assert told["files"]["sizes"][f"{SIDE}x40"] == 2
    assert told["problems"] == told["copies"] == told["near_copies"] == []
    assert told["imbalance"] == 1


def test_different_sizes_are_no_reason_not_to_look(pets: Path, command: Command) -> None:
    found = command("experiments.inspect", f"folder:{pets}")
    assert found.code == 0, found.err
    assert "sizes differ: examined at 96x96; choose a size with --image-size" in found.out
    assert "nothing wrong was found" in found.out


def test_a_pipe_named_like_an_image_is_refused_and_not_waited_for(pets: Path, command: Command) -> None:
    os.mkfifo(pets / "cat" / "pipe.png")
    found = command("experiments.inspect", f"folder:{pets}")
    assert found.code == 1
    assert found.error == f"error: {pets}/cat/pipe.png is not a file but a folder, a pipe or a device."


def test_all_damaged_files_are_named_at_once(pets: Path, command: Command) -> None:
    sound = (pets / "dog" / "00.png").read_bytes()
    for number in range(7):
        (pets / "cat" / f"empty{number}.png").write_bytes(b"")
    given = ("experiments.inspect", f"folder:{pets}", "--image-size", f"{SIDE}x{SIDE}")
    told = command(*given).error
    assert told.startswith(f"error: {pets}/cat/empty0.png is not a readable image: ")
    named = ", ".join(f"{pets}/cat/empty{number}.png" for number in range(1, 6))
    assert told.endswith(f" Other files are refused, too: {named}, ...")
    for number in range(7):
        (pets / "cat" / f"empty{number}.png").write_bytes(sound[: len(sound) // 2] if number < 2 else sound)
    told = command(*given).error
    assert "empty0.png is not a readable image: " in told
    assert told.endswith(f" Other files are refused, too: {pets}/cat/empty1.png")


def test_what_is_wrong_is_told_with_names(pets: Path, command: Command) -> None:
    Image.open(pets / "cat" / "00.png").save(pets / "dog" / "twin.bmp")
    Image.open(pets / "cat" / "01.png").save(pets / "cat" / "again.jpg", quality=90)
    Image.new("RGB", (40, 40), "red").save(pets / "cat" / "flat.png")
    (pets / "dog" / "notes.txt").write_text("x")
    given = ("experiments.inspect", f"folder:{pets}", "--image-size", f"{SIDE}x{SIDE}")
    found = command(*given, "--strict", "--json")
    assert found.code == 1
    told = found.json
    assert [[place["file"] for place in group] for group in told["copies"]] in (
        [["cat/00.png", "dog/twin.bmp"]],
        [["dog/twin.bmp", "cat/00.png"]],
    )
    ((one, other),) = told["near_copies"]
    assert {one["file"], other["file"]} == {"cat/01.png", "cat/again.jpg"}
    assert [place["file"] for place in told["constant"]] == ["cat/flat.png"]
    assert told["files"]["unread"] == {".txt": 1}
    problems = "\n".join(told["problems"])
    for problem in ("files that were not read: 1", "single colour: 1", "images with copies in other classes: 1"):
        assert problem in problems
    shown = command(*given)
    assert shown.code == 0
    assert "wrong: images with copies in other classes: 1" in shown.out
    assert max(map(len, shown.out.splitlines()[:8])) <= 80


def test_imbalance(tmp_path: Path, pets: Path) -> None:
    for file in list((pets / "dog").iterdir())[:15]:
        file.unlink()
    inspection = inspect(f"folder:{pets}?image_size=24x24")
    assert inspection.imbalance == 4
    assert "the largest class has 4.0 times the images of the smallest" in inspection.problems


def test_the_page(pets: Path, tmp_path: Path, command: Command) -> None:
    (pets / "dog").rename(pets / "<b>dog")
    found = command("experiments.inspect", f"folder:{pets}", "--image-size", "24x24", "--html", tmp_path / "pets.html")
    assert found.code == 0, found.err
    page = (tmp_path / "pets.html").read_text()
    assert page.index('class="verdict') < page.index("Next: ") < page.index("<table")
    assert page.count("<img") == 2 * 13  # twelve of each class and their mean
    assert "<b>dog" not in page.partition("<script")[0]
    assert "&lt;b&gt;dog" in page
    assert "https://" not in page.partition("<script")[0]


def test_near_copies() -> None:
    rng = np.random.default_rng(2)
    pictures = [
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
        for _ in range(30)
    ]
    again = {
        3: pictures[3].resize((40, 40)).resize((48, 48)),
        7: pictures[7].filter(ImageFilter.GaussianBlur(0.7)),
        9: pictures[9].point(lambda value: int(value * 0.9)),
    }
    flat = [Image.new("RGB", (48, 48), color) for color in ("red", "tomato")]
    images = np.stack([np.asarray(image) for image in [*pictures, *again.values(), *flat, pictures[0]]])
    assert near_copies(images, cores=2) == [(3, 30), (7, 31), (9, 32)]


def test_no_digit_is_a_near_copy_of_another(command: Command) -> None:
    found = command("experiments.inspect", "mnist5k", "--strict", "--json")
    assert found.code == 0, found.json["problems"]
    assert found.json["files"] is None


def test_wrong_usage(command: Command) -> None:
    found = command("experiments.inspect", "folder:nowhere")
    assert found.code == 2
    assert "There is no folder" in found.error
    assert command("experiments.inspect", "mnist5k", "--fit", "pad").code == 2
