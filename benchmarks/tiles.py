"""Write tiles of photographs, a class per photograph.  Run: python benchmarks/tiles.py SCIKIT_IMAGE FOLDER

SCIKIT_IMAGE is the unpacked wheel of scikit-image 0.26 (`pip download --no-deps scikit-image`, `unzip`). Its eight
colour photographs and the two of scikit-learn are cut into at most 60 tiles of 64x64 each, without overlap.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

NAMES = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "ihc", "motorcycle_left", "retina", "rocket")
SIDE, MOST = 64, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scikit_image", type=Path)
    parser.add_argument("folder", type=Path, help="is made: a folder for each photograph")
    arguments = parser.parse_args()
    found = {}
    for name in NAMES:
        (file,) = (arguments.scikit_image / "skimage" / "data").glob(f"{name}.*")
        found[name] = np.asarray(Image.open(file).convert("RGB"))
    bundled = load_sample_images()
    found |= {Path(file).stem: image for file, image in zip(bundled.filenames, bundled.images, strict=True)}
    for name, image in found.items():
        (arguments.folder / name).mkdir(parents=True)
        rows, columns = (size // SIDE for size in image.shape[:2])
        places = np.random.default_rng(0).permutation(rows * columns)[:MOST]
        for place in places:
            top, left = SIDE * (place // columns), SIDE * (place % columns)
            tile = image[top : top + SIDE, left : left + SIDE]
            Image.fromarray(tile).save(arguments.folder / name / f"{place}.png")
        print(f"{name}: {len(places)} tiles")


if __name__ == "__main__":
    main()
