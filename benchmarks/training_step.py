"""Profile the processor time of a training step: TensorFlow's own profile of each operation, in groups.

Run: python benchmarks/training_step.py --architecture chollet
     python benchmarks/training_step.py --architecture chollet --precision mixed_bfloat16

The graph of an epoch from `experiments.training.epoch_graph` takes some steps on one thread under TensorFlow's
profiler, after the same number of unmeasured ones. An operation's time excludes operations that it waits for. It prints
milliseconds per step and shares; `executor` is TensorFlow's time between operations.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from architectures.quiet import import_tensorflow

import_tensorflow()
import tensorflow as tf  # noqa: E402
from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace  # noqa: E402  # the profile's format, which TF ships

from architectures import registry  # noqa: E402
from experiments import datasets  # noqa: E402
from experiments.classifier import build_classifier  # noqa: E402
from experiments.config import RunConfig  # noqa: E402
from experiments.datasets import Split  # noqa: E402
from experiments.training import epoch_graph  # noqa: E402
from experiments.training.kernels import with_fast_kernels  # noqa: E402

# Of an event's name, such as `while/body/while/classifier/malireddi/conv2d/Relu:_MklNativeFusedConv2D`, or where that
# names none of them an operation of the loop itself. The first that fits.
GROUPS = {
    "optimizer": r"adam",
    "dropout": r"dropout",
    "normalisation": r"norm",
    "pooling": r"pool",
    "gradient of ReLU": r"relu6?grad$",
    "depthwise convolution": r"depthwise",
    "convolution": r"conv",
    "dense": r"matmul|dense",
    "other layers": r"classifier",
    "augmentation": r"transform|random",
    "input": r"gatherv2|while/cast:|strided_slice",
    "loss and accuracy": r"crossentropy|argmax|count_nonzero|logits",
    "executor": r"^executorstate|^threadpool|^memory",
}


def group(event: str) -> str:
    """The group of an event, by its name."""
    return next((name for name, pattern in GROUPS.items() if re.search(pattern, event.lower())), "the rest")


def own_times(profile: XSpace) -> Counter[str]:
    """Picoseconds of each event's name on TensorFlow's threads, those of events within an event left out."""
    times: Counter[str] = Counter()
    for plane in profile.planes:
        for line in plane.lines:
            if not line.name.startswith("tf_"):
                continue
            around: list[tuple[str, int]] = []  # events that have not ended, and when they will
            for event in sorted(line.events, key=lambda event: (event.offset_ps, -event.duration_ps)):
                while around and around[-1][1] <= event.offset_ps:
                    around.pop()
                if around:
                    times[around[-1][0]] -= event.duration_ps
                name = plane.event_metadata[event.metadata_id].name
                times[name] += event.duration_ps
                around.append((name, event.offset_ps + event.duration_ps))
    return times


def profiled(config: RunConfig, dataset: datasets.Dataset, steps: int) -> Counter[str]:
    """Profile an epoch of so many steps."""
    images = steps * config.batch_size
    few = replace(dataset, train=Split(dataset.train.images[:images], dataset.train.labels[:images]))
    architecture = registry.get(config.architecture)
    classifier = build_classifier(architecture, config, few.input_shape, few.num_classes, config.precision)
    run_epoch = epoch_graph.epoch_function(with_fast_kernels(classifier), config, few.train)
    order = np.random.default_rng(config.seed).permutation(len(few.train))
    run_epoch(order, 1)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            run_epoch(order, 2)
        (file,) = Path(folder).rglob("*.xplane.pb")
        return own_times(XSpace.FromString(file.read_bytes()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="malireddi")
    parser.add_argument("--dataset", default="mnist5k")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    architecture = registry.get(arguments.architecture)
    config = RunConfig(
        architecture.name,
        arguments.dataset,
        architecture.default_filters,
        architecture.default_dropout,
        batch_size=arguments.batch_size,
        precision=arguments.precision,
        augment="digits",
    )
    times: Counter[str] = Counter()
    for event, picoseconds in profiled(config, datasets.load(arguments.dataset), arguments.steps).items():
        times[group(event)] += picoseconds
    print(f"{architecture.name}, {arguments.precision}, batch {arguments.batch_size}, one thread")
    for name, picoseconds in times.most_common():
        print(f"{name:<22}{picoseconds / 1e9 / arguments.steps:9.3f} ms {100 * picoseconds / times.total():5.1f} %")


if __name__ == "__main__":
    main()
