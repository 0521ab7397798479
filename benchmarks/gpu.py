"""Measure training on a GPU: seconds per epoch compared with the CPU, the cost of determinism, and equal bits.

Run: python benchmarks/gpu.py --epochs 4      (pip install -e '.[gpu]', and a GPU that TensorFlow sees)

Each architecture is trained twice by `experiments.training.loop.train` in one process: on the GPU as this project does
it, with deterministic kernels; on the GPU with TF_DETERMINISTIC_OPS=0; and on the CPU. A time is the median epoch
without the first, which traces the graph. `same bits` compares the weights of the two trainings.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from architectures.command import several
from architectures.fields import Whole

PLACES = {
    "GPU": {},
    "GPU, any order": {"TF_DETERMINISTIC_OPS": "0"},
    "processor": {"CUDA_VISIBLE_DEVICES": "-1"},
}


def trained(arguments: argparse.Namespace) -> None:
    """Train here; print a JSON object a line."""
    from architectures.quiet import import_tensorflow

    import_tensorflow()

    from architectures import registry
    from experiments import datasets
    from experiments.config import ModelSize, RunConfig
    from experiments.training.loop import train
    from experiments.training.precision import resolve_precision, visible_gpu

    gpu = visible_gpu()
    precision = resolve_precision(arguments.precision, gpu)
    dataset = datasets.load("mnist5k")
    for name in arguments.architecture or registry.names():
        one = registry.get(name)
        config = RunConfig(
            name,
            dataset.name,
            one.default_filters,
            one.default_dropout,
            batch_size=arguments.batch_size,
            epochs=arguments.epochs,
            augment="digits",
            precision=precision,
        )
        with tempfile.TemporaryDirectory() as folder:
            runs = [
                train(config, dataset, keras_file=Path(folder) / "model.keras", size=ModelSize(0, 0, 0))
                for _ in range(2)
            ]
        seconds = statistics.median(epoch.epoch_seconds for run in runs for epoch in run.epochs[1:])
        told = {
            "architecture": name,
            "seconds": seconds,
            "val_accuracy": runs[0].best_val_accuracy,
            "precision": precision,
        }
        same = runs[0].weights_sha256 == runs[1].weights_sha256
        print(json.dumps(told | {"same": same, "device": gpu.name if gpu else "processor"}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", action="extend", type=several, metavar="NAME,NAME", help="default: all")
    parser.add_argument("--epochs", type=Whole(2), default=4)
    parser.add_argument("--batch-size", type=Whole(1), default=128)
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "mixed_bfloat16"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        trained(arguments)
        return
    for place, settings in PLACES.items():
        command = [sys.executable, __file__, *sys.argv[1:], "--here"]
        with subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                one = json.loads(line)
                if place == "GPU" and one["device"] == "processor":
                    process.kill()
                    sys.exit("TensorFlow sees no GPU here.")
                print(
                    f"{place:14} {one['device']:12} {one['architecture']:12} {one['precision']:14} "
                    f"{one['seconds']:6.2f} s an epoch, "
                    f"val_accuracy {one['val_accuracy']:.4f}, {'same bits' if one['same'] else 'other bits'}",
                    flush=True,
                )
        if process.returncode:
            sys.exit(process.returncode)


if __name__ == "__main__":
    main()
