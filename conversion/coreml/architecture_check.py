"""The contract's check that an architecture converts to Core ML, and that the file predicts the same.

It is found through the entry-point group `architecture_checks`, because architectures may not import conversion.
"""

from __future__ import annotations

import numpy as np

from architectures.registry import Architecture, Shape
from conversion.coreml.convert import Converter
from conversion.coreml.facts import FileFacts
from conversion.coreml.formats import FORMATS
from conversion.runtime import NotCheckable
from conversion.verification.parity import in_float64, parities
from experiments.classifier import as_classifier, forward_function
from experiments.datasets import Split

CLASSES = tuple("abcdefg")
IMAGES = 16


def check_conversion(architecture: Architecture, input_shape: Shape, filters: int | None) -> None:
    """Convert to each format, execute the saved file, and compare its probabilities with the model's.

    Raises:
        AssertionError: if they differ.
        ProjectError: if the conversion or the execution fails.
    """
    classifier = as_classifier(architecture.build(input_shape, len(CLASSES), filters=filters))
    noise = np.random.default_rng(0)
    # Every weight must matter, but initial biases are 0, and initial averages of a normalisation 0 and 1. Kernels keep
    # a mean of zero, so that values stay finite in deep networks.
    varied = [
        weight * noise.uniform(0.5, 1.5, weight.shape)
        + (noise.uniform(0, 0.1, weight.shape) if weight.size and np.ptp(weight) == 0 else 0)
        for weight in classifier.get_weights()
    ]
    classifier.set_weights(varied)
    images = noise.integers(0, 256, (IMAGES, *input_shape), dtype=np.uint8)
    noisy = {"noise": Split(images, np.zeros(IMAGES, np.int64))}
    try:
        forward, exact = forward_function(classifier), in_float64(classifier)
    except NotCheckable:
        try:
            type(classifier).from_config(classifier.get_config())
        except Exception:  # layers may raise anything
            return  # the check of saving reports it
        raise
    facts = FileFacts(CLASSES, "noise", "0" * 64, architecture.name, "0" * 32, "", "0" * 40, 0.0)
    converter = Converter(classifier, facts)
    for format in FORMATS:
        executed = {"noise": converter.executable(format).probabilities(images)}
        (parity,) = parities(noisy, executed, forward, exact)
        if parity.faults:
            raise AssertionError(f"the executed {format}'s {'; '.join(parity.faults)}")
