"""Compare a sweep with everything tracked with the same trials in a plain loop of build and fit.

Run: python benchmarks/sweep_against_plain_loop.py --pairs 3

Both train the same configurations for the same epochs on mnist5k, in turn, each in a new process; start-up (imports,
data, the first worker) is excluded. The ratio of each pair is printed: below 1, the sweep is faster, although it also
measures sizes, writes every epoch to MLflow and keeps the best models.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile

PUBLISHED = ["chollet", "malireddi"]
PLAIN = """
import json, sys, time
from architectures.quiet import import_tensorflow
import_tensorflow()
import keras
from architectures import registry
from experiments import datasets
from experiments.classifier import as_classifier

trials, epochs = json.loads(sys.argv[1]), int(sys.argv[2])
data = datasets.load("mnist5k")
registry.names()
started = time.perf_counter()
for trial in trials:
    keras.utils.set_random_seed(0)
    model = as_classifier(registry.get(trial["architecture"]).build(
        data.input_shape, data.num_classes, filters=trial["filters"], dropout=trial["dropout"]))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data.train.images, data.train.labels, batch_size=trial["batch_size"], epochs=epochs,
              validation_data=(data.val.images, data.val.labels), verbose=0)
print(time.perf_counter() - started)
"""


def run(arguments: list[str], folder: str) -> str:
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--precision", default="auto", help="of the sweep; the plain loop is Keras' float32")
    parser.add_argument("--architecture", action="append", help="repeatable (default: the two published ones)")
    arguments = parser.parse_args()
    options = [option for name in arguments.architecture or PUBLISHED for option in ("--architecture", name)]
    ratios = []
    for pair in range(1, arguments.pairs + 1):
        with tempfile.TemporaryDirectory() as folder:
            sweep = ["-m", "search.sweep", "--json", "--pruner", "none", "--precision", arguments.precision, *options]
            sweep += ["--schedule", "constant", "--augment", "off"]  # as the plain loop
            sweep += ["--trials", str(arguments.trials), "--epochs", str(arguments.epochs)]
            ours = json.loads(run(sweep, folder))
            trials = json.dumps(ours["leaderboard"])
            plain = float(run(["-c", PLAIN, trials, str(arguments.epochs)], folder))
        ratios.append(ours["trials_seconds"] / plain)
        print(f"pair {pair}: sweep {ours['trials_seconds']:.1f} s, plain loop {plain:.1f} s, ratio {ratios[-1]:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f} ({arguments.trials} trials of {arguments.epochs} epochs)")


if __name__ == "__main__":
    main()
