"""Measure how many wrong labels are found.  Run: python benchmarks/label_errors.py [DATASET] [--seeds 5]

Changes 5 % of the labels of a data set's training and validation images to wrong ones, at random and evenly over the
other classes, and ranks all images by how much they look like another class (experiments/datasets/suspects.py). One row
per seed: the share of the wrong labels among the first 10 % of the images, the number of doubtful labels, which share
of these is wrong, which share of the wrong ones is doubtful, and processor seconds. On mnist5k (4,500 images), at least
0.8 must be among the first 10 %, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments import datasets
from experiments.datasets import Dataset
from experiments.datasets.suspects import disagreement, out_of_fold, suspects

WRONG_SHARE = 0.05  # of the labels
FIRST_SHARE = 0.1  # of the images
REQUIRED = 0.8  # of the wrong labels among these


def planted(dataset: Dataset, seed: int) -> tuple[Dataset, np.ndarray]:
    """The data set with wrong labels, and whether the label of each training and validation image is wrong."""
    chosen = np.random.default_rng(seed)
    labels = np.concatenate([dataset.train.labels, dataset.val.labels])
    wrong = np.zeros(len(labels), bool)
    wrong[chosen.permutation(len(labels))[: round(WRONG_SHARE * len(labels))]] = True
    others = chosen.integers(1, dataset.num_classes, len(labels))
    labels = np.where(wrong, (labels + others) % dataset.num_classes, labels)
    train, val = np.split(labels, [len(dataset.train)])
    changed = replace(dataset, train=replace(dataset.train, labels=train), val=replace(dataset.val, labels=val))
    return changed, wrong


def found_first(dataset: Dataset, wrong: np.ndarray) -> float:
    """The share of the wrong labels that is among the first images by disagreement."""
    parts = [dataset.train, dataset.val]
    labels = np.concatenate([part.labels for part in parts])
    leads = disagreement(out_of_fold(parts, dataset.num_classes, name=dataset.name), labels)
    first = np.argsort(-leads, kind="stable")[: round(FIRST_SHARE * len(labels))]
    return float(wrong[first].sum() / wrong.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="mnist5k")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    dataset = datasets.load(arguments.dataset)
    shares = []
    for seed in range(arguments.seeds):
        changed, wrong = planted(dataset, seed)
        shares.append(found_first(changed, wrong))
        started = time.process_time()
        doubted = suspects(changed)
        seconds = time.process_time() - started
        rows = [one.place.row + (0 if one.place.split == "train" else len(dataset.train)) for one in doubted]
        right = wrong[rows].sum()
        print(
            f"seed {seed}: {shares[-1]:.3f} of {wrong.sum()} among the first {FIRST_SHARE:.0%}; {len(rows)} in doubt, "
            f"{right / max(1, len(rows)):.3f} of them wrong, {right / wrong.sum():.3f} of the wrong; {seconds:.1f} s"
        )
    print(f"{dataset.name}: {min(shares):.3f} to {max(shares):.3f}, mean {np.mean(shares):.3f}")
    if arguments.dataset == "mnist5k" and min(shares) < REQUIRED:
        sys.exit(f"error: fewer than {REQUIRED:.0%} of the wrong labels are among the first {FIRST_SHARE:.0%}")


if __name__ == "__main__":
    main()
