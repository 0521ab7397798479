"""Compare training that streams its images from disk with the same training from memory: time per epoch, and the bits.

Run: python benchmarks/streaming.py --architecture malireddi --repeats 6

The images are mnist5k's training digits, repeated, in a memory-mapped file. Both must give the same weights.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import architectures
from experiments import datasets
from experiments.config import ModelSize, RunConfig
from experiments.datasets import Split, cache
from experiments.training.loop import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="malireddi")
    parser.add_argument("--repeats", type=int, default=6, help="of the 4,000 digits (default 6)")
    parser.add_argument("--pairs", type=int, default=2)
    arguments = parser.parse_args()
    dataset, ratios = datasets.load("mnist5k"), []
    architecture = architectures.get(arguments.architecture)
    config = RunConfig(
        arguments.architecture, dataset.name, architecture.default_filters, architecture.default_dropout, epochs=4
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "images.npy"
        np.save(file, np.concatenate([dataset.train.images] * arguments.repeats))
        labels = np.concatenate([dataset.train.labels] * arguments.repeats)
        dataset = replace(dataset, train=Split(np.load(file, mmap_mode="r"), labels))
        for pair in range(1, arguments.pairs + 1):
            seconds, digests = {}, {}
            for way, limit in (("memory", 2**62), ("disk", 0)):
                cache.IN_MEMORY_BYTES = limit
                result = train(
                    config, dataset, keras_file=Path(folder) / "model.keras", size=lambda _: ModelSize(0, 0, 0)
                )
                seconds[way] = statistics.median(epoch.epoch_seconds for epoch in result.epochs[1:])
                digests[way] = result.weights_sha256
            ratios.append(seconds["disk"] / seconds["memory"])
            print(
                f"pair {pair}: an epoch of {len(labels):,} images from memory {seconds['memory']:.2f} s, from disk "
                f"{seconds['disk']:.2f} s, ratio {ratios[-1]:.2f}, weights "
                f"{'identical' if digests['disk'] == digests['memory'] else 'DIFFER'}",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
