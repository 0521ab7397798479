"""Measure how far rounding moves a converted file from its model, and what verification allows, for deep networks.

Run: python benchmarks/rounding.py --networks MobileNetV2 EfficientNetB0 --side 96

Networks of keras.applications with random weights, their normalisations adapted to the images and their probabilities
as sharp as a trained network's. `file - model` is the largest difference of a probability, which verification compares
with `allowed`; `model` and `file` are the distances of each from the same network in float64. The images are cut from
scikit-learn's two photographs.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_sample_images

from architectures.quiet import import_tensorflow

import_tensorflow()

import keras  # noqa: E402

from architectures.fields import Whole  # noqa: E402
from conversion.coreml.convert import Converter, FileFacts  # noqa: E402
from conversion.coreml.formats import FORMATS  # noqa: E402
from conversion.verification.parity import in_float64, parities  # noqa: E402
from experiments.classifier import as_classifier, forward_function, predict  # noqa: E402
from experiments.datasets import Split  # noqa: E402

NETWORKS = ("MobileNetV2", "EfficientNetB0", "MobileNetV3Small", "ResNet50", "DenseNet121")
CLASSES = tuple("0123456789")
SHARPNESS = 4.0  # standard deviation of the logits
KERNELS = ("kernel", "depthwise_kernel")
FACTS = FileFacts(CLASSES, "photographs", "0" * 64, "", "0" * 32, "", "0" * 40, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--side", type=Whole(32), default=96, help="pixels of an image's height and width")
    parser.add_argument("--images", type=Whole(8), default=60)
    parser.add_argument("--format", choices=FORMATS, default="mlmodel")
    arguments = parser.parse_args()
    images = photographs(arguments.images, arguments.side)
    split = Split(images, np.zeros(len(images), np.int64))
    print(f"{'network':18} {'file - model':>12} {'allowed':>8} {'model':>8} {'file':>8}  labels differ")
    for name in arguments.networks:
        classifier = as_classifier(network(name, images))
        exact = in_float64(classifier)
        answers = Converter(classifier, FACTS).executable(arguments.format).probabilities(images)
        (part,) = parities({"val": split}, {"val": answers}, forward_function(classifier), exact)
        off = np.abs(answers - predict(exact, images)).max()
        print(
            f"{name:18} {part.max_difference:12.1e} {part.allowance:8.1e} {part.rounding:8.1e} {off:8.1e}  "
            f"{part.label_flips} of {part.images}",
            flush=True,
        )
        keras.backend.clear_session()


def photographs(count: int, side: int) -> np.ndarray:
    """Squares (count, side, side, 3) of any size, cut out of two photographs."""
    rng, pictures = np.random.default_rng(0), load_sample_images().images
    found = []
    for i in range(count):
        picture = pictures[i % 2]
        size = int(rng.integers(side, min(picture.shape[:2])))
        top, left = (int(rng.integers(0, length - size + 1)) for length in picture.shape[:2])
        places = np.arange(side) * size // side
        found.append(picture[top + places[:, None], left + places])
    return np.stack(found).astype(np.uint8)


def network(name: str, images: np.ndarray) -> keras.Model:
    """One of keras.applications, whose answers to these images are as varied as a trained network's."""
    options = {"include_preprocessing": False} if name.startswith("MobileNetV3") else {}
    body = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=images.shape[1:], pooling="avg", **options
    )
    rng = np.random.default_rng(0)
    for layer in body.layers:
        for weight in layer.weights:
            if weight.name in KERNELS:
                inputs = np.prod(weight.shape[:2]) if weight.name == "depthwise_kernel" else np.prod(weight.shape[:-1])
                weight.assign(rng.normal(0, np.sqrt(2 / inputs), weight.shape))
            elif weight.name in ("beta", "bias"):
                weight.assign(rng.normal(0, 0.2, weight.shape))
            elif weight.name == "gamma":
                weight.assign(rng.normal(1, 0.2, weight.shape))
    adapted = [layer for layer in body.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in adapted]
    pixels = images[:32].astype(np.float32) / 255
    for layer in adapted:
        layer.momentum = 0.0
    body(pixels, training=True)
    for layer, momentum in zip(adapted, momenta, strict=True):
        layer.momentum = momentum
    features = body(pixels, training=False).numpy()
    kernel = rng.normal(0, 1, (features.shape[1], len(CLASSES)))
    logits = features @ kernel
    kernel *= SHARPNESS / (logits - logits.mean(axis=0)).std()
    head = keras.layers.Dense(len(CLASSES), activation="softmax")
    whole_network = keras.Model(body.input, head(body.output))
    head.set_weights([kernel, -(features @ kernel).mean(axis=0)])
    return whole_network


if __name__ == "__main__":
    main()
