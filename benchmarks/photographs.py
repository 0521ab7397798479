"""Compare the speed of the executor with Keras at the size of photographs.  Run: python benchmarks/photographs.py

Builds five known networks with random weights, converts each to an ML Program in float32 and executes it and
`keras.Model.predict` in turn on random 224x224 images, one at a time and 32 at once. One row per network and batch:
the medians of elapsed and processor seconds of both, their ratio to Keras', and the largest difference between their
probabilities. `--size 28` uses this project's own networks at 28x28. `--keep FOLDER` keeps the files.

Networks: MobileNetV2, EfficientNetB0, ResNet50, DenseNet121 from keras.applications, SqueezeNet 1.1 from this file.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

APPLICATIONS = ("MobileNetV2", "EfficientNetB0", "ResNet50", "DenseNet121")
NETWORKS = {224: (*APPLICATIONS, "SqueezeNet"), 28: ("malireddi", "chollet")}
# https://arxiv.org/abs/1602.07360, version 1.1: (filters of the squeeze, of each expansion) or a pooling.
FIRES = ((16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256), (64, 256))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", help="default: all of the size")
    parser.add_argument("--size", type=int, choices=tuple(NETWORKS), default=224, help="height and width in pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 32), help="images at once")
    parser.add_argument("--runs", type=int, default=7, help="of each batch")
    parser.add_argument("--format", choices=("mlprogram", "neuralnetwork"), default="mlprogram")
    parser.add_argument("--keep", type=Path, help="a folder for the files, which are made again where missing")
    arguments = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    print("network         batch   keras wall/cpu s   executor wall/cpu s   wall ratio  cpu ratio  difference")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks or NETWORKS[arguments.size]:
            compare(name, arguments, arguments.keep or Path(folder))


def compare(name: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Print a network's rows."""
    import keras
    import numpy as np

    from conversion.runtime import load

    size, channels = arguments.size, 3 if arguments.size == 224 else 1
    suffix = ".mlpackage" if arguments.format == "mlprogram" else ".mlmodel"
    path, saved = folder / f"{name}-{size}{suffix}", folder / f"{name}-{size}.keras"
    if not saved.exists():
        network(name, size).save(saved)
    model = keras.saving.load_model(saved, compile=False)
    if not path.exists():
        convert(model, arguments.format, size, channels, path)
    executable = load(path)
    for batch in arguments.batches:
        images = np.random.default_rng(0).integers(0, 256, (batch, size, size, channels), dtype=np.uint8)
        scaled = images.astype(np.float32) / 255
        model.predict(scaled, verbose=0)
        executable.probabilities(images)
        keras_times, own_times = [], []
        for _ in range(arguments.runs):
            expected, times = timed(model.predict, scaled, verbose=0)
            keras_times.append(times)
            answer, times = timed(executable.probabilities, images)
            own_times.append(times)
        theirs, own = (
            [statistics.median(column) for column in zip(*rows, strict=True)] for rows in (keras_times, own_times)
        )
        print(
            f"{name:15} {batch:5} {theirs[0]:9.3f} {theirs[1]:8.3f} {own[0]:12.3f} {own[1]:8.3f} "
            f"{own[0] / theirs[0]:12.2f} {own[1] / theirs[1]:10.2f} {np.abs(answer - expected).max():11.1e}",
            flush=True,
        )


def timed(compute: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, tuple[float, float]]:
    """The result, and the wall and processor seconds that it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = compute(*arguments, **options)
    return result, (time.perf_counter() - wall, time.process_time() - cpu)


def network(name: str, size: int) -> Any:
    """A network for images scaled to [0, 1], with random weights."""
    import keras

    from architectures import build

    keras.utils.set_random_seed(0)
    if name in APPLICATIONS:
        return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    if name == "SqueezeNet":
        return squeezenet(size)
    return build(name, (size, size, 1), 10, filters=32, dropout=0.2)


def squeezenet(size: int) -> Any:
    """SqueezeNet 1.1, as Custom Vision exports it."""
    import keras
    from keras import layers

    image = keras.Input((size, size, 3))
    x = layers.MaxPooling2D(3, 2)(layers.Conv2D(64, 3, 2, activation="relu")(image))
    for fire in FIRES:
        if fire is None:
            x = layers.MaxPooling2D(3, 2)(x)
            continue
        squeeze, expand = fire
        x = layers.Conv2D(squeeze, 1, activation="relu")(x)
        pair = [layers.Conv2D(expand, taps, padding="same", activation="relu")(x) for taps in (1, 3)]
        x = layers.Concatenate()(pair)
    x = layers.Conv2D(1000, 1, activation="relu")(layers.Dropout(0.5)(x))
    return keras.Model(image, layers.Softmax()(layers.GlobalAveragePooling2D()(x)))


def convert(model: Any, kind: str, size: int, channels: int, path: Path) -> None:
    """Save the model as a classifier in float32."""
    os.environ["TQDM_DISABLE"] = "1"
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools as ct
    import tensorflow as tf

    shape = (1, size, size, channels)
    forward = tf.function(lambda image: model(image, training=False)).get_concrete_function(
        tf.TensorSpec(shape, tf.float32, name="image")
    )
    color = ct.colorlayout.GRAYSCALE if channels == 1 else ct.colorlayout.RGB
    labels = ct.ClassifierConfig([str(label) for label in range(model.output_shape[-1])])
    options: dict[str, Any] = {"compute_precision": ct.precision.FLOAT32} if kind == "mlprogram" else {}
    ct.convert(
        [forward],
        source="tensorflow",
        convert_to=kind,
        inputs=[ct.ImageType(name="image", shape=shape, scale=1 / 255, color_layout=color)],
        classifier_config=labels,
        skip_model_load=True,
        **options,
    ).save(str(path))


if __name__ == "__main__":
    main()
