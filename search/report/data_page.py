"""What is worth a look after training: the data's page on the run, mistakes, labels in doubt."""

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
MOST = 20_000  # images that are inspected after a sweep: near copies among more take a minute
SHOWN = 20  # labels in doubt

Found = tuple[dict[str, object], ...]


@dataclass(frozen=True)
class Doubtful:
    """Images by split, row and the name of their file where they have one; the most doubtful first."""

    mistakes: Found  # of the best model on validation images
    suspects: Found | None  # likely label errors of training and validation images; None: not looked for


def write_data_page(tracker: Tracker, run_id: str, dataset: Dataset, name: str, attempts: Attempts) -> Found | None:
    """Inspect the user's own images and attach the page to a run, `data/inspection.html`.

    Args:
        run_id: of a sweep, or of a trial that belongs to none.
        name: what loads it.

    Returns:
        The likely label errors; None of data without files, and of more than MOST images.
    """
    if dataset.train.files is None or len(dataset.train) + len(dataset.val) > MOST:
        return None
    found: Found | None = None
    with attempts.part("inspection"), scratch_folder() as folder:
        inspection = inspect_loaded(dataset, name)
        found = tuple(one.as_json(dataset.class_names) for one in inspection.suspects[:SHOWN])
        write_page(inspection, folder / "inspection.html")
        tracker.writer.log_files(run_id, folder, FOLDER)
    return found


def mistakes(probabilities: npt.NDArray[np.float32] | None, dataset: Dataset) -> Found:
    """The most confident wrong answers on the validation images; none where the answers were not kept."""
    if probabilities is None:
        return ()
    names = dataset.class_names
    evaluation = evaluate(probabilities, dataset.val.labels, names)
    return tuple(
        place(dataset, "val", one.index).as_json(names) | {"answer": names[one.answer], "confidence": one.confidence}
        for one in evaluation.mistakes
    )
