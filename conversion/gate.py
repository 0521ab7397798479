"""The gate of a promotion: whether a file may ship, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass

from architectures.errors import ProjectError
from conversion.verify import Evidence


class PromotionRefused(ProjectError):
    """A promotion was refused; nothing was changed. Exit code 3."""

    exit_code = 3

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("Promotion refused: " + "; ".join(reasons) + ".")
        self.reasons = reasons


@dataclass(frozen=True)
class Demands:
    """What a person asks of a file beyond agreement with its model."""

    min_accuracy: float | None = None  # of the executed file on the test images, 0..1
    max_bytes: int | None = None


def reasons_to_refuse(evidence: Evidence, demands: Demands) -> tuple[str, ...]:
    """Every reason why a file must not ship, with figures; empty if it may."""
    reasons = list(evidence.faults)
    if not evidence.parity:
        reasons.append("the file could not be compared with the model on any image")
    elif demands.min_accuracy is not None and evidence.on("test").file_accuracy < demands.min_accuracy:
        reasons.append(
            f"test accuracy of the file is {evidence.on('test').file_accuracy:.4f}, "
            f"below --min-accuracy {demands.min_accuracy:g}"
        )
    if demands.max_bytes is not None and evidence.file_bytes > demands.max_bytes:
        reasons.append(f"the file has {evidence.file_bytes:,} bytes, above --max-bytes {demands.max_bytes:,}")
    return tuple(reasons)
