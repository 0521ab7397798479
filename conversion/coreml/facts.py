"""The facts that a Core ML file states about itself."""

from __future__ import annotations

from dataclasses import dataclass

from conversion.verification.threshold import THRESHOLD_DIGITS
from experiments.classifier import PREPROCESSING_VERSION


@dataclass(frozen=True)
class FileFacts:
    """The facts that a Core ML file states. The lengths of these texts are part of the file's size."""

    class_names: tuple[str, ...]
    dataset: str
    dataset_digest: str
    architecture: str
    run_id: str
    study: str  # empty for a run outside a study
    git_commit: str
    val_accuracy: float
    threshold: float = 0.0  # confidence below which the answer is "I do not know"; 0: every guess is an answer
    fit: str = ""  # how photographs are resized: crop, pad or squash; empty, like the next: not in the file
    background: str = ""  # colour of transparent pixels and margins
    author: str = ""
    license: str = ""

    def user_defined(self) -> dict[str, str]:
        """The file's user metadata."""
        return {
            "run_id": self.run_id,
            "study": self.study,
            "architecture": self.architecture,
            "dataset": self.dataset,
            "dataset_digest": self.dataset_digest,
            "val_accuracy": f"{self.val_accuracy:.4f}",
            "threshold": f"{self.threshold:.{THRESHOLD_DIGITS}f}",
            "preprocessing_version": str(PREPROCESSING_VERSION),
            **{key: value for key in ("fit", "background") if (value := getattr(self, key))},
            "git_commit": self.git_commit,
        }
