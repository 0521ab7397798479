"""Remove model files that nothing needs; their runs stay."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from architectures.command import one_line
from architectures.display import say
from architectures.errors import ProjectError
from experiments.tracking import StoredModel, Tracker
from experiments.views.tables import print_cells


@dataclass(frozen=True)
class Pruning:
    """The models that were removed, or with `dry_run` would be."""

    dry_run: bool
    removed: tuple[StoredModel, ...]
    kept: tuple[StoredModel, ...]
    failed: tuple[tuple[StoredModel, str], ...]  # with the reason; the next `prune` tries again

    @property
    def bytes_freed(self) -> int:
        return sum(model.bytes for model in self.removed)

    def as_json(self) -> dict[str, object]:
        return {
            "dry_run": self.dry_run,
            "bytes_freed": self.bytes_freed,
            "bytes_kept": sum(model.bytes for model in self.kept),
            "removed": [_shown(model) for model in self.removed],
            "kept": [_shown(model) for model in self.kept],
            "failed": [_shown(model) | {"error": error} for model, error in self.failed],
        }


def _shown(model: StoredModel) -> dict[str, object]:
    values = asdict(model)
    values["reason"] = values.pop("needed") or "nothing needs it"
    return values


def prune(tracker: Tracker, *, experiment: str | None = None, dry_run: bool = False) -> Pruning:
    """Remove models that no registered version needs.

    Raises:
        UsageError: for an unknown experiment.
    """
    stored = tracker.models.stored_models(experiment)
    removed, failed = [], []
    kept = [model for model in stored if model.needed]
    for model in stored:
        if model.needed:
            continue
        if dry_run:
            removed.append(model)
            continue
        try:
            (removed if tracker.models.remove_files(model) else kept).append(model)
        except (ProjectError, OSError) as error:
            failed.append((model, one_line(error)))
    return Pruning(dry_run, tuple(removed), tuple(kept), tuple(failed))


def show(pruning: Pruning) -> None:
    """Print what was removed, what was kept and why."""
    models = [*pruning.removed, *(model for model, _ in pruning.failed), *pruning.kept]
    if models:
        titles = ["model", "experiment", "run", "bytes", "kept", "reason"]
        lines = []
        for model in models:
            reason = str(_shown(model)["reason"])
            kept = "no" if model in pruning.removed else "yes"
            lines.append([model.model_id, model.experiment, model.run or "", f"{model.bytes:,}", kept, reason])
        print_cells(titles, lines)
    verb = "Would remove" if pruning.dry_run else "Removed"
    count = len(pruning.removed)
    say(
        f"{verb} {count} model{'' if count == 1 else 's'}, {pruning.bytes_freed:,} bytes; kept {len(pruning.kept)}. "
        f"Runs keep their metrics."
    )


def prune_store(tracking_uri: str, *, experiment: str | None = None, dry_run: bool = False) -> Pruning:
    """As `prune`, for the store at a URI."""
    tracker = Tracker(tracking_uri, create=False, write=not dry_run)
    return prune(tracker, experiment=experiment, dry_run=dry_run)
