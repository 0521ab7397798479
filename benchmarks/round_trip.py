"""Measure the promoted file on test digits, unchanged and drawn on a pad: accuracy, and each digit's recall.

Run: python benchmarks/round_trip.py [FILE]
     python benchmarks/round_trip.py --dataset mnist     # 1,000 of each digit where mnist5k has 50

Each test digit is traced to the strokes of a pen, drawn at a random size and place on a pad, and rendered by
the app's rules (`experiments.evaluation.drawn`); the file itself is executed on both. The use of the test images is
recorded in MLflow.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from conversion import runtime
from conversion.promotion.place import DEFAULT_OUTPUT
from experiments import datasets
from experiments.config import default_tracking_uri
from experiments.evaluation.drawn import PAD, on_pad, trace_strokes
from experiments.evaluation.strokes import render_strokes
from experiments.tracking import Tracker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT_OUTPUT)
    parser.add_argument("--dataset", default="mnist5k", help="of 28x28 digits, white on black")
    arguments = parser.parse_args()
    file = runtime.load(arguments.file)
    test, _ = Tracker(default_tracking_uri()).test_access.look(
        datasets.load(arguments.dataset), command="benchmarks/round_trip.py"
    )
    drawings = on_pad(trace_strokes(test.images[..., 0]))
    drawn = np.stack([render_strokes(lines, pad=PAD) for lines in drawings])[..., None]
    print(f"{'':>9}  accuracy  " + "  ".join(f"{digit:>4}" for digit in range(10)))
    for name, images in (("untouched", test.images), ("drawn", drawn)):
        right = file.probabilities(images).argmax(axis=1) == test.labels
        recalls = (right[test.labels == digit].mean() for digit in range(10))
        print(f"{name:>9}  {right.mean():8.4f}  " + "  ".join(f"{recall:.2f}" for recall in recalls))


if __name__ == "__main__":
    main()
