"""The champion that a candidate is compared with; its file is fetched from its record, checked and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from architectures.errors import ProjectError
from architectures.scratch import scratch_folder
from conversion import runtime
from conversion.coreml.file import CoreMLFile, read
from conversion.runtime import Executable, Interface
from conversion.runtime.interface import Indices
from experiments.tracking import Current, PromotionRecord, Tracker, VersionRecord

# Level of each one-sided test. A candidate as good as the champion is refused in at most one of twenty cases, which
# --force can override, and one of twenty guesses passes. If two files disagree on 16 images, a candidate that is right
# on 4 of them and wrong on 12 is refused; a stricter level would accept it.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Champion:
    """The current champion with its file, ready to run."""

    version: VersionRecord
    promotion: PromotionRecord
    executable: Executable

    @property
    def name(self) -> str:
        return f"champion (version {self.version.version}, promotion {self.promotion.number})"

    @property
    def current(self) -> Current:
        """The promotion that was current when the champion was loaded."""
        return Current(self.version.version, self.promotion.number)


@dataclass(frozen=True)
class AccuracyTest:
    """The accuracy of two files on the same images."""

    images: int
    candidate_accuracy: float
    champion_accuracy: float
    only_candidate_right: int  # images
    only_champion_right: int  # images
    p_value: float  # exact one-sided McNemar test: probability that chance favours the champion this much


def load_champion(tracker: Tracker, name: str) -> Champion | None:
    """Load the champion of a registered model; return None if it has none.

    Raises:
        ProjectError: if its file is missing, differs from its record, or cannot be run.
    """
    version = tracker.registry.champion(name)
    if version is None:
        return None
    promotion = tracker.promotions.current_promotion(version)
    with scratch_folder() as folder:
        fetch(tracker, promotion, folder)
        return Champion(version, promotion, runtime.load(folder / promotion.file_name))


def fetch(tracker: Tracker, promotion: PromotionRecord, folder: Path) -> CoreMLFile:
    """Fetch the file and the evidence of a promotion into a folder.

    Raises:
        ProjectError: if they are missing, or the file differs from its record.
    """
    file = read(tracker.promotions.download_promotion(promotion, folder))
    if file.sha256 != promotion.sha256:
        raise ProjectError(
            f"the file of promotion {promotion.number} of {promotion.name} has SHA-256 {file.sha256[:12]}..., "
            f"its record says {promotion.sha256[:12]}..."
        )
    return file


def app_contract(interface: Interface) -> Mapping[str, str]:
    """Return what an app relies on: a file can be replaced by another one with the same contract."""
    image = interface.input
    return {
        "input name": image.name,
        "image size": f"{image.width}x{image.height}",
        "image colour": image.color,
        "image scale": str(np.float32(image.scale)),
        "image bias": str(tuple(np.float32(value).item() for value in image.bias)),
        "probabilities output": interface.probabilities_name,
        "label output": interface.label_name,
        "labels": ", ".join(map(str, interface.labels)),
        "preprocessing version": interface.metadata.user_defined.get("preprocessing_version", "none"),
    }


def mcnemar_test(candidate: Indices, champion: Indices, labels: Indices) -> AccuracyTest:
    """Run McNemar's exact test on the images that only one of two files gets right.

    Equally good files are each right on about half of those images. The test is one-sided, because a better candidate
    is never refused.

    Args:
        candidate: predicted label indices (N,).
        champion: predicted label indices (N,).
        labels: true label indices (N,).

    >>> truth = np.zeros(500, np.int64)
    >>> worse = np.repeat([1, 0], [9, 491])
    >>> round(mcnemar_test(worse, truth, truth).p_value, 4)
    0.002
    """
    from scipy.stats import binomtest  # takes half a second, which a sweep without a registered model can save

    right, champion_right = candidate == labels, champion == labels
    gained, lost = int((right & ~champion_right).sum()), int((champion_right & ~right).sum())
    discordant = gained + lost
    return AccuracyTest(
        images=len(labels),
        candidate_accuracy=float(right.mean()),
        champion_accuracy=float(champion_right.mean()),
        only_candidate_right=gained,
        only_champion_right=lost,
        p_value=float(binomtest(lost, discordant, 0.5, alternative="greater").pvalue) if discordant else 1.0,
    )
