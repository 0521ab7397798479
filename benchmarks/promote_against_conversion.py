"""Compare a whole promotion with the bare coremltools conversion of the same model, without start-up.

Run: python benchmarks/promote_against_conversion.py --architecture chollet

The promotion converts, executes the file on 1,000 images, compares, writes the evidence, and writes to MLflow.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile

from sweep_against_plain_loop import run

BARE = """
import hashlib, logging, sys, time
from pathlib import Path
from architectures.quiet import import_tensorflow
import_tensorflow()
import tensorflow as tf
logging.getLogger("coremltools").setLevel(logging.ERROR)
import coremltools as ct
from experiments.classifier import load_classifier, network_of

file = next(Path("mlruns").rglob("*.keras"))
network = network_of(load_classifier(file, hashlib.sha256(file.read_bytes()).hexdigest()))
started = time.perf_counter()
forward = tf.function(lambda image: network(image, training=False)).get_concrete_function(
    tf.TensorSpec((1, 28, 28, 1), tf.float32, name="image"))
model = ct.convert([forward], source="tensorflow", convert_to="neuralnetwork",
                   inputs=[ct.ImageType(name="image", shape=(1, 28, 28, 1), scale=1 / 255.0,
                                        color_layout=ct.colorlayout.GRAYSCALE)],
                   classifier_config=ct.ClassifierConfig([str(i) for i in range(10)]))
model.save("bare.mlmodel")
print(time.perf_counter() - started)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--architecture", default="chollet")
    arguments = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        run(["-m", "search.trial", "--architecture", arguments.architecture, "--epochs", "1"], folder)
        for pair in range(1, arguments.pairs + 1):
            ours = json.loads(run(["-m", "conversion.promote", "--json"], folder))["seconds"]
            bare = float(run(["-c", BARE], folder))
            ratios.append(ours / bare)
            print(f"pair {pair}: promotion {ours:.2f} s, bare conversion {bare:.2f} s, ratio {ratios[-1]:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
