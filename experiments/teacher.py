"""The teacher of a run: a run of the store whose kept model predicts the training images."""

from __future__ import annotations

import hashlib
from pathlib import Path

from architectures.errors import ProjectError, UsageError
from architectures.knobs import PIN
from architectures.scratch import scratch_beside
from experiments.datasets import Dataset
from experiments.tracking import Tracker
from experiments.training.distillation import file_of


class NoTeacher(UsageError):
    """The model of a teacher is not in the store, or differs from the record."""


def find(tracker: Tracker, run: str) -> str:
    """Return the record of a teacher, ID#sha256=DIGEST: a run with the SHA-256 of its kept model.

    Args:
        run: its id, a prefix of it, or its name; or such a record.

    Raises:
        NoTeacher: for an unknown run, one without a kept model, or one whose kept model differs from the record.
    """
    name, _, digest = run.partition(PIN)
    try:
        record = tracker.runs.get(name)
    except UsageError as error:
        raise NoTeacher(f"No such teacher. {error}") from None
    model = tracker.models.kept_model(record.run_id)
    if model is None:
        raise NoTeacher(f"The teacher {record.name} (run {record.run_id}) has no kept model: name a run that has one.")
    if digest not in ("", model.keras_sha256):
        raise NoTeacher(
            f"The model of the teacher {record.name} (run {record.run_id}) has SHA-256 {model.keras_sha256[:12]}..., "
            f"not {digest[:12]}..."
        )
    return f"{record.run_id}{PIN}{model.keras_sha256}"


def check(tracker: Tracker, teacher: str, dataset: Dataset) -> None:
    """Raise UsageError for a teacher trained on other data, which may include the validation images."""
    record = tracker.runs.get(teacher.partition(PIN)[0])
    learned, digest = record.params.get("dataset", "no data set"), record.tags.get("dataset_digest", "none")
    if digest != dataset.digest:
        raise UsageError(
            f"The teacher {record.name} (run {record.run_id}) was trained on {learned} (digest {digest[:12]}), not "
            f"on {dataset.name} as here ({dataset.digest[:12]}): images, classes and splits must be the same."
        )


def provide(tracker: Tracker, teacher: str) -> None:
    """Download the model of a teacher that `find` has named into the cache, unless it is there.

    Raises:
        NoTeacher: if neither the cache nor the store has it.
        ProjectError: if its file is damaged.
    """
    place = file_of(teacher)
    if place.is_file() and _sha256(place) == place.stem:
        return
    run_id = find(tracker, teacher).partition(PIN)[0]
    model = tracker.models.kept_model(run_id)
    assert model is not None  # `find` has checked this
    place.parent.mkdir(parents=True, exist_ok=True)
    with scratch_beside(place) as folder:
        file = tracker.models.download_keras(model, folder)
        if _sha256(file) != place.stem:
            raise ProjectError(f"The model of the teacher, run {run_id}, is not the one that its record describes.")
        file.replace(place)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
