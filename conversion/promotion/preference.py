"""Find the smallest registered version that is not significantly worse than the best: `--prefer smallest`."""

from __future__ import annotations

from dataclasses import dataclass

from conversion.promotion.champion import SIGNIFICANCE, AccuracyTest, mcnemar_test
from conversion.runtime.interface import Indices, Probabilities
from experiments.datasets import Dataset
from experiments.tracking import Tracker, VersionFacts

TEST = "exact one-sided McNemar test"


@dataclass(frozen=True)
class Preferred:
    """What is known about a registered version."""

    version: int
    run_id: str
    run: str  # its name
    coreml_bytes: int  # of its file, from its trial


@dataclass(frozen=True)
class Smaller:
    """A version whose file is smaller than that of the best."""

    version: int
    coreml_bytes: int
    comparison: AccuracyTest | None  # with the best, as the champion; None: see `not_compared`
    not_compared: str = ""

    @property
    def as_good(self) -> bool:
        """Whether it was compared and found not significantly worse."""
        return self.comparison is not None and self.comparison.p_value > SIGNIFICANCE


@dataclass(frozen=True)
class Preference:
    """The version chosen instead of the best one, and all that were considered."""

    registered_name: str
    best: Preferred
    taken: Preferred
    images: int  # of the validation split
    significance_level: float
    smaller: tuple[Smaller, ...]  # the compared ones, the smallest first; the last one was chosen, if any was

    @property
    def text(self) -> str:
        """A sentence with the figures."""
        best, taken = self.best, self.taken
        taken_text = f"version {taken.version} of {self.registered_name} ({taken.run}, {taken.coreml_bytes:,} bytes)"
        level = f"{TEST} on {self.images:,} validation images, "
        if taken.version == best.version:
            if not self.smaller:
                return f"{taken_text}, which is both the best and the smallest"
            untold = [f"version {one.version} {one.not_compared}" for one in self.smaller if one.comparison is None]
            worse = sum(one.comparison is not None for one in self.smaller)
            many = f"{worse} smaller versions are" if worse > 1 else "1 smaller version is"
            found = [f"{many} significantly worse ({level}level {self.significance_level:g})"] if worse else []
            return f"{taken_text}, which is the best: " + "; ".join(found + untold)
        against = self.smaller[-1].comparison
        assert against is not None  # otherwise it would not have been chosen
        return (
            f"{taken_text} in place of the best, version {best.version} ({best.run}, {best.coreml_bytes:,} bytes): "
            f"validation accuracy {against.candidate_accuracy:.4f} against {against.champion_accuracy:.4f}, right on "
            f"{against.only_candidate_right} that it misses, wrong on {against.only_champion_right} that it knows, "
            f"not significantly worse ({level}p = {against.p_value:.3g}, level {self.significance_level:g})"
        )


def smallest(tracker: Tracker, name: str, dataset: Dataset) -> Preference:
    """Find the smallest version of a registered model that is not significantly worse than its best.

    The recorded predictions of each version on the validation images are compared with those of the best. Versions on
    other data are left out. A version that cannot be compared is never chosen.

    Raises:
        UsageError: if the registered model has no version.
    """
    best_version = tracker.registry.best(name).version
    versions = {one.version: one for one in tracker.registry.versions(name)}
    taken = best = versions[best_version]
    same_data = best.tags.get("dataset_digest") == dataset.digest
    reference = tracker.models.val_probabilities(best.run_id) if same_data else None
    looked_at: list[Smaller] = []
    for one in sorted(versions.values(), key=lambda one: (one.expected_coreml_bytes, one.version)):
        if one.tags.get("dataset_digest") != dataset.digest or one.expected_coreml_bytes >= best.expected_coreml_bytes:
            continue
        looked_at.append(
            _held_against(reference, one, tracker.models.val_probabilities(one.run_id), dataset.val.labels)
        )
        if looked_at[-1].as_good:
            taken = one
            break
    return Preference(
        registered_name=name,
        best=_preferred(tracker, best),
        taken=_preferred(tracker, taken),
        images=len(dataset.val),
        significance_level=SIGNIFICANCE,
        smaller=tuple(looked_at),
    )


def _held_against(
    reference: Probabilities | None, one: VersionFacts, answers: Probabilities | None, labels: Indices
) -> Smaller:
    if reference is None or answers is None:
        whose = "the best one's" if reference is None else "its"
        missing = f"cannot be compared: {whose} predictions on these validation images were not kept"
        return Smaller(one.version, one.expected_coreml_bytes, None, missing)
    if 0.5 ** len(labels) > SIGNIFICANCE:
        few = f"cannot be compared: {len(labels)} validation images are too few to show that any model is worse"
        return Smaller(one.version, one.expected_coreml_bytes, None, few)
    return Smaller(
        one.version, one.expected_coreml_bytes, mcnemar_test(answers.argmax(axis=1), reference.argmax(axis=1), labels)
    )


def _preferred(tracker: Tracker, version: VersionFacts) -> Preferred:
    return Preferred(
        version.version, version.run_id, tracker.runs.get(version.run_id).name, version.expected_coreml_bytes
    )
