"""Properties that a Core ML file must share with its model, and that a few images would not reveal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from architectures.registry import head_of
from conversion.coreml.naming import INPUT_NAME, LABEL_NAME, OUTPUT_NAME
from conversion.promotion.candidate import Candidate
from conversion.runtime import Interface
from conversion.runtime.interface import ARRAY, COLOR_OF_CHANNELS
from experiments.classifier import PIXEL_SCALE, PREPROCESSING_VERSION, network_of

COMPRESSION_KEY = "compression"  # in the file's user metadata


@dataclass(frozen=True)
class Check:
    """A property that the file must share with its model."""

    name: str
    passed: bool
    expected: str
    found: str


def check_equal(name: str, expected: str, found: str) -> Check:
    return Check(name, expected == found, expected, found)


def structural_checks(interface: Interface, candidate: Candidate) -> list[Check]:
    """Compare a file's names, image, labels, last layer and origin with those of its model."""
    height, width, channels = candidate.dataset.input_shape
    image, user = interface.input, interface.metadata.user_defined
    return [
        check_equal("input name", INPUT_NAME, image.name),
        check_equal("probabilities output", OUTPUT_NAME, interface.probabilities_name),
        check_equal("label output", LABEL_NAME, interface.label_name),
        check_equal("image size", f"{width}x{height}", f"{image.width}x{image.height}"),
        check_equal("image colour", COLOR_OF_CHANNELS.get(channels, ARRAY), image.color),
        check_equal("image scale", str(np.float32(PIXEL_SCALE)), str(np.float32(image.scale))),
        check_equal("image bias", str((0.0,) * channels), str(tuple(image.bias))),
        check_equal("label count", str(len(candidate.dataset.class_names)), str(len(interface.labels))),
        check_equal("label order", str(candidate.dataset.class_names), str(interface.labels)),
        check_equal("last layer", str(head_of(network_of(candidate.classifier))), interface.head),
        check_equal("run id", candidate.run.run_id, user.get("run_id", "none")),
        check_equal("dataset digest", candidate.dataset.digest, user.get("dataset_digest", "none")),
        check_equal("preprocessing version", str(PREPROCESSING_VERSION), user.get("preprocessing_version", "none")),
        check_equal("fit", candidate.facts.fit or "none", user.get("fit", "none")),
        check_equal("background", candidate.facts.background or "none", user.get("background", "none")),
    ]
