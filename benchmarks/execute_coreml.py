"""Compare speed and accuracy of the Core ML executors with Keras.  Run: python benchmarks/execute_coreml.py

Converts both published networks to both formats in float32, executes the files on random images and prints one row per
network and number of images: the shortest of several runs of `keras.Model.predict` (default batch size, warmed up), and
for each format that of the executor, its share of Keras' time, the largest difference between their probabilities, and
the executor's peak memory in a separate process.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

COUNTS = {1_000: 7, 10_000: 3}  # images: runs
ARCHITECTURES = ("malireddi", "chollet")
FILTERS = 32
FORMATS = {"neuralnetwork": ".mlmodel", "mlprogram": ".mlpackage"}


def main() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np

    from architectures import build
    from conversion.runtime import load

    images = np.random.default_rng(0).integers(0, 256, (max(COUNTS), 28, 28, 1), dtype=np.uint8)
    scaled = images.astype(np.float32) / 255
    columns = "".join(f" | {name + ' s':>15} ratio difference peak MB" for name in FORMATS)
    print(f"network      images keras s{columns}")
    for name in ARCHITECTURES:
        model = build(name, (28, 28, 1), 10, filters=FILTERS, dropout=0.2)
        with tempfile.TemporaryDirectory() as folder:
            files = [convert(model, kind, Path(folder, f"{name}{suffix}")) for kind, suffix in FORMATS.items()]
            executables = [load(path) for path in files]
            model.predict(scaled[:64], verbose=0)
            for count, runs in COUNTS.items():
                expected, keras_s = shortest(runs, model.predict, scaled[:count], verbose=0)
                row = f"{name:12} {count:6} {keras_s:7.3f}"
                for path, executable in zip(files, executables, strict=True):
                    answer, executor_s = shortest(runs, executable.probabilities, images[:count])
                    with multiprocessing.get_context("spawn").Pool(1) as pool:
                        peak = pool.apply(peak_megabytes, (str(path), count))
                    difference = np.abs(answer - expected).max()
                    row += f" | {executor_s:15.3f} {executor_s / keras_s:5.2f} {difference:10.1e} {peak:7.0f}"
                print(row)


def shortest(runs: int, compute: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, float]:
    """The result, and the seconds of the fastest of several runs."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        result = compute(*arguments, **options)
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


def peak_megabytes(path: str, count: int) -> float:
    """Peak resident memory of a process that does nothing but execute the file, images included."""
    import numpy as np

    from conversion.runtime import load

    load(Path(path)).probabilities(np.zeros((count, 28, 28, 1), np.uint8))
    status = Path("/proc/self/status")
    if status.exists():  # a process's ru_maxrss counts the parent that it was spawned from
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def convert(model: Any, kind: str, path: Path) -> Path:
    """Save the model as a file or package of a kind in FORMATS."""
    os.environ["TQDM_DISABLE"] = "1"
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools as ct
    import tensorflow as tf

    forward = tf.function(lambda image: model(image, training=False)).get_concrete_function(
        tf.TensorSpec((1, 28, 28, 1), tf.float32, name="image")
    )
    image = ct.ImageType(name="image", shape=(1, 28, 28, 1), scale=1 / 255, color_layout=ct.colorlayout.GRAYSCALE)
    labels = ct.ClassifierConfig([str(digit) for digit in range(10)])
    options: dict[str, Any] = {"inputs": [image], "classifier_config": labels}
    if kind == "mlprogram":
        options["compute_precision"] = ct.precision.FLOAT32
    ct.convert([forward], source="tensorflow", convert_to=kind, skip_model_load=True, **options).save(str(path))
    return path


if __name__ == "__main__":
    main()
