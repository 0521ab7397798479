"""Convert a trained classifier to a Core ML file with the project's names, labels and metadata."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from architectures.errors import ProjectError
from experiments.classifier import PIXEL_SCALE, PREPROCESSING_VERSION, as_classifier, network_of

if TYPE_CHECKING:
    import keras

    from architectures.registry import Architecture

INPUT_NAME = "image"
OUTPUT_NAME = "output"
LABEL_NAME = "classLabel"
DEFAULT_AUTHOR = "pocketnets"
DEFAULT_LICENSE = "MIT"
VERSION_LENGTH = 8  # characters of the run id that serve as the file's version


@dataclass(frozen=True)
class FileFacts:
    """What a Core ML file says about itself. The lengths of these texts are part of the file's size."""

    class_names: tuple[str, ...]
    dataset: str
    dataset_digest: str
    architecture: str
    run_id: str
    study: str  # empty for a run outside a study
    git_commit: str
    val_accuracy: float
    author: str = DEFAULT_AUTHOR
    license: str = DEFAULT_LICENSE

    def user_defined(self) -> dict[str, str]:
        """The file's user metadata."""
        return {
            "run_id": self.run_id,
            "study": self.study,
            "architecture": self.architecture,
            "dataset": self.dataset,
            "dataset_digest": self.dataset_digest,
            "val_accuracy": f"{self.val_accuracy:.4f}",
            "preprocessing_version": str(PREPROCESSING_VERSION),
            "git_commit": self.git_commit,
            "com.apple.coreml.model.preview.type": "imageClassifier",
        }


@cache
def coremltools() -> ModuleType:
    """coremltools, imported without its warnings."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)  # it warns of every untested library version
    import coremltools

    return coremltools


def convert(classifier: keras.Model, facts: FileFacts) -> bytes:
    """Convert to a neuralnetwork `.mlmodel`.

    Args:
        classifier: a model made by `experiments.classifier.build_classifier`, in float32.
        facts: labels in the order of the model's outputs, and metadata.

    Returns:
        The file's content: deterministic for the same weights, facts, library versions and day.

    Raises:
        ProjectError: if the image has neither one nor three channels, the labels do not fit the output, or
            coremltools cannot convert one of the model's operations.
    """
    import tensorflow as tf

    ct = coremltools()
    network = network_of(classifier)
    height, width, channels = network.input_shape[1:]
    if channels not in (1, 3):
        raise ProjectError(f"Core ML images have 1 or 3 channels, the model's have {channels}.")
    if len(facts.class_names) != network.output_shape[1]:  # coremltools would accept it silently
        raise ProjectError(f"{len(facts.class_names)} labels for {network.output_shape[1]} outputs.")
    layout = ct.colorlayout.GRAYSCALE if channels == 1 else ct.colorlayout.RGB

    # coremltools 9 fails on a Keras 3 model and on its SavedModel; it reads one concrete function.
    forward = tf.function(lambda image: network(image, training=False)).get_concrete_function(
        tf.TensorSpec((1, height, width, channels), tf.float32, name=INPUT_NAME)
    )
    try:
        model = ct.convert(
            [forward],
            source="tensorflow",
            convert_to="neuralnetwork",
            inputs=[
                ct.ImageType(
                    name=INPUT_NAME, shape=(1, height, width, channels), scale=PIXEL_SCALE, color_layout=layout
                )
            ],
            classifier_config=ct.ClassifierConfig(list(facts.class_names)),
        )
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ProjectError(f"coremltools cannot convert {facts.architecture}: {text}") from error
    spec = model.get_spec()
    ct.utils.rename_feature(spec, spec.description.predictedProbabilitiesName, OUTPUT_NAME)
    _name_layers(spec.neuralNetworkClassifier)
    _describe(spec, facts)
    return spec.SerializeToString(deterministic=True)


def _name_layers(network) -> None:  # type: ignore[no-untyped-def]  # a protobuf message
    """Name layers and what they pass on by kind and position.

    The converter's names hold Keras' counters (`conv2d_17`), which would make the file's bytes, and their number,
    depend on what else the process had built.
    """
    names = {INPUT_NAME: INPUT_NAME, OUTPUT_NAME: OUTPUT_NAME}
    for position, layer in enumerate(network.layers):
        layer.name = f"{layer.WhichOneof('layer')}_{position}"
        for index, output in enumerate(layer.output):
            names.setdefault(output, f"{layer.name}_{index}" if index else layer.name)
        layer.input[:] = [names[name] for name in layer.input]
        layer.output[:] = [names[name] for name in layer.output]


def _describe(spec, facts: FileFacts) -> None:  # type: ignore[no-untyped-def]  # a protobuf message
    """Write names, descriptions and metadata into the specification."""
    description = spec.description
    image = description.input[0].type.imageType
    kind = "grayscale" if image.colorSpace == image.GRAYSCALE else "RGB"
    size = f"{image.width}x{image.height}"
    description.input[0].shortDescription = f"A {kind} image of {size} pixels, prepared as {facts.dataset} is"
    for output in description.output:
        output.shortDescription = (
            "The most probable class" if output.name == LABEL_NAME else "The probability of each class"
        )
    metadata = description.metadata
    metadata.author = facts.author
    metadata.license = facts.license
    metadata.shortDescription = (
        f"Classifies {size} {kind} images of {facts.dataset} into {len(facts.class_names)} classes "
        f"with the network {facts.architecture}"
    )
    metadata.versionString = facts.run_id[:VERSION_LENGTH]
    for key, value in facts.user_defined().items():
        metadata.userDefined[key] = value


def coreml_bytes(classifier: keras.Model, facts: FileFacts) -> int:
    """Exact size of the file that `convert` gives for this network once it is trained.

    The weights of `classifier` are replaced by random ones: coremltools leaves out biases that are still zero.
    """
    import numpy as np

    noise = np.random.default_rng(0)
    classifier.set_weights([noise.uniform(0.5, 1, weight.shape).astype(weight.dtype) for weight in classifier.weights])
    return len(convert(classifier, facts))


def published_coreml_bytes(
    architecture: Architecture, input_shape: tuple[int, int, int], num_classes: int, filters: int | None
) -> int:
    """Size of the file of a run outside a study on data without a name, for the table of architectures."""
    classifier = as_classifier(architecture.build(input_shape, num_classes, filters=filters))
    names = tuple(map(str, range(num_classes)))
    facts = FileFacts(names, "", "0" * 64, architecture.name, "0" * 32, "", "0" * 40, 0.0)
    return coreml_bytes(classifier, facts)
