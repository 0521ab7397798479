"""What to look at after training: the page about the data, mistakes, and doubtful labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from architectures.scratch import scratch_folder
from experiments.attempts import Attempts
from experiments.datasets import Dataset
from experiments.datasets.copies import place
from experiments.datasets.inspection import inspect_loaded
from experiments.evaluation.metrics import evaluate
from experiments.tracking import Tracker
from experiments.views.inspection_page import write_page

FOLDER = "data"  # among a run's artifacts
MOST = 20_000  # most images that are inspected after a sweep; finding near copies among more takes over a minute
SHOWN = 20  # doubtful labels

Found = tuple[dict[str, object], ...]


@dataclass(frozen=True)
class Doubtful:
    """Images by split, row and file name (if they have one), the most doubtful first."""

    mistakes: Found  # of the best model, on validation images
    suspects: Found | None  # likely label errors in training and validation images; None: not searched for


def write_data_page(tracker: Tracker, run_id: str, dataset: Dataset, name: str, attempts: Attempts) -> Found | None:
    """Inspect the user's own images, and attach the page `data/inspection.html` to a run.

    Args:
        run_id: of a sweep, or of a single trial.
        name: what loads the data set.

    Returns:
        The likely label errors; None for data without files, or with more than MOST images.
    """
    if dataset.train.files is None or len(dataset.train) + len(dataset.val) > MOST:
        return None
    found: Found | None = None
    with attempts.part("inspection"), scratch_folder() as folder:
        inspection = inspect_loaded(dataset, name)
        found = tuple(one.as_json(dataset.class_names) for one in inspection.suspects[:SHOWN])
        write_page(inspection, folder / "inspection.html", before_training=False)
        tracker.writer.log_files(run_id, folder, FOLDER)
    return found


def mistakes(probabilities: npt.NDArray[np.float32] | None, dataset: Dataset) -> Found:
    """Return the most confident mistakes on the validation images; none if the predictions were not kept."""
    if probabilities is None:
        return ()
    names = dataset.class_names
    evaluation = evaluate(probabilities, dataset.val.labels, names)
    return tuple(
        place(dataset, "val", one.index).as_json(names) | {"answer": names[one.answer], "confidence": one.confidence}
        for one in evaluation.mistakes
    )
