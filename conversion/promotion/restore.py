"""Roll back to the promotion before the current one: alias, evidence and file.

Repeated, it goes further back; the next promotion continues from there.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from architectures.errors import ProjectError, UsageError
from architectures.scratch import scratch_folder
from conversion.coreml.writing import staged
from conversion.promotion.champion import fetch
from conversion.promotion.config import DEFAULT_MODEL
from conversion.promotion.in_place import taken
from conversion.promotion.place import checked_place, default_output, output_path
from conversion.promotion.switch import TAGS, make_champion, note_return, settle, switching
from conversion.runtime import load
from experiments.tracking import PLACE_TAG, PromotionRecord, Tracker, TrackingError, VersionRecord


class RollbackRefused(ProjectError):
    """There is nothing to return to, or it cannot be trusted; nothing was changed. Exit code 3."""

    exit_code = 3


@dataclass(frozen=True)
class Rollback:
    """A rollback that was made, or would be."""

    left: PromotionRecord
    restored: PromotionRecord
    version: VersionRecord  # becomes champion again
    path: Path

    def as_json(self) -> dict[str, object]:
        return {
            "run_id": self.version.run_id,
            "registered_model": self.version.registered_name,
            "version": self.version.version,
            "promotion_model": self.restored.name,
            "promotion": self.restored.number,
            "left_version": self.left.source,
            "left_promotion": self.left.number,
            "file": str(self.path),
            "coreml_sha256": self.restored.sha256,
            "coreml_bytes": int(self.restored.tags["coreml_bytes"]),
            **{key: self.restored.tags[key] for key in ("coreml_format", "compression", "promoted_at")},
        }


def rollback(
    tracking_uri: str, *, model: str = DEFAULT_MODEL, output: str | Path | None = None, dry_run: bool = False
) -> Rollback:
    """Make the promotion before the current one the champion again, and restore its file byte for byte.

    Without `output`, the file goes to the registered model's own place.

    Raises:
        RollbackRefused: if there is none, its file differs from its record, or the place has a file from elsewhere or
            of another registered model; nothing was changed.
        OSError: if the file cannot be written; nothing was changed.
        TrackingError: if the store cannot be reached.
    """
    chosen = checked_place(output)
    tracker = Tracker(tracking_uri, create=False, write=not dry_run)
    if model not in (known := tracker.registry.registered_names()):
        raise UsageError(f"Unknown registered model {model!r} in {tracking_uri}. Known: {', '.join(known) or 'none'}.")
    with scratch_folder() as folder, ExitStack() as stack:
        if not dry_run:
            check = stack.enter_context(tracker.promotion_lock(f"rolls {model} back"))
            settle(tracker, model)
        try:
            champion = tracker.registry.champion(model)
            if champion is None:
                raise ProjectError(f"{model} has no champion")
            left = tracker.promotions.current_promotion(champion)
            if left.previous is None:
                raise ProjectError(f"promotion {left.number} of {left.name} replaced no other")
            restored = tracker.promotions.get(left.name, left.previous)
            file = fetch(tracker, restored, folder)
            interface = load(folder / restored.file_name).interface
            version = tracker.registry.version(model, restored.source)
        except TrackingError:
            raise
        except ProjectError as error:
            raise RollbackRefused(f"Rollback refused: {str(error).rstrip('.')}.") from error
        if missing := [key for key in TAGS if key not in restored.tags]:
            raise RollbackRefused(f"Rollback refused: promotion {restored.number} has no tag {missing[0]!r}.")
        image, dataset = interface.input, interface.metadata.user_defined.get("dataset", "")
        usual = default_output(model, image=(image.height, image.width, image.channels), labels=interface.labels)
        path = output_path(chosen, usual, file.format)
        if occupied := taken(path, tracker, name=model, dataset=dataset):
            raise RollbackRefused(f"Rollback refused: {occupied}: move it, or choose --output.")
        result = Rollback(left, restored, version, path)
        if not dry_run:
            with staged(file, path) as put, switching(tracker, model, path, target=restored.number):
                tracker.models.attach(version, folder)
                tracker.registry.tag(restored.name, restored.number, {PLACE_TAG: str(path.absolute())})
                check()
                put()
                check()
                make_champion(tracker, restored)
                note_return(tracker, left, restored)
    return result
