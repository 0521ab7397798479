"""Measure how many foreign images a file refuses with "I do not know", at several thresholds.

Run: python benchmarks/unknown.py FILE --of mnist5k --against idx:/usr/share/datasets/fashion-mnist

The thresholds are computed from the validation images of the file's data set, by the rule of
`conversion/verification/threshold.py`, for several shares of refused correct answers. The file is then run on the
validation images of the other data set, which fit none of its labels: every answer is wrong, and a good threshold
refuses most of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from conversion import runtime
from conversion.verification.threshold import REFUSED_SHARE, is_unknown, measure, refusals, threshold_in
from experiments import datasets

SHARES = (0.01, 0.02, REFUSED_SHARE, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a Core ML classifier")
    parser.add_argument("--of", default="mnist5k", metavar="DATASET", help="what it was made for")
    parser.add_argument("--against", default="idx:/usr/share/datasets/fashion-mnist", metavar="DATASET")
    arguments = parser.parse_args()
    file = runtime.load(arguments.file)
    own, other = datasets.load(arguments.of).val, datasets.load(arguments.against).val
    answers, foreign = file.probabilities(own.images), file.probabilities(other.images).max(axis=1)
    named = threshold_in(file.interface.metadata.user_defined)
    print(f"{arguments.file}: threshold {named}; {len(own):,} images of {arguments.of}, {len(other):,} of the other")
    print(f"{'share':>6} {'threshold':>9}  {'right refused':>15} {'wrong refused':>14} {'the other refused':>18}")
    for share in SHARES:
        threshold = measure(answers, own.labels, share=share).threshold
        found = refusals("val", answers, own.labels, threshold)
        refused = is_unknown(foreign, threshold).mean()
        print(
            f"{share:6.0%} {threshold:9.4f}  {f'{found.right_refused} of {found.right}':>15} "
            f"{f'{found.wrong_refused} of {found.images - found.right}':>14} {refused:18.1%}"
        )


if __name__ == "__main__":
    main()
