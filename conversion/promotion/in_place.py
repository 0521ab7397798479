"""Check whether a place holds the champion's file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from architectures.errors import ProjectError, UsageError
from conversion.coreml.file import read
from conversion.coreml.formats import Format
from conversion.coreml.writing import files_in_place
from conversion.promotion.place import DEFAULT_OUTPUT, OTHER_MODELS, OTHER_NAME, output_path
from conversion.runtime import CorruptModel, NotCheckable, load
from experiments.tracking import PLACE_TAG, Tracker, TrackingError


@dataclass(frozen=True)
class InPlace:
    """What was found about a registered model's champion and its file."""

    registered_name: str
    promotion: int | None
    path: Path | None  # the place that was checked
    problems: tuple[str, ...]  # in words; empty: the file is the champion's

    def as_json(self) -> dict[str, object]:
        return {
            "registered_model": self.registered_name,
            "promotion": self.promotion,
            "file": str(self.path) if self.path else None,
            "problems": list(self.problems),
        }


def check_in_place(tracker: Tracker, name: str, output: str | Path | None = None) -> InPlace:
    """Compare the file in a place with the champion's record, without changing anything.

    Args:
        output: the place; None: where the champion's file was last put.

    Raises:
        UsageError: for an unknown registered model.
    """
    if name not in (known := tracker.registry.registered_names()):
        raise UsageError(f"Unknown registered model {name!r} in {tracker.uri}. Known: {', '.join(known) or 'none'}.")
    problems = []
    if begun := tracker.promotions.begun(name):
        what = "rollback" if begun.target is not None else "promotion"
        problems.append(
            f"a {what} was begun on {begun.host} and has not ended; if its process is gone, the "
            f"next promotion or rollback settles it"
        )
    champion = tracker.registry.champion(name)
    if champion is None:
        return InPlace(name, None, None, (*problems, f"{name} has no champion"))
    try:
        promotion = tracker.promotions.current_promotion(champion)
    except TrackingError:
        raise
    except ProjectError as error:
        return InPlace(name, None, None, (*problems, str(error)))
    if not tracker.promotions.is_champion(promotion):
        problems.append(f"the aliases champion of {name} and of {promotion.name} are on different promotions")
    usual = DEFAULT_OUTPUT if promotion.file_name.startswith(DEFAULT_OUTPUT.stem) else OTHER_MODELS / name / OTHER_NAME
    form: Format = "mlmodel" if promotion.file_name.endswith(".mlmodel") else "mlpackage"
    path = output_path(output or promotion.tags.get(PLACE_TAG), usual, form)
    found = files_in_place(path)
    if not found:
        problems.append(f"there is no {path}")
    for stands in found:
        if (digest := read(stands).sha256) == promotion.sha256:
            continue
        others = [each.number for each in tracker.promotions.all(name) if each.sha256 == digest]
        of = f"that of promotion {others[-1]}" if others else f"of SHA-256 {digest[:12]}..., which {name} does not know"
        problems.append(f"{stands} is not the champion's file, promotion {promotion.number}, but {of}")
    return InPlace(name, promotion.number, path, tuple(problems))


def taken(path: Path, tracker: Tracker, *, name: str, dataset: str) -> str | None:
    """Return why a promotion of a registered model may not use a place; None if it may.

    An existing file, in either format, must be a promotion of the same registered model. If it comes from a store that
    no longer exists, it is recognised by its data set, so that a new store can promote over it.
    """
    for form in files_in_place(path):
        try:
            metadata = load(form).interface.metadata.user_defined
        except (CorruptModel, NotCheckable):
            metadata = {}
        if "run_id" not in metadata:
            return f"{form} exists and was not written by a promotion"
        owners = tracker.promotions.promoted_as(read(form).sha256, form) or tracker.registry.registered_as(
            metadata["run_id"]
        )
        if owners and name not in owners:
            return f"{form} holds a promotion of {' and '.join(owners)}, not of {name}"
        if not owners and metadata.get("dataset") != dataset:
            return f"{form} holds a model of {metadata.get('dataset')} that this store does not know, not one of {name}"
    return None
