"""The candidate of a promotion: a kept model with its run, its data, and the facts for its file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from architectures import load_plugin
from architectures.errors import ProjectError
from architectures.quiet import import_tensorflow
from architectures.scratch import scratch_folder
from conversion.coreml.convert import Converter
from conversion.coreml.facts import FileFacts
from conversion.promotion.preference import Preference, smallest
from conversion.verification.parity import in_float64
from experiments import datasets
from experiments.classifier import forward_function, load_classifier
from experiments.datasets import Dataset, Split
from experiments.evaluation.intervals import ExpectedAccuracy
from experiments.tracking import Look, ModelRecord, RunRecord, Tracker

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclass(frozen=True)
class Candidate:
    """A trained model and everything that its Core ML file must agree with."""

    model: ModelRecord
    run: RunRecord
    classifier: keras.Model
    dataset: Dataset
    facts: FileFacts
    tracker: Tracker  # counts uses of the test images
    command: str  # that uses them
    preference: Preference | None = None  # with --prefer smallest: why this version was chosen
    expected_accuracy: ExpectedAccuracy | None = None  # from its sweep, if it was the best

    @cached_property
    def _tested(self) -> tuple[Split, Look]:
        """The test images. The first access is recorded in MLflow as one look, further ones are not."""
        return self.tracker.test_access.look(
            self.dataset, command=self.command, run_id=self.run.run_id, source=self.run.config.dataset
        )

    def split(self, name: str) -> Split:
        """Return the validation images (`val`), or the test images, which records a look."""
        return self.dataset.val if name == "val" else self._tested[0]

    @property
    def look(self) -> Look:
        """The record of this use of the test images."""
        return self._tested[1]

    @cached_property
    def converter(self) -> Converter:
        """The converter of this model."""
        return Converter(self.classifier, self.facts)

    @cached_property
    def forward(self) -> Callable[[np.ndarray], np.ndarray]:
        """A function from uint8 images (N, height, width, channels) to probabilities, with the current weights."""
        return forward_function(self.classifier)

    @cached_property
    def exact_forward(self) -> Callable[[np.ndarray], np.ndarray]:
        """Like `forward`, in float64."""
        return in_float64(self.classifier)


def load_candidate(
    tracker: Tracker,
    *,
    command: str,
    name: str,
    run_id: str | None = None,
    version: int | None = None,
    prefer: Literal["best", "smallest"] = "best",
    plugins: tuple[str, ...] = (),
    author: str = "",
    license: str = "",
) -> Candidate:
    """Load the model of a run, of a registered version, or of the preferred version; `command` is the caller.

    Raises:
        UsageError: for an unknown run, version or registered model.
        ProjectError: for a run without a model, a model file that differs from its record, or a data set that
            differs from the one that the run was trained on.
    """
    import_tensorflow()  # first, because it also silences what a plugin imports
    for plugin in plugins:
        load_plugin(plugin)
    if run_id is not None:
        run = tracker.runs.get(run_id)
        kept = tracker.models.kept_model(run.run_id)
        if kept is None:
            raise ProjectError(
                f"Run {run.run_id} ({run.name}, {run.status}) has no model: only the best of a sweep are kept. "
                f"Train it again with python -m search.trial, which keeps its model."
            )
        model = kept
    else:
        model = tracker.registry.version(name, version) if version is not None else tracker.registry.best(name)
        run = tracker.runs.get(model.run_id)
    dataset = datasets.load(run.config.dataset)
    recorded = run.tags.get("dataset_digest", "")
    if dataset.digest != recorded:
        raise ProjectError(
            f"Data set {run.config.dataset} has digest {dataset.digest[:12]}, run {run.run_id} was trained on "
            f"{recorded[:12]}: its accuracy cannot be compared."
        )
    preference = None
    if prefer == "smallest":
        preference = smallest(tracker, name, dataset)
        model = tracker.registry.version(name, preference.taken.version)
        run = tracker.runs.get(model.run_id)
    config = run.config
    with scratch_folder() as folder:
        classifier = load_classifier(tracker.models.download_keras(model, folder), model.keras_sha256)
    facts = FileFacts(
        class_names=dataset.class_names,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        architecture=config.architecture,
        run_id=run.run_id,
        study=run.tags.get("study", ""),
        git_commit=run.tags.get("mlflow.source.git.commit", "unknown"),
        val_accuracy=run.metrics["best_val_accuracy"],
        threshold=0.0,  # measured once the file exists
        **datasets.reading_of(config.dataset),
        author=author,
        license=license,
    )
    expected = tracker.parents.expected_accuracy(run.tags.get("mlflow.parentRunId"), run.run_id)
    return Candidate(model, run, classifier, dataset, facts, tracker, command, preference, expected)
