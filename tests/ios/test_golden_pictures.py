"""The golden pictures are what Pillow makes of them today, and what a data set of pictures reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import datasets
from experiments.datasets.source import FITS, Fit
from tests.support.pictures import FILE, MODES, Picture, content, fitted, pictures, pixels


@pytest.mark.slow
def test_the_committed_file_is_todays() -> None:
    assert FILE.read_text() == content()


def test_every_kind_is_there() -> None:
    found = pictures()
    assert len(found) >= 200
    assert Counter(picture.orientation for picture in found).keys() == set(range(1, 9))
    assert {picture.fit for picture in found} == set(FITS)
    assert {picture.channels for picture in found} == {1, 3, 4}
    assert any(picture.space == "displayP3" and picture.channels == 4 for picture in found)
    assert any((picture.width, picture.height) == (1, 1) for picture in found)
    assert any(picture.width * picture.height > 12e6 for picture in found)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("colors", ["gray", "rgb"])
def test_a_data_set_reads_the_same(tmp_path: Path, colors: str, fit: Fit) -> None:
    """Upright pictures in sRGB: as an app fits them, so is the network trained."""
    channels = 1 if colors == "gray" else 3
    expected = set()
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for number, (width, height) in enumerate((w, h) for w in (3, 40, 90) for h in (9, 70)):
            seed = 4 * width + height + 1000 * label
            picture = Picture(width, height, channels, seed, 1, "sRGB", (16, 12), colors, fit, "1e90ff")
            stored = pixels(picture)
            image = Image.fromarray(stored[:, :, 0] if channels == 1 else stored, MODES[channels])
            image.save(tmp_path / name / f"{number}.png")
            expected.add(fitted(picture).tobytes())
    read = datasets.load(f"folder:{tmp_path}?image_size=12x16&fit={fit}&background=1e90ff")
    everything = np.concatenate([read.train.images, read.val.images, read.test.images])
    assert {image.squeeze().tobytes() for image in everything} == expected
