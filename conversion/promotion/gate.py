"""The gate of a promotion: whether a file may ship, and why, with the figures of every criterion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from architectures.errors import ProjectError
from conversion.promotion.candidate import Candidate
from conversion.promotion.champion import SIGNIFICANCE, Champion, app_contract, mcnemar_test
from conversion.promotion.config import PromoteConfig
from conversion.runtime import Interface
from conversion.verification.evidence import Evidence
from conversion.verification.parity import FILE

WAY_OUT = " (--force --reason TEXT promotes without the comparison)"

# Failed and not checkable criteria refuse the file. Not judged: the criterion needs the test images, which were not
# used because another criterion had already refused the file.
Verdict = Literal["passed", "failed", "not checkable", "not asked", "no champion", "not judged"]
REFUSING = ("failed", "not checkable")
FigureValue = float | int | str | None


@dataclass(frozen=True)
class Criterion:
    """A requirement for a file."""

    name: str
    verdict: Verdict
    finding: str  # in words, with the figures
    figures: Mapping[str, FigureValue] = field(
        default_factory=dict
    )  # by name; see `conversion.promotion.report` for their units

    @property
    def refuses(self) -> bool:
        return self.verdict in REFUSING


@dataclass(frozen=True)
class Decision:
    """The decision of the gate, and whether the user overrode it."""

    criteria: tuple[Criterion, ...]
    forced_reason: str | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the file may not ship; empty if it may."""
        return tuple(criterion.finding for criterion in self.criteria if criterion.refuses)

    def overtaken(self, finding: str) -> Decision:
        """Refuse because something else was promoted in the meantime, which cannot be overridden."""
        return Decision((*self.criteria, Criterion("one at a time", "failed", finding)))

    @property
    def outcome(self) -> Literal["promoted", "forced", "refused"]:
        if not self.reasons:
            return "promoted"
        return "refused" if self.forced_reason is None else "forced"


def judge(
    config: PromoteConfig,
    candidate: Candidate,
    evidence: Evidence,
    interface: Interface,
    *,
    champion: Champion | ProjectError | None,
    path: Path,
    taken: str | None,
) -> Decision:
    """Check a file against all criteria.

    Criteria that need no test image are judged first, so that a file that they refuse does not use the test images.

    Args:
        config: the limits, and whether the user overrides them.
        candidate: the model that the file was made from.
        champion: the promoted file, or why it is not available.
        path: where the file would go.
        taken: why it may not go there, in words; None if it may.
    """
    return Decision(
        (
            _verification(evidence),
            _accuracy(evidence, config.min_accuracy),
            _guessing(evidence),
            _size(evidence, config.max_bytes),
            _loss(evidence, config.max_accuracy_loss),
            _contract(interface, champion),
            _champion(candidate, evidence, interface, champion),
            _place(path, taken),
        ),
        config.forced_reason,
    )


def _asked(name: str, passed: bool, finding: str, **figures: FigureValue) -> Criterion:
    return Criterion(name, "passed" if passed else "failed", finding, figures)


def _not_judged(name: str) -> Criterion:
    return Criterion(name, "not judged", "not evaluated on the test images, because the file is refused anyway")


def _verification(evidence: Evidence) -> Criterion:
    if evidence.faults:
        return _asked("verification", False, "; ".join(evidence.faults))
    if not evidence.parity:
        return _asked("verification", False, "the file could not be compared with the model on any image")
    images = sum(parity.images for parity in evidence.parity)
    worst = max(evidence.parity, key=lambda parity: parity.max_difference)
    agreed = (
        f"agrees with its model on {images:,} images, probabilities to {worst.max_difference:.1e} "
        f"({worst.allowance:.1e} is allowed)"
    )
    return _asked(
        "verification",
        True,
        f"the file {agreed}"
        if worst.executed == FILE
        else f"the file is the {worst.executed} of its model but for the compression, and that {agreed}",
        images=images,
        max_difference=worst.max_difference,
        allowance=worst.allowance,
    )


def _accuracy(evidence: Evidence, limit: float | None) -> Criterion:
    name = "test accuracy"
    if limit is None:
        return Criterion(name, "not asked", "no --min-accuracy was given")
    if not evidence.original:
        return _asked(name, False, "the file's test accuracy could not be measured", min_accuracy=limit)
    if evidence.test_evaluation is None:
        return _not_judged(name)
    found = evidence.against_original("test").file_accuracy
    relation = "not below" if found >= limit else "below"
    return _asked(
        name,
        found >= limit,
        f"test accuracy of the file is {found:.4f}, {relation} --min-accuracy {limit:g}",
        test_accuracy=found,
        min_accuracy=limit,
    )


def _written(p_value: float) -> str:
    """Return a p-value as text; one that underflows is not written as 0."""
    return f"p = {p_value:.3g}" if p_value else "p < 1e-300"


def _guessing(evidence: Evidence) -> Criterion:
    """Judge whether a file is better than always predicting the most frequent class."""
    from scipy.stats import binom, binomtest

    name = "better than guessing"
    if not evidence.original:
        return _asked(name, False, "the file's test accuracy could not be measured")
    if evidence.test_evaluation is None:
        return _not_judged(name)
    matrix = evidence.test_evaluation.confusion_matrix
    images, largest = sum(map(sum, matrix)), max(map(sum, matrix))
    correct, share = sum(row[index] for index, row in enumerate(matrix)), largest / images
    p_value = float(binomtest(correct, images, share, alternative="greater").pvalue)
    passed = p_value <= SIGNIFICANCE
    figures: dict[str, FigureValue] = {"correct": correct, "images": images, "largest_class_share": share}
    figures |= {"p_value": p_value, "significance_level": SIGNIFICANCE}
    test = f"exact one-sided binomial test, {_written(p_value)}, level {SIGNIFICANCE:g}"
    if share**images > SIGNIFICANCE:
        finding = (
            f"{images} test images, {largest} of them of one class, are too few to tell a file from one that always "
            f"answers this class, even if it is right on all of them ({test})"
        )
        return Criterion(name, "not checkable", finding, figures)
    finding = (
        f"right on {correct:,} of {images:,} test images, {'' if passed else 'not '}significantly above "
        f"{share:.4f}, the share of the largest class ({test})"
    )
    if not passed and correct > largest:
        needed = int(binom.isf(SIGNIFICANCE, images, share)) + 1
        finding += f": the test split is too small to tell, it takes {needed} right of {images}"
    return _asked(name, passed, finding, **figures)


def _size(evidence: Evidence, limit: int | None) -> Criterion:
    if limit is None:
        return Criterion("size", "not asked", "no --max-bytes was given")
    relation = "not above" if evidence.file_bytes <= limit else "above"
    return _asked(
        "size",
        evidence.file_bytes <= limit,
        f"the file has {evidence.file_bytes:,} bytes, {relation} --max-bytes {limit:,}",
        coreml_bytes=evidence.file_bytes,
        max_bytes=limit,
    )


def _loss(evidence: Evidence, limit: float) -> Criterion:
    name = "accuracy loss"
    if not evidence.original:
        return _asked(name, False, "the file's loss of accuracy could not be measured", max_accuracy_loss=limit)
    part = evidence.against_original("val")
    lost = round((part.model_accuracy - part.file_accuracy) * part.images)  # in images, so that 0.2 points equals 0.2
    points = 100 * lost / part.images
    passed = points <= limit
    return _asked(
        name,
        passed,
        f"the file's validation accuracy is {part.file_accuracy:.4f}, the model's {part.model_accuracy:.4f}: "
        f"{abs(points):.2f} points {'gained' if points < 0 else 'lost'}, {'not ' if passed else ''}more than "
        f"--max-accuracy-loss {limit:g}",
        val_accuracy=part.file_accuracy,
        model_val_accuracy=part.model_accuracy,
        accuracy_loss=points,
        max_accuracy_loss=limit,
    )


def _contract(interface: Interface, champion: Champion | ProjectError | None) -> Criterion:
    name = "contract"
    if champion is None:
        return Criterion(name, "no champion", "no file was promoted before that an app could rely on")
    if isinstance(champion, ProjectError):
        return _asked(name, False, f"the champion's contract is not known: {champion}{WAY_OUT}")
    ours, theirs = app_contract(interface), app_contract(champion.executable.interface)
    changed = "; ".join(f"{key} is {ours[key]}, not {theirs[key]}" for key in ours if ours[key] != theirs[key])
    if changed:
        return _asked(name, False, f"the app's contract with the {champion.name} would break: {changed}")
    return _asked(name, True, f"input, outputs, labels and preprocessing are those of the {champion.name}")


def _champion(
    candidate: Candidate, evidence: Evidence, interface: Interface, champion: Champion | ProjectError | None
) -> Criterion:
    import numpy as np

    name = "champion"
    if champion is None:
        return Criterion(name, "no champion", "there is no champion to be compared with")
    if isinstance(champion, ProjectError):
        return _asked(name, False, f"the champion's file is not available for comparison: {champion}{WAY_OUT}")
    if app_contract(interface) != app_contract(champion.executable.interface) or not evidence.original:
        return _asked(name, False, f"the {champion.name} cannot be compared with on the same images")
    if not evidence.test_predictions:
        return _not_judged(name)
    test = candidate.split("test")
    theirs = champion.executable.probabilities(test.images).argmax(axis=1)
    found = mcnemar_test(np.array(evidence.test_predictions), theirs, test.labels)
    passed = found.p_value > SIGNIFICANCE
    digest = champion.executable.interface.metadata.user_defined.get("dataset_digest", "none")
    other = digest != candidate.dataset.digest
    return _asked(
        name,
        passed,
        f"test accuracy {found.candidate_accuracy:.4f} against {found.champion_accuracy:.4f} of the {champion.name} on "
        f"the same {found.images:,} images: right on {found.only_candidate_right} that it misses, wrong on "
        f"{found.only_champion_right} that it knows, {'not ' if passed else ''}significantly worse (exact one-sided "
        f"McNemar test, {_written(found.p_value)}, level {SIGNIFICANCE:g})"
        + (f"; the champion was trained on other data ({digest[:12]})" if other else ""),
        champion_version=champion.version.version,
        champion_promotion=champion.promotion.number,
        champion_dataset_digest=digest,
        images=found.images,
        test_accuracy=found.candidate_accuracy,
        champion_test_accuracy=found.champion_accuracy,
        only_candidate_right=found.only_candidate_right,
        only_champion_right=found.only_champion_right,
        p_value=found.p_value,
        significance_level=SIGNIFICANCE,
    )


def _place(path: Path, taken: str | None) -> Criterion:
    if taken:
        return _asked("place", False, f"{taken}: move it, choose --output, or add --force --reason")
    return _asked("place", True, f"{path} is free, or holds a promotion of the same registered model")
